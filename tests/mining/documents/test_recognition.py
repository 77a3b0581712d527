from __future__ import annotations

import shutil
import sys
from importlib import resources
from pathlib import Path

import pytest
from making import make_picture, make_scanned_pdf, needs_tesseract

from speechkit.errors import DocumentError, MissingExtraError
from speechkit.mining.documents import DocumentLimits, read_document

ENGLISH = [
    "The old lighthouse stands at the end of the stone",
    "pier. Its lamp has been lit every evening for more",
    "than a hundred years.",
]
HINDI = ["पुराना घर नदी के पास था। उस में एक राजा रहता था।", "राजा के पास एक घोड़ा भी था।"]


def similarity(first: str, second: str) -> float:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, first, second, autojunk=False).ratio()


@needs_tesseract
def test_an_english_scan_is_recognised(tmp_path: Path) -> None:
    pages = [["THE HARBOUR GAZETTE", "", *ENGLISH], ["THE HARBOUR GAZETTE", "", "Nobody lives in the tower any more."]]
    document = read_document(make_scanned_pdf(tmp_path / "a.pdf", pages), lang="en")
    assert document.kind == "scan"
    assert similarity(document.text, " ".join(ENGLISH) + "\n\nNobody lives in the tower any more.") > 0.95
    assert [r.reason for r in document.removed] == ["header", "header"]
    assert all(document.text[s.begin : s.end] == s.text for s in document.sentences)


@needs_tesseract
def test_a_hindi_picture_is_recognised(tmp_path: Path) -> None:
    package = resources.files("fontpkg_noto_sans_devanagari") / "files"
    font = next(file for file in package.iterdir() if file.name.endswith(".ttf"))
    make_picture(HINDI, font=str(font), size=44).save(tmp_path / "a.png")
    document = read_document(tmp_path / "a.png", lang="hi")
    assert document.kind == "image"
    assert similarity(" ".join(document.text.split()), " ".join(HINDI)) > 0.9
    assert len(document.sentences) == 3


@needs_tesseract
def test_the_pictures_of_a_tiff_are_pages(tmp_path: Path) -> None:
    first, second = make_picture(ENGLISH), make_picture(["Another page is here."])
    first.save(tmp_path / "a.tiff", save_all=True, append_images=[second])
    document = read_document(tmp_path / "a.tiff", lang="en")
    assert document.sentences[-1].text == "Another page is here."
    assert document.sentences[-1].page == 2


def test_a_missing_program_names_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_picture(ENGLISH).save(tmp_path / "a.png")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="apt-get install tesseract-ocr"):
        read_document(tmp_path / "a.png")


@needs_tesseract
def test_missing_language_data_names_its_package(tmp_path: Path) -> None:
    make_picture(ENGLISH).save(tmp_path / "a.png")
    with pytest.raises(MissingExtraError, match="apt-get install tesseract-ocr-xyz"):
        read_document(tmp_path / "a.png", lang="xyz")


@pytest.mark.parametrize("module", ["PIL", "pytesseract"])
def test_a_missing_extra_names_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    path = make_scanned_pdf(tmp_path / "a.pdf", [ENGLISH])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[ocr\]"):
        read_document(path, lang="en")


@needs_tesseract
def test_a_picture_bomb_and_an_empty_picture_end_in_a_sentence(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(DocumentError, match=r"a\.png: cannot be recognised"):
        read_document(tmp_path / "a.png", lang="en", limits=DocumentLimits(max_memory_bytes=1_500_000_000))
    Image.new("L", (600, 300), 255).save(tmp_path / "b.png")
    with pytest.raises(DocumentError, match=r"b\.png: holds no text"):
        read_document(tmp_path / "b.png", lang="en")
    with pytest.raises(DocumentError, match="OCR is off"):
        read_document(tmp_path / "b.png", ocr="never")
