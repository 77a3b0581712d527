"""A byte range of a file, read as a separate file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class Stretch(io.RawIOBase):
    """Read-only stream of ``head`` followed by bytes ``begin`` to ``end`` of ``path``; memory is one read."""

    def __init__(self, path: Path | str, begin: int, end: int, head: bytes = b"") -> None:
        self.file = Path(path).open("rb", buffering=1 << 16)  # noqa: SIM115 - closed by close
        self.begin, self.head = begin, head
        self.size = len(head) + end - begin
        self.position = 0

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        super().close()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position within the range."""
        self.position = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence])
        return self.position

    def tell(self) -> int:
        """Current position within the range."""
        return self.position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, up to the end of the range; returns the number of bytes."""
        with memoryview(buffer).cast("B") as view:
            wanted = min(len(view), max(0, self.size - self.position))
            front = self.head[self.position : self.position + wanted]
            view[: len(front)] = front
            filled = len(front)
            if filled < wanted:
                self.file.seek(self.begin + self.position + filled - len(self.head))
                content = self.file.read(wanted - filled)
                view[filled : filled + len(content)] = content
                filled += len(content)
            self.position += filled
            return filled
