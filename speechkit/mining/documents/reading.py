"""Read one document of any format, or many of which some may be bad."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechkit.errors import DocumentError, UserError
from speechkit.mining.documents.assembly import assemble
from speechkit.mining.documents.extracted import DocumentLimits, Extracted
from speechkit.mining.documents.folder import KINDS, document_ids, relative_path
from speechkit.mining.documents.markup import read_docx, read_epub, read_html
from speechkit.mining.documents.plain_text import read_subtitles, read_text
from speechkit.mining.documents.printed import Ocr, read_image, read_pdf
from speechkit.mining.records import Document


def read_document(
    path: Path | str,
    *,
    root: Path | str | None = None,
    lang: str | None = None,
    ocr: Ocr = "auto",
    document_id: str | None = None,
    limits: DocumentLimits | None = None,
) -> Document:
    """Read a document by its extension: clean text with pages and sentences.

    Args:
        path: the file.
        root: the folder that ``Document.path`` and the id are relative to; without it they hold the name alone.
        lang: the language of the text; without it the language is guessed, and OCR reads English.
        ocr: "auto" recognises pages without a text layer, "always" every page, "never" none.
        document_id: the id; without it the relative path without its extension, made safe.
        limits: bounds on size, pages, time and memory.

    Raises:
        DocumentError: in one sentence, whatever is wrong with the file.
        MissingExtraError: if it needs OCR and that is not installed.
    """
    path, bounds = Path(path), limits or DocumentLimits()
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise DocumentError(f"{path}: {path.suffix or 'no extension'} is not a document format; use {', '.join(KINDS)}")
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DocumentError(f"{path}: is not a regular file")
        if size == 0:
            raise DocumentError(f"{path}: is empty; save it anew")
        if size > bounds.max_file_bytes:
            raise DocumentError(f"{path}: has {size} bytes, more than {bounds.max_file_bytes}; split it")
        readers: dict[str, Callable[[], Extracted]] = {
            "pdf": lambda: read_pdf(path, lang, ocr, bounds),
            "image": lambda: read_image(path, lang, ocr, bounds),
            "html": lambda: read_html(path, bounds),
            "docx": lambda: read_docx(path, bounds),
            "epub": lambda: read_epub(path, bounds),
            "text": lambda: read_text(path),
            "subtitles": lambda: read_subtitles(path),
        }
        extracted = readers[kind]()
        folder = Path(root) if root is not None else None
        identity = document_id or document_ids([path], folder)[path]
        return assemble(extracted, document_id=identity, path=relative_path(path, folder), lang=lang, limits=bounds)
    except UserError:
        raise
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # what nobody expected of one file must not end the others
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        logging.getLogger(__name__).warning("%s: %s in %s", path, what, _place(error))
        raise DocumentError(f"{path}: cannot be read ({what}); save it anew or as plain text") from error


def _place(error: BaseException) -> str:
    """File and line where an error was raised, for the log."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be turned into text, and why, in one sentence."""

    path: Path
    id: str
    reason: str


class DocumentReader:
    """Reads many documents of a folder: a bad file is an `Unreadable` of its own and never stops the others."""

    def __init__(
        self,
        root: Path | str,
        *,
        lang: str | None = None,
        ocr: Ocr = "auto",
        limits: DocumentLimits | None = None,
    ) -> None:
        self.root, self.lang, self.ocr, self.limits = Path(root), lang, ocr, limits or DocumentLimits()

    def read(self, path: Path, document_id: str | None = None) -> Document | Unreadable:
        """The document, or why there is none."""
        identity = document_id or document_ids([path], self.root)[path]
        try:
            return read_document(
                path, root=self.root, lang=self.lang, ocr=self.ocr, document_id=identity, limits=self.limits
            )
        except UserError as error:
            return Unreadable(path, identity, str(error))

    def read_all(self, paths: Sequence[Path]) -> Iterator[Document | Unreadable]:
        """One result a path, in order, each under an id that is unique among the paths."""
        ids = document_ids(paths, self.root)
        for path in paths:
            yield self.read(path, ids[path])
