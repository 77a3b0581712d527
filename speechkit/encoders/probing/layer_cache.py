"""All layers of every item, computed once: a feature store whose frames are the layers side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.encoder import Encoder
from speechkit.encoders.feature_statistics import feature_statistics
from speechkit.encoders.spec import EncoderSpec
from speechkit.encoders.store import FeatureStore, FeatureWriter, why_unfit
from speechkit.errors import UserError

Float = NDArray[np.float32]


def stacked_spec(spec: EncoderSpec, layers: int) -> EncoderSpec:
    """The spec of a store that holds so many layers of an encoder side by side."""
    return msgspec.structs.replace(spec, layer=f"all:{layers}", dim=layers * spec.dim)


def write_layers(
    folder: str | Path,
    encoder: Encoder,
    items: Iterable[tuple[str, NDArray[np.float32]]],
    dtype: str = "float16",
    leave_out: Callable[[str, str, str], None] | None = None,
) -> int:
    """Encode items (id, waveform) one by one and store all their layers; returns how many items were stored.

    Items shorter than a frame are stored without frames.

    Args:
        folder: of the store.
        encoder: whose layers.
        items: ids and waveforms at 16 kHz.
        dtype: of the store.
        leave_out: is told the id, reason and detail of an item whose layers are not finite in this dtype.

    Raises:
        UserError: for such an item where there is no ``leave_out``.
    """
    layers = encoder.num_layers + 1
    count = 0
    with FeatureWriter(folder, stacked_spec(encoder.spec, layers), dtype) as writer:
        for name, waveform in items:
            states = encoder.encode_layers(waveform)  # (L, T, D)
            frames = np.ascontiguousarray(states.transpose(1, 0, 2)).reshape(states.shape[1], writer.spec.dim)
            unfit = why_unfit(frames, dtype) if leave_out is not None and len(frames) else None
            if unfit is not None and leave_out is not None:
                leave_out(name, *unfit)
                continue
            writer.add(name, frames)
            count += 1
    return count


class LayerCache:
    """Read what `write_layers` stored.

    Raises:
        UserError: if the folder holds features of one layer.
    """

    def __init__(self, folder: str | Path) -> None:
        self._store = FeatureStore(folder)
        kind, _, count = self._store.spec.layer.partition(":")
        if kind != "all" or not count.isdigit() or not int(count) or self._store.spec.dim % int(count):
            raise UserError(
                f"{folder}: holds layer {self._store.spec.layer} of {self._store.spec.model}; probing needs all "
                "layers, made by the features stage of ssl_probing"
            )
        self.num_layers = int(count)
        self.dim = self._store.spec.dim // self.num_layers

    @property
    def spec(self) -> EncoderSpec:
        """The encoder and its last layer."""
        return msgspec.structs.replace(self._store.spec, layer=str(self.num_layers - 1), dim=self.dim)

    def __contains__(self, id: str) -> bool:  # noqa: A002 - the record's own word
        return id in self._store

    def frames(self, id: str) -> int:  # noqa: A002 - the record's own word
        """How many frames an item has."""
        return len(self._store[id])

    def layers(self, id: str, begin: int = 0, end: int | None = None) -> Float:  # noqa: A002
        """All layers of an item, or of its frames from ``begin`` to ``end``: (L, T, D)."""
        frames = np.asarray(self._store[id][begin:end], np.float32)
        stacked: Float = frames.reshape(len(frames), self.num_layers, self.dim).transpose(1, 0, 2)
        return stacked

    def layer(self, id: str, layer: int, begin: int = 0, end: int | None = None) -> Float:  # noqa: A002
        """One layer of an item: (T, D)."""
        columns = slice(layer * self.dim, (layer + 1) * self.dim)
        return np.asarray(self._store[id][begin:end, columns], np.float32)


def frame_statistics(cache: LayerCache, ids: Sequence[str]) -> tuple[Float, Float]:
    """`feature_statistics` of every dimension of every layer, (L, D) each."""
    return feature_statistics(lambda name: cache.layers(name).transpose(1, 0, 2), ids)
