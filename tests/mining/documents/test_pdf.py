from __future__ import annotations

from pathlib import Path

import pytest
from making import make_pdf, make_scanned_pdf, needs_tesseract

from speechkit.errors import DocumentError
from speechkit.mining.documents import DocumentLimits, read_document

LINES = ["The boat came in at five. It was", "late and cold."]


def raw_pdf(path: Path, objects: list[bytes]) -> Path:
    """A PDF from its numbered objects; the first is the catalogue."""
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % place for place in places)
    content += b"trailer\n<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    path.write_bytes(content)
    return path


def test_text_layer_with_pages_and_offsets(tmp_path: Path) -> None:
    document = read_document(make_pdf(tmp_path / "a.pdf", [LINES, ["A second page begins here."]]))
    assert document.kind == "pdf"
    assert [(s.text, s.page) for s in document.sentences] == [
        ("The boat came in at five.", 1),
        ("It was late and cold.", 1),
        ("A second page begins here.", 2),
    ]
    assert all(document.text[s.begin : s.end] == s.text for s in document.sentences)
    assert [page.number for page in document.pages] == [1, 2]


def test_a_gap_between_lines_is_a_paragraph_break(tmp_path: Path) -> None:
    document = read_document(make_pdf(tmp_path / "a.pdf", [["A heading line of usual length", "", *LINES, *LINES, ""]]))
    assert document.text.split("\n\n")[0] == "A heading line of usual length"


def test_a_password_is_asked_for_only_where_reading_needs_one(tmp_path: Path) -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    locked = make_pdf(tmp_path / "a.pdf", [LINES], encrypt=StandardEncryption("secret", strength=128))
    with pytest.raises(DocumentError, match=r"encrypted.*save.*copy without.*password"):
        read_document(locked)
    open_to_read = make_pdf(tmp_path / "b.pdf", [LINES], encrypt=StandardEncryption("", "owner", strength=128))
    assert "The boat came in" in read_document(open_to_read).text


def test_truncated_and_damaged_files_end_in_a_sentence_or_in_what_can_be_read(tmp_path: Path) -> None:
    whole = make_pdf(tmp_path / "a.pdf", [LINES] * 3).read_bytes()
    for share in (0.02, 0.3, 0.6, 0.9):
        path = tmp_path / f"cut{share}.pdf"
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            assert "boat" in read_document(path).text
        except DocumentError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_no_page_is_an_error(tmp_path: Path) -> None:
    path = raw_pdf(tmp_path / "a.pdf", [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"])
    with pytest.raises(DocumentError, match="has no pages"):
        read_document(path)


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("claims a billion pages", [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 999999999>>"]),
        ("is its own page tree", [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R]/Count 5>>"]),
        (
            "two nodes point at one another",
            [
                b"<</Type/Catalog/Pages 2 0 R>>",
                b"<</Type/Pages/Kids[3 0 R 3 0 R]/Count 5>>",
                b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 5>>",
            ],
        ),
        ("has no catalogue", [b"42"]),
    ],
)
def test_hostile_page_trees_end_in_a_sentence(tmp_path: Path, name: str, objects: list[bytes]) -> None:
    with pytest.raises(DocumentError):
        read_document(raw_pdf(tmp_path / "a.pdf", objects), limits=DocumentLimits(max_seconds=20))


def drawing(content: bytes, extra: bytes = b"") -> list[bytes]:
    return [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources"
        b"<</Font<</F 5 0 R>>/XObject<</X 6 0 R>>>>>>",
        b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), extra, content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>/Length 4>>"
        b"stream\n/X Do\nendstream",
    ]


def test_a_form_that_draws_itself_ends(tmp_path: Path) -> None:
    path = raw_pdf(tmp_path / "a.pdf", drawing(b"BT /F 12 Tf 50 700 Td (Hello there friend of mine) Tj ET /X Do"))
    try:
        assert "Hello there" in read_document(path, ocr="never", limits=DocumentLimits(max_seconds=30)).text
    except DocumentError as error:
        assert "a.pdf" in str(error)  # noqa: PT017


def test_a_decompression_bomb_ends_in_a_sentence(tmp_path: Path) -> None:
    import zlib

    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b" " * 10_000_000) for _ in range(60)) + packer.flush()
    path = raw_pdf(tmp_path / "a.pdf", drawing(bomb, b"/Filter/FlateDecode"))
    with pytest.raises(DocumentError, match=r"a\.pdf"):
        read_document(path, ocr="never", limits=DocumentLimits(max_seconds=20, max_memory_bytes=400_000_000))


def test_limits_on_pages_characters_and_time(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", [LINES] * 3)
    with pytest.raises(DocumentError, match=r"3 pages, more.*2"):
        read_document(path, limits=DocumentLimits(max_pages=2))
    with pytest.raises(DocumentError, match="more than 10 characters"):
        read_document(path, limits=DocumentLimits(max_characters=10))
    with pytest.raises(DocumentError, match=r"took more than 0\.01 s"):
        read_document(path, limits=DocumentLimits(max_seconds=0.01))


def test_a_scan_without_ocr_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_scanned_pdf(tmp_path / "a.pdf", [LINES])
    with pytest.raises(DocumentError, match='OCR is off; use ocr="auto"'):
        read_document(path, ocr="never")


@needs_tesseract
def test_a_text_page_beside_a_scanned_one_is_kept_without_ocr(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter()
    writer.append(PdfReader(make_pdf(tmp_path / "a.pdf", [LINES])))
    writer.append(PdfReader(make_scanned_pdf(tmp_path / "b.pdf", [LINES])))
    writer.write(tmp_path / "c.pdf")
    document = read_document(tmp_path / "c.pdf", ocr="never")
    assert document.text == "The boat came in at five. It was late and cold."
    assert document.warnings == ["no text layer on pages 2 and OCR is off: left out"]
    mixed = read_document(tmp_path / "c.pdf", lang="en")
    assert [s.page for s in mixed.sentences] == [1, 1, 2, 2]
    assert mixed.sentences[2].text == mixed.sentences[0].text
