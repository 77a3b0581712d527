"""The sound of the sentences of a set, as columns and as bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.mining.config import ExportConfig
from speechkit.mining.quality import CONTEXT_SECONDS, SoundQuality, sound_quality

if TYPE_CHECKING:
    from speechkit.metrics.speakers import SpeakerNetwork
    from speechkit.pipeline import Context

BOUNDED = ("snr_db", "bandwidth_hz", "clipped", "characters_per_second", "dnsmos", "voice")
OTHERS_NEEDED = 3
"""Kept sentences of a recording that say what its usual voice is; with fewer no voice is compared."""
VOICE_RATE = 16_000
VOICE_SECONDS = 2.5
"""A shorter sentence says too little of who speaks, and is not compared."""
Measured = tuple[Utterance, SoundQuality | None]
"""A sentence, and its sound where it could be read."""


def with_sound(
    rows: Iterable[Utterance], folder: Path, context: Context, accepted: Mapping[str, object]
) -> Iterator[Utterance]:
    """The sentences with their sound as columns, less those outside the bounds, which are dropped by name.

    Args:
        rows: in order of recording, with audio paths relative to ``folder``.
        folder: that of the manifest.
        context: of the stage, for its settings, drops and log.
        accepted: by id, what stays whatever its sound is.
    """
    config: ExportConfig = context.config
    bounds = quality_bounds(config)
    bounded = {name for name, _, _ in bounds}
    dnsmos, voices = config.dnsmos or "dnsmos" in bounded, config.voice or "voice" in bounded
    if not config.quality and not bounds and not dnsmos and not voices:
        yield from rows
        return
    network = None
    if voices:
        from speechkit.metrics.speakers import SpeakerNetwork

        network = SpeakerNetwork()
    for _, group in itertools.groupby(rows, key=lambda row: (row.custom or {}).get("recording")):
        measured = (_measured(row, folder, dnsmos, context) for row in group)
        for row, found in measured if network is None else _compared(measured, folder, network):
            outside = [] if found is None else list(_outside(found, bounds))
            if outside and row.id not in accepted:
                context.drop(row.id, "low_quality", f"{row.id}: {'; '.join(outside)}")
            else:
                columns = {} if found is None else found.columns()
                yield msgspec.structs.replace(row, custom={**(row.custom or {}), **columns})


def quality_bounds(config: ExportConfig) -> list[tuple[str, str, float]]:
    """(column, "under" or "over", bound) of each bound that is set; a value on the wrong side leaves a row out."""
    found = []
    for name in BOUNDED:
        for side, word in (("min", "under"), ("max", "over")):
            bound = getattr(config, f"{side}_{name}", None)
            if bound is not None:
                found.append((name, word, float(bound)))
    return found


def _outside(found: SoundQuality, bounds: Iterable[tuple[str, str, float]]) -> Iterator[str]:
    for name, word, bound in bounds:
        value = getattr(found, name)
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
        found = sound_quality(sentence, wide, row.sample_rate, row.text or "")
        if dnsmos:
            from speechkit.data.audio import read_cut
            from speechkit.metrics.dnsmos import RATE, noise_scores

            score = noise_scores(read_cut(path, row, sample_rate=RATE)).overall
            found = msgspec.structs.replace(found, dnsmos=score)
    except AudioError as error:
        context.log(f"{row.id}: its sound was not measured: {error}")
        return row, None
    return row, found


def _compared(measured: Iterable[Measured], folder: Path, network: SpeakerNetwork) -> Iterator[Measured]:
    """The sentences of one recording, each with how much its voice is that of the others.

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
    for (row, found), voice in zip(rows, likeness(embeddings), strict=True):
        yield row, None if found is None else msgspec.structs.replace(found, voice=voice)


def likeness(embeddings: list[Float | None]) -> list[float | None]:
    """Cosine of each embedding (D,) and the mean of the others, -1 to 1; None where there are too few to compare."""
    known = [embedding for embedding in embeddings if embedding is not None]
    if len(known) <= OTHERS_NEEDED:
        return [None] * len(embeddings)
    from speechkit.metrics.speakers import similarity

    total = sum(known[1:], known[0])
    return [None if each is None else round(similarity(each, [total - each]), 4) for each in embeddings]


def _widened(path: Path, row: Utterance, begin: int, count: int) -> Float:
    from speechkit.io.audio import audio_info, read_audio

    info = audio_info(path)
    channel = row.channel if info.channels > 1 else None
    return read_audio(
        path, offset_samples=begin, num_samples=min(count, info.num_samples - begin), sample_rate=None, channel=channel
    )
