"""Units of recordings as JSON lines: each run of a unit once, with its duration, and the codebook that named it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from speechkit.data.manifest import read_jsonl
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError
from speechkit.units.codebook import Codebook
from speechkit.units.deduplication import deduplicate, repeat
from speechkit.units.health import Units


class UnitSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The units of a recording: runs, their durations in frames, and the digest of the codebook."""

    id: str
    units: list[int]
    durations: list[int]
    codebook: str

    def frames(self) -> Units:
        """The unit of every frame (T,).

        Raises:
            UserError: if units and durations do not belong together.
        """
        return repeat(np.asarray(self.units, np.int32), np.asarray(self.durations, np.int32))


def assign_store(store: FeatureStore, codebook: Codebook) -> Iterator[UnitSequence]:
    """The units of every item of a store, one after another.

    Raises:
        UserError: if the features are of another encoder or layer than the codebook, or hold NaN, naming the item.
    """
    codebook.check(store.spec)
    for name in store.ids():
        try:
            units, durations = deduplicate(codebook.assign(store[name]))
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        yield UnitSequence(name, units.tolist(), durations.tolist(), codebook.spec.digest)


def read_sequences(paths: Sequence[Path], codebook: str | None = None) -> list[UnitSequence]:
    """Units of some files, all of one codebook.

    Raises:
        UserError: if a file cannot be read, there is no sequence, or two are of different codebooks.
    """
    found: list[UnitSequence] = []
    for path in paths:
        for row in read_jsonl(path, UnitSequence):
            codebook = codebook or row.codebook
            if row.codebook != codebook:
                raise UserError(
                    f"{path}: {row.id} is of the codebook {row.codebook[:12]}, not of {codebook[:12]}; assign again"
                )
            found.append(row)
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: holds no units; speechkit units assign makes them")
    return found
