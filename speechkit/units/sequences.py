"""Unit sequences of recordings as JSON lines: deduplicated units with durations, and the digest of their codebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.manifest import read_jsonl
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError
from speechkit.io.atomic import atomic_path
from speechkit.units.deduplication import check_runs, deduplicate, repeat
from speechkit.units.health import Units
from speechkit.units.quantizers import unit_sets

if TYPE_CHECKING:
    from speechkit.units.quantizers import AnyQuantizer

MOST_UNITS = 1 << 26
"""Maximum length of a sequence: two weeks at 50 units per second."""


class UnitSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The units of a recording, or their acoustic BPE tokens.

    Attributes:
        id: of the recording.
        units: deduplicated units, or tokens.
        durations: of each, in frames.
        codebook: digest of the codebook, or of the merges of the tokens.
        unit_durations: durations of the units inside tokens, in order; None for units.
    """

    id: str
    units: list[int]
    durations: list[int]
    codebook: str
    unit_durations: list[int] | None = None

    def frames(self) -> Units:
        """Frame-level units (T,).

        Raises:
            UserError: if units and durations are inconsistent.
        """
        return repeat(np.asarray(self.units, np.int32), np.asarray(self.durations, np.int32))


def quantize_recording(name: str, frames: NDArray[np.floating[Any]], quantizer: AnyQuantizer) -> list[UnitSequence]:
    """Units of the frames (T, D) of a recording: one sequence, or one per codebook of a stacked quantizer.

    Raises:
        UserError: if the frames do not fit the quantizer or contain NaN, naming the recording.
    """
    from speechkit.units.syllable_quantizer import SyllableQuantizer

    try:
        if isinstance(quantizer, SyllableQuantizer):
            runs, durations = quantizer.tokens(np.asarray(frames, np.float32))
            return [UnitSequence(name, runs.tolist(), durations.tolist(), quantizer.spec.digest)]
        units = quantizer.assign(frames)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    sets = unit_sets(quantizer)
    return [
        UnitSequence(name, runs.tolist(), durations.tolist(), unit_set.digest)
        for unit_set, (runs, durations) in zip(sets, map(deduplicate, units.reshape(-1, len(sets)).T), strict=True)
    ]


def assign_store(store: FeatureStore, quantizer: AnyQuantizer) -> Iterator[list[UnitSequence]]:
    """Units of every item of a store, as by `quantize_recording`.

    Raises:
        UserError: if the features are of another encoder or layer or contain NaN, or the store is empty.
    """
    quantizer.check(store.spec)
    if not len(store):
        raise UserError(f"{store.folder}: contains no recordings; encode some with speechkit features")
    for name in store.ids():
        yield quantize_recording(name, store[name], quantizer)


def write_sequences(paths: Sequence[Path], items: Iterable[Sequence[UnitSequence]]) -> int:
    """Write the sequences of all items atomically, one file per codebook; returns the number of items."""
    encode = msgspec.json.Encoder().encode
    count = 0
    with ExitStack() as stack:
        files = [stack.enter_context(stack.enter_context(atomic_path(path)).open("wb")) for path in paths]
        for sequences in items:
            for file, sequence in zip(files, sequences, strict=True):
                file.write(encode(sequence) + b"\n")
            count += 1
    return count


def read_sequences(paths: Sequence[Path], codebook: str | None = None) -> list[UnitSequence]:
    """Unit sequences of files of one codebook: JSON lines of `UnitSequence`, or manifests with units.

    Raises:
        UserError: if a file cannot be read, there are no sequences, codebooks differ, or units and durations are
            inconsistent.
    """
    sequences: list[UnitSequence] = []
    for path in paths:
        for row in _rows(path):
            codebook = codebook or row.codebook
            if row.codebook != codebook:
                raise UserError(
                    f"{path}: {row.id} is of the codebook {row.codebook[:12]}, not {codebook[:12]}; assign units again"
                )
            try:
                check_runs(row.units, row.durations)
            except UserError as error:
                raise UserError(f"{path}: {row.id}: {error}; assign units again") from error
            sequences.append(row)
    if not sequences:
        raise UserError(f"{', '.join(map(str, paths))}: no units; create them with speechkit units assign")
    return sequences


class _Probe(msgspec.Struct):
    audio_filepath: str | None = None


def _rows(path: Path) -> Iterator[UnitSequence]:
    first = next(read_jsonl(path, _Probe), None)
    if first is None or first.audio_filepath is None:
        yield from read_jsonl(path, UnitSequence)
        return
    from speechkit.data.manifest import read_manifest
    from speechkit.units.unit_manifest import sequence_of

    for row in read_manifest(path):
        try:
            yield sequence_of(row)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def read_frames(path: Path) -> dict[str, Units]:
    """Frame-level units (T,) by recording id; raises as `read_sequences`."""
    return {row.id: row.frames() for row in read_sequences([path])}
