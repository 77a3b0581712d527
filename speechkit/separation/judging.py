"""What a separator makes of mixtures with known sources: examples to count speakers by, and tracks to be scored."""

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
    """An example for `fit_counting` of every mixture, and of the noise of those that have some, which nobody speaks in.

    ``done`` is called with the number of mixtures so far; what it raises ends the work.
    """
    rate = separator.sample_rate
    for number, row in enumerate(rows, start=1):
        mixture = read_waveform(row, manifest, sample_rate=rate)
        yield counting_example(separator, mixture, read_sources(row, manifest, rate))
        if noise := mixture_of(row, manifest).noise:
            beside = msgspec.structs.replace(row, audio_filepath=str(Path(row.audio_filepath).parent / noise))
            yield counting_example(separator, read_waveform(beside, manifest, sample_rate=rate), [])
        done(number)


def write_tracks(
    references: Sequence[ReferenceMixture],
    separator: WindowSeparator,
    folder: Path,
    speakers: int | None,
    done: Callable[[int], None],
) -> dict[str, list[str]]:
    """Write the tracks of every mixture as FLAC of its own rate; their paths by the mixture's id.

    Args:
        references: the mixtures.
        separator: of them.
        folder: receives ``ID_source1.flac`` and so on.
        speakers: how many tracks each mixture gets; counted when None, and one at least.
        done: is called with the number of mixtures so far; what it raises ends the work.

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
