"""Walking a folder of unknown layout: sorted, without links and hidden files, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from speechkit.io.containers import AUDIO_SUFFIXES


def files_below(folder: Path) -> Iterator[Path]:
    """Files below ``folder``, folder by folder in sorted order; links and names with a leading dot are passed over."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and not path.is_symlink():
                yield path


def is_audio(path: Path) -> bool:
    """Whether the suffix is one of audio or video."""
    return path.suffix.lower() in AUDIO_SUFFIXES
