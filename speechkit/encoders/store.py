"""Feature stores on disk, with one or several layers and the encoder's spec, in shards.

A store is a folder of safetensors shards, memory-mapped when read; layers of a frame are concatenated. The records
of an encode stage (`LayerFrames` and their arrays) are read in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.feature_writer import INDEX, SHARDS, UNFINISHED, StoreIndex
from speechkit.encoders.spec import EncoderSpec, layers_spec, stored_layers
from speechkit.errors import UserError
from speechkit.io.paths import inside


class LayerFrames(msgspec.Struct, frozen=True):
    """Record of an encode stage: the frames of a recording in one layer.

    ``part`` is the part of the corpus, such as ``train``; ``encoder`` the spec of this layer; ``features`` the array.
    """

    id: str
    part: str
    layer: int
    encoder: EncoderSpec
    frames: int
    features: str | None = None


class FeatureStore:
    """Frames by recording id: a folder written by `FeatureWriter`, or the records of an encode stage.

    Shapes: T frames, L layers, D width of a layer.

    Args:
        source: the folder, or a file of `LayerFrames`.
        layers: layers to read: one, several, or ``all`` for a store that must have all layers of its encoder. Default:
            all stored layers, concatenated per frame.
        part: part to read, for records; recordings without all layers are left out.

    Raises:
        UserError: if the store is missing or incomplete, a shard is missing or damaged, or a layer is not stored.
    """

    def __init__(
        self, source: str | Path, layers: int | Sequence[int] | Literal["all"] | None = None, part: str | None = None
    ) -> None:
        self.folder = Path(source)
        self._source = _Records(self.folder, part) if self.folder.suffix == ".jsonl" else _Shards(self.folder)
        stored = stored_layers(self._source.spec)
        if layers == "all":
            if not self._source.spec.layer.startswith("all:"):
                raise UserError(
                    f"{source}: holds layer {self._source.spec.layer} of {self._source.spec.model} and all layers are "
                    "needed; write them as the features stages of ssl_probing and slue_intents do"
                )
            layers = stored
        self._chosen = None if layers is None else (layers,) if isinstance(layers, int) else tuple(layers)
        missing = [layer for layer in self._chosen or () if layer not in stored]
        if missing:
            raise UserError(
                f"{source}: holds layer {self._source.spec.layer} of {self._source.spec.model}, not {missing[0]}; "
                "write the features again with that layer"
            )
        selected = stored if self._chosen is None else self._chosen
        self._frames = self._source.frames_of(selected)
        self.num_layers = len(selected) or 1
        self.dim = self._source.spec.dim // (len(stored) or 1)

    @property
    def spec(self) -> EncoderSpec:
        """Spec of the encoder; of several requested layers, that of the last."""
        if self._chosen is None:
            return self._source.spec
        return msgspec.structs.replace(self._source.spec, layer=str(self._chosen[-1]), dim=self.dim)

    @property
    def total_frames(self) -> int:
        """Number of frames of all items."""
        return sum(self._frames.values())

    def ids(self) -> list[str]:
        """Ids of the items in the order of writing."""
        return list(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, id: str) -> bool:  # noqa: A002 - the record's own word
        return id in self._frames

    def frames(self, id: str) -> int:  # noqa: A002
        """Number of frames of an item."""
        self._require(id)
        return self._frames[id]

    def __getitem__(self, id: str) -> NDArray[Any]:  # noqa: A002
        """Stored frames (T, D) of an item, several layers concatenated (T, L * D); a view of the shard.

        Raises:
            UserError: if there is no such item.
        """
        self._require(id)
        if self._chosen is None:
            return self._source.read(id, None, 0, None)
        parts = [self._source.read(id, layer, 0, None) for layer in self._chosen]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def layers(self, id: str, begin: int = 0, end: int | None = None) -> NDArray[np.float32]:  # noqa: A002
        """The layers of an item, or of its frames from ``begin`` to ``end``: (L, T, D)."""
        self._require(id)
        if self._chosen is None or self._chosen == stored_layers(self._source.spec):
            rows = np.asarray(self._source.read(id, None, begin, end), np.float32)
            stacked: NDArray[np.float32] = rows.reshape(len(rows), self.num_layers, self.dim).transpose(1, 0, 2)
            return stacked
        return np.stack([self.layer(id, layer, begin, end) for layer in self._chosen])

    def layer(self, id: str, layer: int, begin: int = 0, end: int | None = None) -> NDArray[np.float32]:  # noqa: A002
        """One layer of an item: (T, D)."""
        self._require(id)
        return np.asarray(self._source.read(id, layer, begin, end), np.float32)

    def batches(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """All frames in order as float32 (n, D), ``frames`` at a time, the last fewer."""
        held: list[NDArray[np.float32]] = []
        count = 0
        for name in self._frames:
            rows = self[name]
            for begin in range(0, len(rows), frames):
                held.append(np.asarray(rows[begin : begin + frames], np.float32))
                count += len(held[-1])
                while count >= frames:
                    joined = np.concatenate(held)
                    yield joined[:frames]
                    held, count = [joined[frames:]], count - frames
        if count:
            yield np.concatenate(held)

    def _require(self, name: str) -> None:
        if name not in self._frames:
            raise UserError(f"{self.folder}: holds no features of {name!r}; write them, or use the matching manifest")


class _Records:
    """The records and arrays of an encode stage, read one by one."""

    def __init__(self, manifest: Path, part: str | None) -> None:
        from speechkit.data.manifest import read_jsonl

        self._manifest = manifest
        rows = [row for row in read_jsonl(manifest, LayerFrames) if part is None or row.part == part]
        if not rows:
            raise UserError(f"{manifest}: holds no {part or 'recording'} frames; run the features stage again")
        self._rows = {(row.id, row.layer): row for row in rows}
        self._layers = sorted({row.layer for row in rows})
        self.spec = layers_spec(rows[0].encoder, self._layers) if len(self._layers) > 1 else rows[0].encoder

    def frames_of(self, layers: Sequence[int]) -> dict[str, int]:
        """Number of frames of each item that is stored in all of these layers."""
        return {
            name: row.frames
            for (name, first), row in self._rows.items()
            if first == layers[0] and all((name, layer) in self._rows for layer in layers)
        }

    def read(self, id: str, layer: int | None, begin: int, end: int | None) -> NDArray[Any]:  # noqa: A002
        """Frames of an item in one layer, or concatenated over all."""
        from speechkit.pipeline.arrays import read_record_arrays

        layers = self._layers if layer is None else [layer]
        references = [self._rows[id, number].features or "" for number in layers]
        arrays = [read_record_arrays(self._manifest, reference)["frames"][begin:end] for reference in references]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


class _Shards:
    """A folder written by `FeatureWriter`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = _read_index(folder)
        self.spec = self._index.spec
        self._items = {item.id: item for item in self._index.items}
        self._rows = [0] * len(self._index.shards)
        for item in self._index.items:
            if not 0 <= item.shard < len(self._rows):
                raise UserError(f"{folder / INDEX}: {item.id!r} is in no shard; write the features again")
            self._rows[item.shard] += item.frames
        self._mapped: dict[int, NDArray[Any]] = {}
        layers = stored_layers(self.spec)
        width = self.spec.dim // (len(layers) or 1)
        self._columns: dict[int | None, slice] = {None: slice(None)}
        self._columns |= {layer: slice(n * width, (n + 1) * width) for n, layer in enumerate(layers)}

    def frames_of(self, layers: Sequence[int]) -> dict[str, int]:
        """See `_Records`; every item has all layers."""
        return {item.id: item.frames for item in self._index.items}

    def read(self, id: str, layer: int | None, begin: int, end: int | None) -> NDArray[Any]:  # noqa: A002
        """See `_Records`; a read-only view of the mapped file."""
        item = self._items[id]
        if item.shard not in self._mapped:
            path = inside(self._folder, self._index.shards[item.shard])
            self._mapped[item.shard] = _map_shard(path, self._index, self._rows[item.shard])
        frames = self._mapped[item.shard][item.begin : item.begin + item.frames]
        return frames[begin:end, self._columns[layer]]


