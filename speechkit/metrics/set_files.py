"""Files of several test sets and several systems: one reference per set, one folder per system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechkit.errors import UserError
from speechkit.metrics.sides import Missing, Sides, name_systems, read_sides


def read_sets(
    systems: Sequence[str],
    sets: Sequence[str],
    *,
    missing: Missing = "error",
    reference_field: str | None = None,
    hypothesis_field: str | None = None,
) -> dict[str, Sides]:
    """Every set with the hypotheses of every system.

    Args:
        systems: ``FOLDER`` or ``NAME=FOLDER``, with a file (or folder) of any suffix named after each set.
        sets: ``REF`` or ``NAME=REF``, or a folder of references, one set per file.
        missing: treatment of missing hypotheses, see `match_sides`.
        reference_field: the field of the text in references.
        hypothesis_field: the field of the text in hypotheses.

    Raises:
        UserError: if a system is not a folder, or a set has no file or two, or set names are duplicate.
    """
    folders = name_systems(systems)
    references = _references(sets)
    for path in folders.values():
        if not path.is_dir():
            raise UserError(f"{path}: is not a folder; give a folder with a hypothesis file for each set")
    sides_of_sets = {}
    for name, reference in references.items():
        files = [f"{system}={_file_of(name, folder)}" for system, folder in folders.items()]
        sides_of_sets[name] = read_sides(
            reference,
            files,
            missing=missing,
            reference_field=reference_field,
            hypothesis_field=hypothesis_field,
        )
    return sides_of_sets


def _references(sets: Sequence[str]) -> dict[str, Path]:
    given: list[str] = []
    for text in sets:
        folder = Path(text)
        if folder.is_dir():
            inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
            if not inside:
                raise UserError(f"{folder}: has no reference; give a folder with a file for each set")
            given += [f"{_name(path)}={path}" for path in inside]
        else:
            given.append(text)
    return name_systems(given)


def _file_of(name: str, folder: Path) -> Path:
    files = sorted(path for path in folder.iterdir() if _name(path) == name and not path.name.startswith("."))
    if len(files) != 1:
        problem = f"has {len(files)} files" if files else "has no file"
        raise UserError(f"{folder}: {problem} for the set {name}; give each system one file for each set, {name}.jsonl")
    return files[0]


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0] or path.name
