"""Write features: a folder of safetensors shards and one index, which `speechkit.encoders.store` reads."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import write_arrays
from speechkit.io.atomic import sync_folder, write_error, write_json
from speechkit.io.paths import inside

INDEX = "features.json"
UNFINISHED = "features.unfinished.json"
SHARDS = "features-*.safetensors"
SHARD_BYTES = 256 << 20


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Location of an item: id, shard, first frame and number of frames."""

    id: str
    shard: int
    begin: int
    frames: int


class StoreIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of `features.json`."""

    spec: EncoderSpec
    dtype: str
    shards: list[str]
    items: list[Place]


class FeatureWriter:
    """Write features item by item; the store is complete when the block ends without an error.

    An existing store in the folder is replaced when the first new shard is written.

    Args:
        folder: of the store; created if missing.
        spec: of the encoder.
        dtype: ``float16``, half the size, about three digits, or ``float32``.
        shard_bytes: maximum size of a shard; one shard is held in memory.
        resume: continue after the shards of an earlier writer. With the same items in the same order, the store is
            byte-identical to an uninterrupted one.

    Raises:
        ConfigError: if the dtype is unknown.
        UserError: if ``folder`` is a file.
    """

    def __init__(
        self,
        folder: str | Path,
        spec: EncoderSpec,
        dtype: str = "float16",
        shard_bytes: int = SHARD_BYTES,
        *,
        resume: bool = False,
    ) -> None:
        if dtype not in ("float16", "float32"):
            raise ConfigError(f"dtype is {dtype!r}; choose float16 or float32")
        self.folder, self.spec = Path(folder), spec
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is a file; name a folder for the features")
        self._dtype = np.dtype(dtype)
        self._shard_bytes = shard_bytes
        self._held: list[NDArray[Any]] = []
        self._held_frames = 0
        self._shards: list[str] = []
        self._items: dict[str, Place] = {}
        self._resume = resume
        self._kept: frozenset[str] = frozenset()
        self._cleared = False
        if resume and (left := self._unfinished()) is not None:
            self._shards = left.shards
            self._items = {place.id: place for place in left.items}
            self._kept = frozenset(self._items)

    def __contains__(self, id: str) -> bool:  # noqa: A002 - the record's own word
        """Whether an earlier writer stored this item; adding it again has no effect."""
        return id in self._kept

    def add(self, id: str, features: NDArray[np.floating[Any]]) -> None:  # noqa: A002 - the record's own word
        """Append an item's frames (T, D).

        Raises:
            UserError: if the id is duplicate, the width differs, or a value is not finite in this dtype.
        """
        if id in self._kept:
            return
        if id in self._items:
            raise UserError(f"{self.folder}: duplicate item {id!r}; ids must be unique")
        if features.ndim != 2 or features.shape[1] != self.spec.dim:
            raise UserError(
                f"{self.folder}: item {id!r} has shape {features.shape}, the encoder gives (T, {self.spec.dim})"
            )
        unfit = why_unfit(features, self._dtype.name) if len(features) else None
        if unfit is not None:
            raise UserError(f"{self.folder}: features of {id!r} are not finite {unfit[1]}")
        stored = np.ascontiguousarray(features, self._dtype)
        self._items[id] = Place(id, len(self._shards), self._held_frames, len(stored))
        self._held.append(stored)
        self._held_frames += len(stored)
        if self._held_frames * self.spec.dim * self._dtype.itemsize >= self._shard_bytes:
            self._write_shard()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            if self._held:
                self._write_shard()
            self._clear()
            self._write_index(INDEX)
            (self.folder / UNFINISHED).unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove files of a store that is not resumed: an old index must not remain next to new shards."""
        if self._cleared:
            return
        gone = [] if self._kept else [self.folder / INDEX, self.folder / UNFINISHED]
        gone += [path for path in sorted(self.folder.glob(SHARDS)) if path.name not in self._shards]
        try:
            for path in gone:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        if gone and self.folder.is_dir():
            sync_folder(self.folder)
        self._cleared = True

    def _unfinished(self) -> StoreIndex | None:
        """The index of a compatible unfinished or finished store, if all its files exist."""
        index = self.folder / UNFINISHED
        try:
            left = msgspec.json.decode(
                (index if index.is_file() else self.folder / INDEX).read_bytes(), type=StoreIndex
            )
            whole = all(inside(self.folder, shard).is_file() for shard in left.shards)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return left if whole and (left.spec, left.dtype) == (self.spec, self._dtype.name) else None

    def _write_index(self, name: str) -> None:
        index = StoreIndex(self.spec, self._dtype.name, self._shards, list(self._items.values()))
        write_json(self.folder / name, index)

    def _write_shard(self) -> None:
        self._clear()
        name = f"features-{len(self._shards):05d}.safetensors"
        write_arrays(self.folder / name, {"frames": np.concatenate(self._held)})
        self._shards.append(name)
        self._held, self._held_frames = [], 0
        if self._resume:
            self._write_index(UNFINISHED)


def why_unfit(frames: NDArray[np.floating[Any]], dtype: str) -> tuple[str, str] | None:
    """The reason and its detail why frames (T, D) cannot be stored; None if they can."""
    if not len(frames):
        return "shorter_than_a_frame", "lasts less than 20 ms"
    with np.errstate(over="ignore"):  # overflow becomes infinite
        if np.isfinite(frames.astype(dtype)).all():
            return None
    return "not_finite", f"in {dtype}; " + (
        "dtype float32 holds them" if np.isfinite(frames).all() else "look at the recording and the encoder"
    )
