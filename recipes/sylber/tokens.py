"""Tokens of the trained encoder's segments: the work of stage 8. Here the rooms of syllables and units meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import Context
from speechkit.pipeline.manifests import manifest_of
from speechkit.syllables.tokens import Token, TokenRates, token_rates, with_silence

from .systems import Choice, segmenter_of


class TokenRow(msgspec.Struct, frozen=True):
    """The tokens of a test utterance: ``[token, start, end]``, in frames of 20 ms."""

    id: str
    tokens: list[Token]


class TokenReport(msgspec.Struct, frozen=True):
    """What the tokens cost.

    Attributes:
        system: whose segments they are.
        clusters: of the codebook; ``clusters`` itself is the number of the silence token.
        rates: with silence tokens.
        rates_without_silence: the same without them.
        words_per_bit: all words by all bits: the coding rate if resynthesis lost no word, a bound from above.
    """

    system: str
    clusters: int
    rates: TokenRates
    rates_without_silence: TokenRates
    words_per_bit: float


def make_tokens(context: Context) -> None:
    """Cluster the segment vectors of the training speech, and write the test utterances as tokens."""
    from speechkit.data.audio import read_waveform
    from speechkit.encoders import load_encoder
    from speechkit.syllables.segments import segment_means
    from speechkit.units.kmeans import KMeansConfig, train_kmeans

    config = context.config
    manifests = {name: manifest_of(context.inputs, name) for name in ("train_manifest", "truth_manifest")}
    choices = {
        choice.system: choice
        for choice in msgspec.json.decode(context.inputs["choices"].read_bytes(), type=list[Choice])
    }
    encoder = load_encoder(str(context.inputs["model"]), device=context.device)
    segmenter = segmenter_of(choices[config.system])

    def cut(rows: Iterable[Utterance], manifest: str) -> Iterator[tuple[Utterance, Any, NDArray[np.float32], int]]:
        for row in rows:
            waveform = read_waveform(row, manifests[manifest])
            frames = encoder.encode(waveform)
            boundaries = segmenter.segment(frames)
            yield row, boundaries, segment_means(frames, boundaries), len(frames)

    held: list[NDArray[np.float32]] = []
    count = 0
    for _, _, means, _ in cut(context.read("train"), "train_manifest"):
        held.append(means)
        count += len(means)
        context.progress.update(count, config.max_segments)
        if count >= config.max_segments:
            break
    if count < config.clusters:
        raise UserError(f"{count} segments cannot make {config.clusters} clusters; set tokens.clusters lower")
    settings = KMeansConfig(
        clusters=config.clusters,
        normalization="unit-length" if config.spherical else "none",
        sample_frames=max(config.clusters, min(count, 200_000)),
        seed=context.seed % 2**32,
    )
    codebook = train_kmeans(lambda: held, settings, encoder.spec, context.log).codebook
    codebook.save(context.output("codebook"))

    rows, words, seconds = [], 0, 0.0
    for row, boundaries, means, frames in cut(
        (row for row in context.read("silver") if (row.custom or {}).get("part") == "test"), "truth_manifest"
    ):
        labels = codebook.assign(means) if len(means) else np.zeros(0, np.int32)
        rows.append(TokenRow(row.id, with_silence(labels, boundaries, frames, config.clusters, config.longest_gap)))
        words += len((row.text or "").split())
        seconds += row.duration
    context.write("tokens.jsonl", rows)
    every = [row.tokens for row in rows]
    spoken = [[token for token in row if token.token != config.clusters] for row in every]
    rates = token_rates(every, seconds, config.clusters)
    without = token_rates(spoken, seconds, config.clusters)
    write_json(
        context.output("tokens.json"),
        TokenReport(config.system, config.clusters, rates, without, rates.coding_rate(words)),
    )
    context.say(f"{rates.per_second:.2f} tokens/s, {rates.bits_per_second:.1f} bits/s with K = {config.clusters}")
