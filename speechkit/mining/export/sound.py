"""Quality of the sentences of a set, as columns and as bounds."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.mining.config import ExportConfig
from speechkit.mining.lookup import RecordLookup
from speechkit.mining.quality import CONTEXT_SECONDS, SoundQuality, pace, sound_quality

if TYPE_CHECKING:
    from speechkit.metrics.speakers import SpeakerNetwork
    from speechkit.pipeline import Context

BOUNDED = ("snr_db", "bandwidth_hz", "clipped", "characters_per_second", "dnsmos", "voice", "character_errors")
OTHERS_NEEDED = 3
"""Kept sentences of a recording that say what its usual voice is; with fewer no voice is compared."""
VOICE_RATE = 16_000
VOICE_SECONDS = 2.5
"""A shorter sentence says too little of who speaks, and is not compared."""
Measured = tuple[Utterance, SoundQuality | None]
"""A sentence, and its sound where it could be read."""


class SentenceQuality(msgspec.Struct, frozen=True):
    """Quality columns of a sentence; ``id`` is the one it has, or would have, in the manifest."""

    id: str
    columns: dict[str, float] = {}


def measured_sound(rows: Iterable[Utterance], folder: Path, context: Context) -> Iterator[SentenceQuality]:
    """The sound of every located sentence, kept or not; nothing if the settings ask for no column and no bound.

    Args:
        rows: in order of recording, with audio paths relative to ``folder``; those that are not kept have a reason.
        folder: that of the manifest.
        context: of the stage, for its settings and log.
    """
    config: ExportConfig = context.config
    bounded = {name for name, _, _ in quality_bounds(config)} - {"character_errors"}
    dnsmos, voices = config.dnsmos or "dnsmos" in bounded, config.voice or "voice" in bounded
    if not config.quality and not bounded and not dnsmos and not voices:
        return
    network = None
    if voices:
        from speechkit.metrics.speakers import SpeakerNetwork

        network = SpeakerNetwork()
    for _, group in itertools.groupby(rows, key=lambda row: (row.custom or {}).get("recording")):
        measured = (_measured(row, folder, dnsmos, context) for row in group)
        for row, quality in measured if network is None else _compared(measured, folder, network):
            if quality is not None:
                yield SentenceQuality(row.id, quality.columns())


def within_bounds(
    rows: Iterable[Utterance],
    quality: RecordLookup[SentenceQuality],
    context: Context,
    accepted: Collection[str],
) -> Iterator[Utterance]:
    """The sentences with their quality columns, less those outside the bounds, which are dropped by name.

    Args:
        rows: the sentences of the set.
        quality: what was measured, by id.
        context: of the stage, for its settings and drops.
        accepted: ids of sentences that stay whatever their quality is.
    """
    bounds = quality_bounds(context.config)
    for row in rows:
        custom = dict(row.custom or {})
        if row.id in quality:
            custom |= quality[row.id].columns
            if custom.get("curator") == "edited":
                custom["characters_per_second"] = pace(row.text or "", row.duration)
        outside = list(_outside(custom, bounds))
        if outside and row.id not in accepted:
            context.drop(row.id, "low_quality", f"{row.id}: {'; '.join(outside)}")
        else:
            yield msgspec.structs.replace(row, custom=custom)


def quality_bounds(config: ExportConfig) -> list[tuple[str, str, float]]:
    """(column, "under" or "over", bound) of each bound that is set; a value on the wrong side leaves a row out."""
    bounds = []
    for name in BOUNDED:
        for side, word in (("min", "under"), ("max", "over")):
            bound = getattr(config, f"{side}_{name}", None)
            if bound is not None:
                bounds.append((name, word, float(bound)))
    return bounds


def _outside(columns: Mapping[str, Any], bounds: Iterable[tuple[str, str, float]]) -> Iterator[str]:
    for name, word, bound in bounds:
        value = columns.get(name)
        if value is not None and (value < bound if word == "under" else value > bound):
            yield f"{name} is {value:g}, {word} {bound:g}"


def _measured(row: Utterance, folder: Path, dnsmos: bool, context: Context) -> Measured:
    path = folder / row.audio_filepath
    context_samples = round(CONTEXT_SECONDS * row.sample_rate)
    begin = max(0, row.offset_samples - context_samples)
    lead = row.offset_samples - begin
    try:
        wide = _widened(path, row, begin, lead + row.num_samples + context_samples)
        sentence = wide[lead : lead + row.num_samples]
        quality = sound_quality(sentence, wide, row.sample_rate, row.text or "")
        if dnsmos:
            from speechkit.data.audio import read_cut
            from speechkit.metrics.dnsmos import RATE, noise_scores

            score = noise_scores(read_cut(path, row, sample_rate=RATE)).overall
            quality = msgspec.structs.replace(quality, dnsmos=score)
    except AudioError as error:
        context.log(f"{row.id}: its sound was not measured: {error}")
        return row, None
    return row, quality


def _compared(measured: Iterable[Measured], folder: Path, network: SpeakerNetwork) -> Iterator[Measured]:
    """The sentences of one recording, each with how much its voice is that of the others that selection kept.

    Memory: an embedding a sentence.
    """
    from speechkit.data.audio import read_cut

    rows = list(measured)
    embeddings: list[Float | None] = []
    for row, _ in rows:
        if row.duration < VOICE_SECONDS:
            embeddings.append(None)
            continue
        try:
            sound = read_cut(folder / row.audio_filepath, row, sample_rate=VOICE_RATE)
            embeddings.append(network.embed(sound))
        except AudioError:  # hardly any speech in it, or already named as unreadable
            embeddings.append(None)
    kept = ["reason" not in (row.custom or {}) for row, _ in rows]
    for (row, quality), voice in zip(rows, likeness(embeddings, kept), strict=True):
        yield row, None if quality is None else msgspec.structs.replace(quality, voice=voice)


def likeness(embeddings: Sequence[Float | None], kept: Sequence[bool]) -> list[float | None]:
    """Cosine of each embedding (D,) and the mean of the others that are kept, -1 to 1.

    None where there is no embedding, or too few kept ones to compare with.
    """
    usual = [each for each, is_kept in zip(embeddings, kept, strict=True) if is_kept and each is not None]
    if len(usual) <= OTHERS_NEEDED:
        return [None] * len(embeddings)
    from speechkit.metrics.speakers import similarity

    total = sum(usual[1:], usual[0])
    return [
        None if embedding is None else round(similarity(embedding, [total - embedding if is_kept else total]), 4)
        for embedding, is_kept in zip(embeddings, kept, strict=True)
    ]


def _widened(path: Path, row: Utterance, begin: int, count: int) -> Float:
    from speechkit.io.audio import audio_info, read_audio

    info = audio_info(path)
    channel = row.channel if info.channels > 1 else None
    return read_audio(
        path, offset_samples=begin, num_samples=min(count, info.num_samples - begin), sample_rate=None, channel=channel
    )
