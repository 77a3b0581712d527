"""Units of recordings as JSON lines: each run of a unit once, with its duration, and the codebook that named it."""

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
"""Of a recording: two weeks at 50 a second."""


class UnitSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The units of a recording, or the tokens that acoustic BPE made of them.

    Attributes:
        id: of the recording.
        units: runs of units, or tokens.
        durations: of each in frames.
        codebook: digest of the codebook, or of the merges that made the tokens.
        unit_durations: of the units that tokens stand for, one after another; None where units stand for themselves.
    """

    id: str
    units: list[int]
    durations: list[int]
    codebook: str
    unit_durations: list[int] | None = None

    def frames(self) -> Units:
        """The unit of every frame (T,).

        Raises:
            UserError: if units and durations do not belong together.
        """
        return repeat(np.asarray(self.units, np.int32), np.asarray(self.durations, np.int32))


def name_frames(name: str, frames: NDArray[np.floating[Any]], quantizer: AnyQuantizer) -> list[UnitSequence]:
    """The units of the frames (T, D) of a recording: one sequence, or one for each codebook of a stacked quantizer.

    Raises:
        UserError: if the frames are of another width, or hold NaN, naming the recording.
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
        UnitSequence(name, runs.tolist(), durations.tolist(), each.digest)
        for each, (runs, durations) in zip(sets, map(deduplicate, units.reshape(-1, len(sets)).T), strict=True)
    ]


def assign_store(store: FeatureStore, quantizer: AnyQuantizer) -> Iterator[list[UnitSequence]]:
    """The units of every item of a store, one after another, as `name_frames` gives them.

    Raises:
        UserError: if the features are of another encoder or layer than the quantizer, or hold NaN, naming the item; or
            the store is empty.
    """
    quantizer.check(store.spec)
    if not len(store):
        raise UserError(f"{store.folder}: holds no recording; encode some with speechkit features")
    for name in store.ids():
        yield name_frames(name, store[name], quantizer)


def write_sequences(paths: Sequence[Path], items: Iterable[Sequence[UnitSequence]]) -> int:
    """Write the sequences of each item to the files, one a codebook, as they come; returns the number of items.

    All files are there when all items are written, or none.
    """
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
    """Units of some files, all of one codebook: JSON lines of `UnitSequence`, or manifests whose rows carry units.

    Raises:
        UserError: if a file cannot be read, there is no sequence, two are of different codebooks, or units and
            durations of one do not belong together.
    """
    found: list[UnitSequence] = []
    for path in paths:
        for row in _rows(path):
            codebook = codebook or row.codebook
            if row.codebook != codebook:
                raise UserError(
                    f"{path}: {row.id} is of the codebook {row.codebook[:12]}, not of {codebook[:12]}; assign again"
                )
            try:
                check_runs(row.units, row.durations)
            except UserError as error:
                raise UserError(f"{path}: {row.id}: {error}; assign again") from error
            found.append(row)
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: holds no units; speechkit units assign makes them")
    return found


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
    """The unit of every frame (T,) by the id of the recording; see `read_sequences` for what is refused."""
    return {row.id: row.frames() for row in read_sequences([path])}
