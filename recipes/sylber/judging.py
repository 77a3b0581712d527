"""Stages 7 to 9: segments of all systems, tokens of the trained encoder, and scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import Context
from speechkit.syllables.comparison import SegmenterComparison, collect_scores, score_systems
from speechkit.syllables.segmenters import SegmenterChoice, build_segmenter
from speechkit.syllables.tokens import TokenReport, TokenRow, add_silence_tokens, token_rates

Count = Annotated[int, msgspec.Meta(ge=1)]
ENCODERS = {"untrained": "encoder", "first": "first", "second": "second"}
"""Encoders of the systems, and the stage's input of each."""


class SegmentConfig(msgspec.Struct, frozen=True):
    """Segmentation of the utterances of stage 3; settings are tuned on the first utterances of the tuning speakers."""

    tune_utterances: Count = 60


def segment(context: Context) -> None:
    """Tune the settings on the tuning speakers, then segment the test speakers."""
    comparison = SegmenterComparison(
        list(context.read("silver")),
        context.inputs["truth_manifest"].parent,
        context.config.tune_utterances,
        context.say,
    )
    comparison.compare_envelope()
    for encoder, name in ENCODERS.items():
        comparison.compare_encoder(encoder, context.inputs[name], context.device)
    write_json(context.output("choices.json"), comparison.choices)
    context.write("segments.jsonl", comparison.segments["test"])
    context.write("tuning.jsonl", comparison.segments["tune"])


def _choices(context: Context) -> list[SegmenterChoice]:
    return msgspec.json.decode(context.inputs["choices"].read_bytes(), type=list[SegmenterChoice])


class TokensConfig(msgspec.Struct, frozen=True):
    """The codebook of segment vectors.

    Attributes:
        system: segmenter, as named in stage 7, on the second encoder (stage 6), whose segment means are clustered.
        clusters: of k-means; 5000, 10,000 and 20,000 are usual for hundreds of hours of speech.
        spherical: cluster vectors scaled to unit length.
        max_segments: largest number of segments of the training speech to cluster.
        longest_gap: frames; a longer gap between segments becomes one silence token; -1: every gap does.
    """

    system: Literal["second greedy", "second dynamic"] = "second greedy"
    clusters: Count = 5000
    spherical: bool = True
    max_segments: Count = 1_000_000
    longest_gap: Annotated[int, msgspec.Meta(ge=-1)] = 7

    def __post_init__(self) -> None:
        if self.max_segments < self.clusters:
            raise ConfigError(
                f"tokens.max_segments is {self.max_segments}, too few for {self.clusters} clusters; raise it or set "
                "tokens.clusters lower"
            )


def make_tokens(context: Context) -> None:
    """Cluster the segment means of the training speech, and write the tokens of the test utterances."""
    from speechkit.data.audio import read_waveform
    from speechkit.encoders import load_encoder
    from speechkit.syllables.segments import segment_means
    from speechkit.units.kmeans import KMeansConfig, train_kmeans
    from speechkit.units.syllable_quantizer import SyllableQuantizer

    config = context.config
    choices = {choice.system: choice for choice in _choices(context)}
    encoder = load_encoder(str(context.inputs["model"]), device=context.device)
    segmenter = build_segmenter(choices[config.system])

    def cut(rows: Iterable[Utterance], manifest: str) -> Iterator[tuple[Utterance, Any, NDArray[np.float32], int]]:
        for row in rows:
            waveform = read_waveform(row, context.inputs[manifest])
            frames = encoder.encode(waveform)
            boundaries = segmenter.segment(frames)
            yield row, boundaries, segment_means(frames, boundaries), len(frames)

    held: list[NDArray[np.float32]] = []
    count = 0
    training = list(context.read("train"))
    for done, (_, _, means, _) in enumerate(cut(training, "train_manifest"), 1):
        held.append(means)
        count += len(means)
        context.progress.update(done, len(training))
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
    chosen = choices[config.system]
    named = SyllableQuantizer(codebook, chosen.segmenter, chosen.settings, longest_gap=config.longest_gap)
    named.save(context.output("syllables"))

    rows, words, seconds = [], 0, 0.0
    for row, boundaries, means, frames in cut(
        (row for row in context.read("silver") if (row.custom or {}).get("part") == "test"), "truth_manifest"
    ):
        labels = codebook.assign(means) if len(means) else np.zeros(0, np.int32)
        rows.append(
            TokenRow(row.id, add_silence_tokens(labels, boundaries, frames, config.clusters, config.longest_gap))
        )
        words += len((row.text or "").split())
        seconds += row.duration
    context.write("tokens.jsonl", rows)
    tokens = [row.tokens for row in rows]
    spoken = [[token for token in row if token.token != config.clusters] for row in tokens]
    rates = token_rates(tokens, seconds, config.clusters)
    without = token_rates(spoken, seconds, config.clusters)
    write_json(
        context.output("tokens.json"),
        TokenReport(config.system, config.clusters, rates, without, rates.coding_rate(words)),
    )
    context.say(f"{rates.per_second:.2f} tokens/s, {rates.bits_per_second:.1f} bits/s with K = {config.clusters}")


class ScoreConfig(msgspec.Struct, frozen=True):
    """Tolerance of a boundary match in seconds, and number of bootstrap resamples."""

    tolerance_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.05
    resamples: Annotated[int, msgspec.Meta(ge=0)] = 1000


def score(context: Context) -> None:
    """Score all systems of stage 7, and the tokens of stage 8."""
    config = context.config
    rows: dict[str, Utterance] = {row.id: row for row in context.read("silver")}
    systems = score_systems(
        rows,
        _choices(context),
        context.read("segments"),
        context.read("tuning"),
        tolerance_seconds=config.tolerance_seconds,
        resamples=config.resamples,
        seed=context.seed % 2**32,
    )
    for system in systems:
        plain = next(result for result in system.evaluations if result.protocol == "plain").boundaries
        figure = f"{system.system}: F1 {plain['f1'].value:.3f}, R-value {plain['r_value'].value:.3f} (plain)"
        context.say(figure)
        context.main_figure = context.main_figure or figure
    rates = msgspec.json.decode(context.inputs["rates"].read_bytes(), type=TokenReport)
    write_json(context.output("scores.json"), collect_scores(rows, systems, rates, context.read("tokens")))
