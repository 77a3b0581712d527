"""Mixtures with their sources, and tracks of separators, from manifests or folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import read_cut
from speechkit.data.manifest import audio_path, read_manifest, unique_ids
from speechkit.data.mixtures import FIELD, mixture_of, source_paths
from speechkit.data.records import Utterance
from speechkit.data.track_folders import find_tracks, without_mix
from speechkit.errors import AudioError, UserError
from speechkit.io.audio import audio_info, read_audio
from speechkit.io.paths import safe_id


class ReferenceMixture(msgspec.Struct, frozen=True):
    """A mixture and its sources; ``mixture`` and ``sources`` have absolute paths.

    ``speakers`` and ``texts`` have an entry per source if known.
    """

    id: str
    mixture: Utterance
    sources: list[str]
    speakers: list[str] | None = None
    texts: list[str] | None = None


class LeftOut(msgspec.Struct, frozen=True):
    """A mixture that could not be scored, the system at fault or None, and the reason."""

    id: str
    system: str | None
    reason: str


def read_references(path: Path) -> tuple[list[ReferenceMixture], list[LeftOut]]:
    """The mixtures of a manifest or of a folder of tracks, in its order, and unusable ones.

    Raises:
        UserError: if the path is neither, or has no mixture with sources.
    """
    mixtures: list[ReferenceMixture] = []
    left_out: list[LeftOut] = []
    for name, row, error in _rows(path):
        try:
            if error is not None or row is None:
                raise UserError(error)
            mixture = mixture_of(row, path)
            sources = [os.path.realpath(source) for source in source_paths(row, path)]
            if not sources:
                raise UserError(f"{path}: {name!r} has no source")
            absolute = msgspec.structs.replace(row, audio_filepath=os.path.realpath(audio_path(path, row)))
            mixtures.append(ReferenceMixture(name, absolute, sources, mixture.speakers, mixture.texts))
        except UserError as failure:
            left_out.append(LeftOut(name, None, str(failure)))
    if not mixtures:
        first = f" ({left_out[0].reason})" if left_out else ""
        raise UserError(f"{path}: has no mixture with sources{first}; give a manifest or a folder of mixtures")
    return mixtures, left_out


def read_estimates(path: Path) -> dict[str, list[str]]:
    """The absolute paths of the tracks of each mixture by its name, from a separator's manifest or a folder of tracks.

    A manifest has one row per track, as written by ``speechkit separate``, or one per mixture, with its tracks as
    ``custom.mixture``. The path of the mixture is an additional key if known.

    Raises:
        UserError: if the path is neither, an id is duplicate, or a row has no tracks.
    """
    if path.is_dir():
        mixtures = find_tracks(path)
        return {
            name: [os.path.realpath(p) for p in tracks.numbered(estimates=True)] for name, tracks in mixtures.items()
        }
    tracks: dict[str, list[str]] = {}
    recordings: dict[str, set[str]] = {}  # by the path of their mixture: cuts of one recording share it
    for row in unique_ids(read_manifest(path), path):
        custom = row.custom or {}
        if isinstance(custom.get("separated"), dict):
            name, mixture = str(custom.get("recording") or row.id), custom["separated"].get("mixture")
            tracks.setdefault(name, []).append(os.path.realpath(audio_path(path, row)))
        else:
            name, mixture = row.id, row.audio_filepath
            tracks[name] = [os.path.realpath(source) for source in source_paths(row, path)]
        if mixture:
            recordings.setdefault(os.path.realpath(path.parent / str(mixture)), set()).add(name)
    if not tracks:
        raise UserError(f"{path}: has no tracks; give a separator's manifest or a folder of tracks")
    alone = {audio: tracks[min(names)] for audio, names in recordings.items() if len(names) == 1}
    return {**alone, **tracks}


def tracks_of(estimates: dict[str, list[str]], reference: ReferenceMixture) -> list[str] | None:
    """The tracks of a mixture: by its id, path or file name; None if there are none."""
    audio = reference.mixture.audio_filepath
    stem = Path(audio).stem
    for name in (reference.id, safe_id(reference.id), audio, stem, safe_id(stem), without_mix(stem)):
        if name in estimates:
            return estimates[name]
    return None


class OpenMixture:
    """The samples of a mixture, its sources and a system's tracks, read in blocks.

    ``samples`` is their common length, at ``sample_rate``.
    """

    def __init__(self, reference: ReferenceMixture, tracks: Sequence[str], tolerance_seconds: float = 0.0) -> None:
        """Read every file's header.

        Args:
            reference: the mixture with its sources.
            tracks: paths of a system's tracks.
            tolerance_seconds: allowed difference in length from the mixture; everything beyond the shortest file is
                ignored.

        Raises:
            AudioError: if a file is missing or damaged, or has another rate or length than the mixture.
        """
        self.reference, self.tracks = reference, list(tracks)
        self.sample_rate = reference.mixture.sample_rate
        whole = audio_info(reference.mixture.audio_filepath)
        cut = reference.mixture.num_samples
        allowed = round(tolerance_seconds * self.sample_rate)
        self.begins: dict[str, int] = {}
        self.samples = cut
        for path in [*reference.sources, *self.tracks]:
            info = audio_info(path)
            if info.sample_rate != self.sample_rate:
                raise AudioError(
                    f"{path}: has {info.sample_rate} Hz and its mixture {self.sample_rate} Hz; resample one of them"
                )
            # For a cut of a longer recording, tracks have the length of either the whole or the cut.
            if info.num_samples == whole.num_samples:
                self.begins[path] = reference.mixture.offset_samples
            elif abs(info.num_samples - cut) <= allowed:
                self.begins[path] = 0
                self.samples = min(self.samples, info.num_samples)
            else:
                raise AudioError(
                    f"{path}: has {info.num_samples} samples and its mixture {cut}; write tracks as long as the "
                    "mixture, or allow the difference with --tolerance"
                )
        if not self.samples:
            raise AudioError(f"{reference.mixture.audio_filepath}: has no samples")

    def read(
        self, begin: int = 0, num_samples: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Mixture (S,), sources (R, S) and tracks (E, S) from sample ``begin`` on.

        Raises:
            AudioError: if a file cannot be read there, or has NaN samples.
        """
        length = min(self.samples - begin, self.samples if num_samples is None else num_samples)
        row = self.reference.mixture
        mixture = read_cut(row.audio_filepath, row, begin=begin, num_samples=length)
        parts = [self._file(path, begin, length) for path in [*self.reference.sources, *self.tracks]]
        count = len(self.reference.sources)
        tracks = np.stack(parts[count:]) if self.tracks else np.zeros((0, length), np.float32)
        return mixture, np.stack(parts[:count]), tracks

    def blocks(
        self, num_samples: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        """Everything in blocks of this many samples, the last possibly shorter; errors as in `read`."""
        for begin in range(0, self.samples, num_samples):
            yield self.read(begin, num_samples)

    def _file(self, path: str, begin: int, length: int) -> NDArray[np.float32]:
        begin += self.begins[path]
        return read_audio(path, offset_samples=begin, num_samples=length, sample_rate=None)


def _rows(path: Path) -> Iterator[tuple[str, Utterance | None, str | None]]:
    """Id, row, and the reason if there is no row."""
    if not path.is_dir():
        seen: set[str] = set()
        for row in read_manifest(path):
            if row.id in seen:
                yield row.id, None, f"{path}: duplicate id {row.id!r}; give every mixture a unique id"
            else:
                seen.add(row.id)
                yield row.id, row, None
        return
    for name, tracks in find_tracks(path).items():
        if tracks.mixture is None:
            yield name, None, f"{path}: {name!r} has no mixture, only its sources"
            continue
        try:
            info = audio_info(tracks.mixture)
        except AudioError as error:
            yield name, None, str(error)
            continue
        beside = [os.path.relpath(source, tracks.mixture.parent) for source in tracks.numbered()]
        yield (
            name,
            Utterance.from_samples(
                id=name,
                audio_filepath=os.path.relpath(tracks.mixture, path.parent),
                num_samples=info.num_samples,
                sample_rate=info.sample_rate,
                custom={FIELD: {"sources": beside}},
            ),
            None,
        )
