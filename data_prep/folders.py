"""Walk a folder of unknown layout: sorted, without links and hidden files, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.io.containers import is_recording
from speechkit.io.folders import walk


def files_below(folder: Path) -> Iterator[Path]:
    """Files below ``folder``, folder by folder in sorted order, skipping links and names with a leading dot."""
    for path, problem in walk(folder):
        if problem is None and not path.is_symlink():
            yield path


def is_audio(path: Path) -> bool:
    """Whether a file is audio or video, by its suffix, or by its first bytes if the suffix is not conclusive."""
    return is_recording(path)
