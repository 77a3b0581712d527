"""Frames of one layer, as stage 2 left them: read record by record, never all at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LayerFrames(msgspec.Struct, frozen=True):
    """Frames of a recording in one layer: ``part`` is ``train`` or ``test``, ``features`` names the arrays."""

    id: str
    part: str
    layer: int
    encoder: EncoderSpec
    frames: int
    features: str | None = None


class LayerStore:
    """Frames of a part in one layer.

    Raises:
        UserError: if stage 2 kept none.
    """

    def __init__(self, manifest: Path, part: str, layer: int) -> None:
        from speechkit.data.manifest import read_jsonl

        self._manifest = manifest
        self._rows = {
            row.id: row for row in read_jsonl(manifest, LayerFrames) if row.part == part and row.layer == layer
        }
        if not self._rows:
            raise UserError(f"{manifest}: holds no {part} frames of layer {layer}; run the features stage again")
        self.spec = next(iter(self._rows.values())).encoder

    def ids(self) -> list[str]:
        """In the order of the stage."""
        return list(self._rows)

    def __getitem__(self, id: str) -> NDArray[Any]:  # noqa: A002 - the record's own word
        """Frames (T, D) of a recording."""
        from speechkit.pipeline.arrays import read_record_arrays

        frames: NDArray[Any] = read_record_arrays(self._manifest, self._rows[id].features or "")["frames"]
        return frames

    def batches(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """All frames in order as float32 (n, D), about ``frames`` at a time."""
        import numpy as np

        held: list[NDArray[np.float32]] = []
        for name in self._rows:
            held.append(np.asarray(self[name], np.float32))
            if sum(map(len, held)) >= frames:
                yield np.concatenate(held)
                held = []
        if held:
            yield np.concatenate(held)
