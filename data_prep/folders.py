"""Walking a folder of unknown layout: sorted, without links and hidden files, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.io.containers import is_recording
from speechkit.io.folders import walk


def files_below(folder: Path) -> Iterator[Path]:
    """Files below ``folder``, folder by folder in sorted order; links and names with a leading dot are passed over."""
    for path, problem in walk(folder):
        if problem is None and not path.is_symlink():
            yield path


def is_audio(path: Path) -> bool:
    """Whether the suffix is one of audio or video, or the first bytes are, where it says nothing."""
    return is_recording(path)
