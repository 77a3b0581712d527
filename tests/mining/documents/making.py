"""Documents that the tests make for themselves."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""

needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None,
    reason="pictures are read by the program tesseract: apt-get install tesseract-ocr tesseract-ocr-hin",
)


def make_pdf(
    path: Path, pages: Sequence[Sequence[str]], *, size: float = 12, step: float = 16, **options: object
) -> Path:
    """A PDF with one drawn line a string; an empty string leaves a gap."""
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(595, 842), **options)
    for lines in pages:
        canvas.setFont("Helvetica", size)
        for number, line in enumerate(lines):
            if line:
                canvas.drawString(60, 800 - step * number, line)
        canvas.showPage()
    canvas.save()
    return path


def make_picture(lines: Sequence[str], font: str = FONT, size: int = 40) -> Image.Image:
    """A clean scan: black text on white, as large as a page at 300 dots an inch."""
    image = Image.new("L", (1700, 140 + 70 * len(lines)), 255)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((90, 70 + 70 * number), line, fill=0, font=ImageFont.truetype(font, size))
    return image


def make_scanned_pdf(path: Path, pages: Sequence[Sequence[str]], **options: object) -> Path:
    """A PDF whose pages are pictures only."""
    pictures = [make_picture(lines) for lines in pages]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], resolution=200.0)
    return path


def make_epub(path: Path, chapters: dict[str, str], spine: Sequence[str], extra: dict[str, str] | None = None) -> Path:
    """An EPUB with its chapters (name to XHTML body) in the order of ``spine``."""
    items = "".join(f'<item id="{name}" href="text/{name}.xhtml"/>' for name in chapters)
    order = "".join(f'<itemref idref="{name}"/>' for name in spine)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr(
            "OPS/book.opf",
            f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{order}</spine></package>',
        )
        for name, body in chapters.items():
            archive.writestr(
                f"OPS/text/{name}.xhtml",
                '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>T</title>'
                f"</head><body>{body}</body></html>",
            )
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path
