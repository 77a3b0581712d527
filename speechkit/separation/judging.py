"""Run a separator on mixtures with known sources: examples for speaker counting, and tracks to score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from speechkit.data.audio import read_cut, read_waveform
from speechkit.data.mixtures import mixture_of, read_sources
from speechkit.data.records import Utterance
from speechkit.io.audio import write_audio
from speechkit.io.paths import safe_id
from speechkit.metrics.separated_tracks import ReferenceMixture
from speechkit.separation.counting_fit import Example
from speechkit.separation.separate import counting_example, separate
from speechkit.separation.streaming import WindowSeparator


def counting_examples(
    rows: Sequence[Utterance], manifest: Path | str, separator: WindowSeparator, done: Callable[[int], None]
) -> Iterator[Example]:
    """Examples for `fit_counting`: all mixtures, and their noise, if any, as examples without speech.

    ``done`` is called with the number of mixtures so far; an exception in it stops the work.
    """
    rate = separator.sample_rate
    for number, row in enumerate(rows, start=1):
        mixture = read_waveform(row, manifest, sample_rate=rate)
        yield counting_example(separator, mixture, read_sources(row, manifest, rate))
        if noise := mixture_of(row, manifest).noise:
            noise_row = msgspec.structs.replace(row, audio_filepath=str(Path(row.audio_filepath).parent / noise))
            yield counting_example(separator, read_waveform(noise_row, manifest, sample_rate=rate), [])
        done(number)


def write_tracks(
    references: Sequence[ReferenceMixture],
    separator: WindowSeparator,
    folder: Path,
    speakers: int | None,
    done: Callable[[int], None],
) -> dict[str, list[str]]:
    """Separate mixtures and write their tracks as FLAC at the mixture's rate; returns their paths by mixture id.

    Args:
        references: the mixtures.
        separator: separates them.
        folder: receives ``ID_source1.flac`` and so on.
        speakers: tracks per mixture; counted if None, and at least one.
        done: called with the number of mixtures so far; an exception in it stops the work.

    Raises:
        AudioError: if a mixture cannot be read.
    """
    tracks_of = {}
    for number, reference in enumerate(references, start=1):
        row = reference.mixture
        waveform = read_cut(row.audio_filepath, row)
        separation = separate(waveform, row.sample_rate, model=separator, speakers=speakers)
        tracks = separation.tracks[: speakers or max(1, separation.count.speakers)]
        paths = [folder / f"{safe_id(reference.id)}_source{number}.flac" for number in range(1, len(tracks) + 1)]
        for path, track in zip(paths, tracks, strict=True):
            write_audio(path, track, row.sample_rate)
        tracks_of[reference.id] = [str(path) for path in paths]
        done(number)
    return tracks_of
