"""`speechkit documents`: folders of PDFs, scans, web pages and texts to sentences with their positions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.errors import shown

if TYPE_CHECKING:
    from speechkit.mining.documents import Unreadable
    from speechkit.mining.records import Document

EXAMPLES = """
Turn a folder of documents into clean text with sentences, one JSON line per document.

PDF, scans and pictures (with the extra "ocr"), HTML, DOCX, EPUB, TXT, SRT and VTT. Headers, footers and page numbers
are removed and listed in the record. A file that cannot be read is reported and does not stop the others; the
command then exits with 2.

Examples:

  speechkit documents bulletins --out documents.jsonl

  speechkit documents scans --out documents.jsonl --lang hi --ocr always

  speechkit documents report.pdf --out report.jsonl --json
"""


def documents(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of documents, or one document.")],
    out: Annotated[Path, typer.Option(help="The JSON-lines file to write.")],
    lang: Annotated[str | None, typer.Option(help="Language of the texts; detected per document if not given.")] = None,
    ocr: Annotated[str, typer.Option(help="auto: pages without a text layer; always; never.")] = "auto",
    max_pages: Annotated[int, typer.Option(help="Maximum pages per document.", min=1)] = 5000,
    max_seconds: Annotated[float, typer.Option(help="Time limit per document, without OCR.")] = 300.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read the documents of FOLDER."""
    import msgspec

    from speechkit.data.manifest import write_jsonl
    from speechkit.errors import DocumentError, UserError
    from speechkit.io.paths import refuse_inputs
    from speechkit.mining.documents import DocumentLimits, DocumentReader, Unreadable, scan_folder

    if ocr not in ("auto", "always", "never"):
        raise UserError(f"--ocr {ocr}: choose auto, always or never")
    if not 0 < max_seconds <= 1e6:
        raise UserError(f"--max-seconds {max_seconds}: give a time above 0 and up to a million")
    scan = scan_folder(folder)
    if not scan.documents:
        raise DocumentError(f"{folder}: holds no document; give a folder of PDF, HTML, DOCX, EPUB, TXT, SRT or images")
    refuse_inputs(out, scan.documents)
    rows: list[dict[str, Any]] = []
    limits = DocumentLimits(max_pages=max_pages, max_seconds=max_seconds)
    reader = DocumentReader(folder, lang=lang, ocr=ocr, limits=limits)  # type: ignore[arg-type]

    def read() -> Any:
        for path, result in zip(scan.documents, reader.read_all(scan.documents), strict=True):
            rows.append(_row(path, result))
            if not isinstance(result, Unreadable):
                yield msgspec.structs.replace(result, path=shown(result.path))

    write_jsonl(out, read())
    skipped = [{"path": shown(item.path), "reason": item.reason} for item in scan.skipped]
    typer.echo(_json(rows, skipped) if json else _table(rows, skipped))
    failed = sum("error" in row for row in rows)
    if failed:
        raise DocumentError(f"{failed} of {len(rows)} documents could not be read; the others are in {out}")


documents.__doc__ = EXAMPLES


def _row(path: Path, result: Document | Unreadable) -> dict[str, Any]:
    from speechkit.mining.documents import Unreadable

    if isinstance(result, Unreadable):
        return {"id": result.id, "path": shown(path), "error": result.reason}
    return {
        "id": result.id,
        "path": shown(path),
        "kind": result.kind,
        "lang": result.lang,
        "pages": len(result.pages),
        "sentences": len(result.sentences),
        "characters": len(result.text),
        "removed_lines": len(result.removed),
        "warnings": result.warnings,
    }


def _json(rows: list[dict[str, Any]], skipped: list[dict[str, str]]) -> str:
    import msgspec

    return msgspec.json.encode({"documents": rows, "skipped": skipped}).decode()


def _table(rows: list[dict[str, Any]], skipped: list[dict[str, str]]) -> str:
    columns = ("id", "kind", "lang", "pages", "sentences", "characters", "removed_lines")
    read = [row for row in rows if "error" not in row]
    cells = [[column.replace("_", " ") for column in columns]] + [
        [str(row[column]) for column in columns] for row in read
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    lines += [f"warning  {row['path']}: {warning}" for row in read for warning in row["warnings"]]
    lines += [f"error    {row['error']}" for row in rows if "error" in row]
    lines += [f"skipped  {item['path']}: {item['reason']}" for item in skipped]
    return "\n".join(lines)
