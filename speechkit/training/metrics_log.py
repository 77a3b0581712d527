"""metrics.jsonl, the truth about a run, and TensorBoard (extra), its mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import require
from speechkit.io.atomic import write_bytes


class MetricsLog:
    """One JSON object a line: ``{"step": 100, "loss": 1.5, …}``.

    A resumed run drops the lines behind its checkpoint, and a torn last line with them, so that no step stands twice.
    """

    def __init__(self, path: Path, step: int = 0, tensorboard: Path | None = None):
        self._path = path
        kept = [line for line in _complete_lines(path) if line["step"] <= step]
        write_bytes(path, b"".join(msgspec.json.encode(line) + b"\n" for line in kept))
        self._mirror: Any = None
        if tensorboard is not None:
            require("tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self._mirror = SummaryWriter(str(tensorboard), purge_step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one line."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode({"step": step, **values}) + b"\n")
        if self._mirror is not None:
            for name, value in values.items():
                self._mirror.add_scalar(name, value, step)
            self._mirror.flush()


def _complete_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = []
    for line in path.read_bytes().splitlines():
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            lines.append(value)
    return lines