def _read_index(folder: Path) -> StoreIndex:
    path = folder / INDEX
    if folder.is_file():
        raise UserError(f"{folder}: is a file; name the folder that speechkit features wrote")
    if (folder / UNFINISHED).is_file() or (not path.is_file() and any(folder.glob(SHARDS))):
        raise UserError(f"{folder}: has no complete {INDEX}, since writing was interrupted; write the features again")
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoreIndex)
    except FileNotFoundError:
        raise UserError(f"{folder}: has no {INDEX}; write features with speechkit features") from None
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"{path}: is not an index of features ({error}); write them again") from error


def _map_shard(path: Path, index: StoreIndex, frames: int) -> NDArray[Any]:
    """Memory-map the single array of a shard: safetensors is a length, a JSON header, then the data."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = msgspec.json.decode(file.read(min(length, 1 << 20)))["frames"]
        expected = {"float16": "F16", "float32": "F32"}[index.dtype]
        rows, width = header["shape"]
        if header["dtype"] != expected or width != index.spec.dim:
            raise UserError(
                f"{path}: has {header['dtype']} of width {width}, unlike its index; write the features again"
            )
        if rows != frames:
            raise UserError(f"{path}: has {rows} frames instead of {frames} as in its index; write the features again")
        return np.memmap(path, np.dtype(index.dtype), "r", 8 + length + header["data_offsets"][0], (rows, width))
    except (OSError, KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise UserError(f"{path}: is missing or damaged ({error}); write the features again") from error
