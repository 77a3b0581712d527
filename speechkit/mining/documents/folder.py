"""The documents of a folder, and their ids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechkit.errors import DocumentError
from speechkit.io.folders import walk
from speechkit.io.hashing import digest_bytes
from speechkit.io.paths import safe_id

KINDS = {
    ".pdf": "pdf",
    ".png": "image", ".jpg": "image", ".jpeg": "image", ".tif": "image", ".tiff": "image", ".bmp": "image",
    ".webp": "image",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".docx": "docx",
    ".epub": "epub",
    ".txt": "text", ".text": "text",
    ".md": "markdown",
    ".srt": "subtitles", ".vtt": "subtitles",
}  # fmt: skip


@dataclass(frozen=True)
class Skipped:
    """A file that is not a document, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class FoundDocuments:
    """The documents of a folder, sorted by path, and its other files."""

    documents: list[Path]
    skipped: list[Skipped]


def scan_folder(folder: Path | str) -> FoundDocuments:
    """Every file under the folder, as a document or with the reason why it is not one; a single file is allowed too.

    Linked folders are not entered, and a linked file counts only if it leads to a place inside the folder.

    Raises:
        DocumentError: if the folder does not exist or cannot be listed.
    """
    folder = Path(folder)
    if folder.is_file():
        return FoundDocuments([folder], []) if is_document(folder) else FoundDocuments([], [_unknown(folder)])
    if not folder.is_dir():
        raise DocumentError(f"{folder}: there is no such folder; give the folder that holds the documents")
    root = Path(os.path.realpath(folder))
    documents: list[Path] = []
    skipped: list[Skipped] = []

    for path, problem in walk(folder):
        if problem is not None:
            skipped.append(Skipped(path, problem))
        elif not is_document(path):
            skipped.append(_unknown(path))
        elif path.is_symlink() and root not in Path(os.path.realpath(path)).parents:
            skipped.append(Skipped(path, "is a link that leads out of the folder"))
        else:
            documents.append(path)
    return FoundDocuments(sorted(documents), sorted(skipped, key=lambda item: item.path))


def find_documents(folder: Path | str) -> list[Path]:
    """The documents under a folder, sorted; `scan_folder` also lists the other files."""
    return scan_folder(folder).documents


def is_document(path: Path) -> bool:
    """Whether the file's extension is one that can be read."""
    return path.suffix.lower() in KINDS


def _unknown(path: Path) -> Skipped:
    hint = {".doc": "; save it as .docx", ".rtf": "; save it as .docx", ".odt": "; save it as .docx"}
    return Skipped(path, f"{path.suffix or 'no extension'} is not a document format{hint.get(path.suffix.lower(), '')}")


def relative_path(path: Path, root: Path | None) -> str:
    """The path as records keep it: relative to the root, with forward slashes; the name alone without a root."""
    if root is None or path == root:
        return path.name
    try:
        return Path.cwd().joinpath(path).relative_to(Path.cwd() / root).as_posix()
    except ValueError:
        return path.name


def document_ids(paths: Sequence[Path], root: Path | None = None) -> dict[Path, str]:
    """A unique, safe id for every path: its relative path without the extension, with it where two would be equal.

    The ids depend on the set of paths only, not on their order.
    """
    plain = {path: _plain_id(relative_path(path, root)) for path in paths}
    taken: dict[str, list[Path]] = {}
    for path, name in plain.items():
        taken.setdefault(name.casefold(), []).append(path)  # some file systems ignore case
    ids: dict[Path, str] = {}
    used: set[str] = {name for name, group in taken.items() if len(group) == 1}
    for name, group in sorted(taken.items()):
        if len(group) == 1:
            ids[group[0]] = plain[group[0]]
            continue
        for path in sorted(group):
            relative = relative_path(path, root)
            unique = f"{plain[path]}-{path.suffix[1:].lower()}"
            if unique.casefold() in used:
                unique = f"{plain[path]}-{digest_bytes(os.fsencode(relative))[:8]}"
            used.add(unique.casefold())
            ids[path] = unique
        used.add(name)
    return {path: ids[path] for path in paths}


def _plain_id(relative: str) -> str:
    return safe_id(relative[: -len(Path(relative).suffix)] if Path(relative).suffix else relative)
