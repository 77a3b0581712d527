"""Read one document of any format, or many of which some may be bad."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from speechkit.errors import DocumentError, MissingExtraError, UserError, shown
from speechkit.mining.documents.assembly import assemble
from speechkit.mining.documents.extracted import DocumentLimits, Extracted
from speechkit.mining.documents.folder import KINDS, document_ids, relative_path
from speechkit.mining.documents.isolation import parsing_process
from speechkit.mining.documents.markup import read_docx, read_epub, read_html, read_markdown
from speechkit.mining.documents.plain_text import read_subtitles, read_text
from speechkit.mining.documents.printed import Ocr, read_image, read_pdf
from speechkit.mining.records import Document

SMALL_BYTES = 1 << 16
"""Up to here the worst text and markup known costs half a second, and is parsed without a process of its own."""


class Parsing(msgspec.Struct, frozen=True, kw_only=True):
    """A document to parse: a file, or what a reader of printed pages made of it."""

    kind: str
    path: bytes  # as the file system spells it, relative to ``folder``
    folder: bytes
    id: str
    name: str  # of the file, for messages about its text
    lang: str | None
    limits: DocumentLimits
    extracted: Extracted | None = None

    @property
    def file(self) -> Path:
        """The file's path."""
        return Path(os.fsdecode(self.path))

    @property
    def shown(self) -> str:
        """The file's path for messages."""
        return shown(self.file)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of the parsing process: a document or an error; a spent process must be replaced."""

    document: Document | None = None
    error: str = ""
    error_type: str = "DocumentError"
    location: str = ""  # file and line of an unexpected error
    spent: bool = False


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
        DocumentError: if the file cannot be read.
        MissingExtraError: if it needs OCR and that is not installed.
    """
    path, bounds = Path(path), limits or DocumentLimits()
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise DocumentError(f"{path}: {path.suffix or 'no extension'} is not a document format; use {', '.join(KINDS)}")
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DocumentError(f"{path}: is not a regular file; give the file itself")
        if size == 0:
            raise DocumentError(f"{path}: is empty; save it again")
        if size > bounds.max_file_bytes:
            raise DocumentError(f"{path}: has {size} bytes, more than {bounds.max_file_bytes}; split it")
        extracted: Extracted | None = None
        if kind == "pdf":
            extracted = read_pdf(path, lang, ocr, bounds)
        elif kind == "image":
            extracted = read_image(path, lang, ocr, bounds)
        folder = Path(root) if root is not None else None
        name = relative_path(path, folder)
        request = Parsing(
            kind=kind,
            path=os.fsencode(path),
            folder=_working_folder(),
            id=document_id or document_ids([path], folder)[path],
            name=shown(name),
            lang=lang,
            limits=bounds,
            extracted=extracted,
        )
        document = parse(request) if _is_small(request, size) else parse_apart(request)
        return msgspec.structs.replace(document, path=name)
    except UserError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise DocumentError(f"{path}: cannot be read ({reason}); check path and permissions") from error
    except Exception as error:  # an unexpected error of one file must not end the run
        sentence, location = unforeseen(path, error)
        logging.getLogger(__name__).warning("%s in %s", sentence, location)
        raise sentence from error


def parse(request: Parsing) -> Document:
    """The document of a request, parsed in this process and without a clock.

    Raises:
        DocumentError: if it cannot be parsed or holds no text.
    """
    path, bounds = request.file, request.limits
    readers: dict[str, Callable[[], Extracted]] = {
        "html": lambda: read_html(path, bounds),
        "markdown": lambda: read_markdown(path),
        "docx": lambda: read_docx(path, bounds),
        "epub": lambda: read_epub(path, bounds),
        "text": lambda: read_text(path),
        "subtitles": lambda: read_subtitles(path),
    }
    extracted = request.extracted or readers[request.kind]()
    return assemble(extracted, document_id=request.id, path=request.name, lang=request.lang, limits=bounds)


def parse_apart(request: Parsing) -> Document:
    """The document of a request, parsed in a process with limits of time and memory.

    Raises:
        DocumentError: as `parse` does, and if it takes longer or more memory than its limits allow.
    """
    process = parsing_process()
    reply = process.ask(msgspec.msgpack.encode(request), request.file, request.limits.max_seconds)
    answer = msgspec.msgpack.decode(reply, type=Answer)
    if answer.spent:
        process.replace()
    if answer.document is not None:
        return answer.document
    if answer.location:
        logging.getLogger(__name__).warning("%s in %s", answer.error, answer.location)
    raise {"MissingExtraError": MissingExtraError, "UserError": UserError}.get(answer.error_type, DocumentError)(
        answer.error
    )


def _is_small(request: Parsing, size_bytes: int) -> bool:
    """Whether the size alone bounds what parsing costs; a DOCX or EPUB may unpack to any size."""
    if request.extracted is not None:
        return sum(len(line.text) + 1 for page in request.extracted.pages for line in page.lines) <= SMALL_BYTES
    return request.kind in ("html", "text", "subtitles") and size_bytes <= SMALL_BYTES


def _working_folder() -> bytes:
    """The folder that relative paths start from; empty if it has been removed."""
    try:
        return os.fsencode(Path.cwd())
    except OSError:
        return b""


def unforeseen(path: Path, error: Exception) -> tuple[DocumentError, str]:
    """An unexpected error as a message, and the file and line where it was raised."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
    if isinstance(error, OSError):
        message = f"{path}: cannot be read ({error.strerror or error}); check path and permissions"
    else:
        message = f"{path}: cannot be read ({what}); save it again or as plain text"
    return DocumentError(message), _location(error)


def _location(error: BaseException) -> str:
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
