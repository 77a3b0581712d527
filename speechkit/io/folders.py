"""Deterministic walk of a user's folder: every file is accepted, or listed with the reason why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from speechkit.io.containers import is_recording


class Entry(NamedTuple):
    """A file or folder; ``problem`` is the reason why it cannot be used, None if it can."""

    path: Path
    problem: str | None


class FoundAudio(NamedTuple):
    """The recordings of a folder, and all other entries with their reasons, both sorted by path."""

    files: list[Path]
    skipped: list[Entry]


def walk(folder: Path | str) -> Iterator[Entry]:
    """Every file below a folder, recursively, sorted by name within each folder.

    Hidden and linked folders are reported but not entered, and folders that cannot be listed are reported. A link to
    a file counts as the file.
    """
    listed: list[Entry | Path] = [Path(folder)]  # folders are listed when they are popped
    while listed:
        item = listed.pop()
        if isinstance(item, Entry):
            yield item
            continue
        try:
            with os.scandir(item) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            yield Entry(item, f"cannot be listed ({error.strerror or error})")
            continue
        listed += [_entry(item / entry.name, entry) for entry in entries]


def _entry(path: Path, entry: os.DirEntry[str]) -> Entry | Path:
    """A file, or a rejected entry with its reason; a folder to enter is returned as its path."""
    if entry.name.startswith((".", "~$")):
        return Entry(path, "is hidden")
    if entry.is_dir(follow_symlinks=False):
        return path
    if entry.is_dir():
        return Entry(path, "is a link to a folder, which is not entered; give the folder that it leads to")
    if not entry.is_file():
        return Entry(path, "leads to no file" if entry.is_symlink() else "is not a regular file")
    return Entry(path, None)


def find_audio(folder: Path | str) -> FoundAudio:
    """Recordings below a folder, detected by suffix or first bytes; ``folder`` may also be a single file."""
    if Path(folder).is_file():
        return FoundAudio([Path(folder)], [])
    files: list[Path] = []
    skipped: list[Entry] = []
    for path, problem in walk(folder):
        if problem is None and is_recording(path):
            files.append(path)
        else:
            skipped.append(
                Entry(path, problem or "is no audio: neither its suffix nor its first bytes are those of audio")
            )
    return FoundAudio(sorted(files), sorted(skipped))
