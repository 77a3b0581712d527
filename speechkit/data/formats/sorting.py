"""Lines sorted by their bytes, as Kaldi wants them, in bounded memory."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterator
from typing import IO

LINES_IN_MEMORY = 100_000


class SortedLines:
    """Collects lines and gives them back in byte order (the C locale); beyond 100 k lines they wait in files."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self.lines: list[bytes] = []
        self.runs: list[IO[bytes]] = []

    def add(self, line: str) -> None:
        """Add one line, without its newline."""
        self.lines.append(line.encode() + b"\n")
        if len(self.lines) >= LINES_IN_MEMORY:
            self.lines.sort()
            run = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - closed in __iter__
            run.writelines(self.lines)
            run.seek(0)
            self.runs.append(run)
            self.lines = []

    def __iter__(self) -> Iterator[bytes]:
        """All lines in order; can be asked for once."""
        self.lines.sort()
        yield from heapq.merge(*self.runs, self.lines)
        for run in self.runs:
            run.close()
