"""metrics.jsonl, and its copy in TensorBoard (extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import require
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_bytes


class MetricsLog:
    """One JSON object per line, ``{"step": 100, "loss": 1.5, …}``, without clock times: equal runs write equal bytes.

    Args:
        path: of the file.
        lines: number of existing lines that belong to the resumed run; later ones are dropped.
        tensorboard: a folder for TensorBoard's files, written from ``step`` on.
        step: steps done.
    """

    def __init__(self, path: Path, lines: int = 0, tensorboard: Path | None = None, step: int = 0):
        self._path = path
        kept = path.read_bytes().splitlines(keepends=True)[:lines] if path.is_file() else []
        self.lines = len(kept)
        write_bytes(path, b"".join(kept))
        self._mirror: Any = None
        if tensorboard is not None:
            require("tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self._mirror = SummaryWriter(str(tensorboard), purge_step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one line."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode({"step": step, **values}) + b"\n")
        self.lines += 1
        if self._mirror is not None:
            for name, value in values.items():
                self._mirror.add_scalar(name, value, step)
            self._mirror.flush()

    @property
    def mirrored(self) -> bool:
        """Whether TensorBoard's files are written."""
        return self._mirror is not None

    def listen(self, step: int, sounds: dict[str, tuple[Float, int]]) -> None:
        """Sounds (S,) in [-1, 1] with their sample rates, for TensorBoard only."""
        for name, (waveform, sample_rate) in sounds.items():
            self._mirror.add_audio(name, waveform, step, sample_rate)
        self._mirror.flush()
