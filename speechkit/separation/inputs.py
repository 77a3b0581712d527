"""Input recordings of separation, and unique names for their tracks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from speechkit.data.manifest import audio_path, read_manifest, unique_ids
from speechkit.data.recordings import is_manifest
from speechkit.data.records import Utterance
from speechkit.errors import UserError, shown
from speechkit.io.folders import find_audio
from speechkit.io.paths import safe_id


class NamedInput(NamedTuple):
    """A recording, or the cut of one in a manifest row, and the stem of its tracks."""

    path: Path
    name: str
    row: Utterance | None = None


def named_inputs(paths: Sequence[Path | str], folder: Path) -> list[NamedInput]:
    """The recordings in files, folders and manifests, each with a short unique name.

    Names of recordings that share a stem include folder and suffix, so that no track replaces another's.

    Raises:
        UserError: if a path does not exist, or there is no recording.
    """
    output = Path(os.path.realpath(folder))
    by_path: dict[str, NamedInput] = {}  # a file that is given twice is separated once
    for source in map(Path, paths):
        if source.is_dir():
            files = [path for path in find_audio(source).files if output not in Path(os.path.realpath(path)).parents]
            if not files:
                raise UserError(f"{source}: holds no recordings; give audio files or a folder of them")
            for path in files:
                by_path.setdefault(os.path.realpath(path), NamedInput(path, path.relative_to(source).as_posix()))
        elif not source.exists():
            raise UserError(f"{source}: no such file or folder; give recordings, folders of them or manifests")
        elif is_manifest(source):
            for row in unique_ids(read_manifest(source), source):
                by_path[f"{os.path.realpath(source)} {row.id}"] = NamedInput(audio_path(source, row), row.id, row)
        else:
            by_path.setdefault(os.path.realpath(source), NamedInput(source, source.name))
    if not by_path:
        raise UserError(f"{paths[0] if paths else folder}: holds no recordings; give audio files or a folder of them")
    stems = {key: safe_id(item.name if item.row else Path(item.name).stem) for key, item in by_path.items()}
    counts = Counter(stem.casefold() for stem in stems.values())
    used: set[str] = set()
    inputs = []
    for key, item in by_path.items():
        stem = stems[key]
        name = stem if counts[stem.casefold()] == 1 else safe_id(item.name.replace("/", "-"))
        if name.casefold() in used or (name != stem and name.casefold() in counts):
            name = safe_id(f"{name} {key}")  # `safe_id` adds a digest of the whole path
        used.add(name.casefold())
        inputs.append(item._replace(name=name))
    return inputs


def skipped_files(paths: Sequence[Path | str], folder: Path) -> dict[str, str]:
    """Files in the given folders, outside the output ``folder``, that are not recordings, with the reason."""
    output = os.path.realpath(folder)
    entries = [entry for path in paths if Path(path).is_dir() for entry in find_audio(path).skipped]
    return {
        shown(path): problem or ""
        for path, problem in entries
        if os.path.commonpath([output, os.path.realpath(path)]) != output
    }


def track_names(name: str, tracks: int, audio_format: str) -> list[str]:
    """File names of the tracks of a recording: ``NAME_source1.wav`` and so on."""
    return [f"{name}_source{track + 1}.{audio_format}" for track in range(tracks)]
