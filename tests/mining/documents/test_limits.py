"""Whatever the format, a document that takes too long or too much memory ends in a sentence, and the next is read."""

from __future__ import annotations

import os
import re
import threading
import time
import zipfile
from pathlib import Path

import pytest
from making import make_epub
from typer.testing import CliRunner

from speechkit.cli.main import app
from speechkit.mining.config import DocumentsConfig
from speechkit.mining.documents import DocumentLimits, DocumentReader, Unreadable, isolation, read_document, reading
from speechkit.mining.input_stages import ReadDocuments
from speechkit.mining.records import Document, SourceFile
from speechkit.pipeline.stage import Drop

SECONDS, MEMORY_BYTES = 2.0, 400_000_000
PLAIN = "The boat came in at five. It was late and cold."
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def attributes(path: Path) -> None:
    path.write_bytes(b"<p " + b" ".join(b"a%d" % number for number in range(2_000_000)) + b">text</p>")


def fewer_attributes(path: Path) -> None:
    path.write_bytes(b"<p " + b" ".join(b"a%d" % number for number in range(200_000)) + b">text</p>")


def depth(path: Path) -> None:
    path.write_bytes(b"<div>" * 4_000_000 + b"text")


def inflating(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f"<w:document {W}>" + "<w:p/>" * 12_000_000 + "</w:document>")


def one_line(path: Path) -> None:
    path.write_bytes(b"no end of words " * 2_500_000)


def one_chapter_many_times(path: Path) -> None:
    tag = "<p " + " ".join(f"a{number}" for number in range(12_000)) + ">text</p>"
    make_epub(path, {"one": tag}, ["one"] * 200)


HOSTILE = {
    "attributes.html": (attributes, "took more than 2 s|needs more than 400 MB"),
    "fewer.html": (fewer_attributes, "took more than 2 s"),
    "depth.html": (depth, "nested too deeply|took more than 2 s|needs more than 400 MB"),
    "inflating.docx": (inflating, "took more than 2 s|needs more than 400 MB"),
    "line.txt": (one_line, "holds 39999999 characters|took more than 2 s|needs more than 400 MB"),
    "chapter.epub": (one_chapter_many_times, "took more than 2 s"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_by_the_clock_in_one_sentence_and_the_others_are_read(tmp_path: Path, name: str) -> None:
    make, complaint = HOSTILE[name]
    make(tmp_path / name)
    (tmp_path / "a.txt").write_text(PLAIN)
    (tmp_path / "b.html").write_text(f"<p>{PLAIN}</p>" * 2000)
    limits = DocumentLimits(max_seconds=SECONDS, max_memory_bytes=MEMORY_BYTES)
    reader = DocumentReader(tmp_path, lang="en", limits=limits)
    began = time.monotonic()
    first, bad, last = reader.read_all([tmp_path / "a.txt", tmp_path / name, tmp_path / "b.html"])
    assert time.monotonic() - began < SECONDS + 20  # starting a process on a busy machine
    assert isinstance(bad, Unreadable)
    assert "\n" not in bad.reason
    assert str(tmp_path / name) in bad.reason
    assert re.search(complaint, bad.reason)
    assert not isinstance(first, Unreadable)
    assert first.text == PLAIN
    assert not isinstance(last, Unreadable)
    assert len(last.sentences) == 4000


def test_the_mining_stage_drops_what_takes_too_long_with_a_reason(tmp_path: Path) -> None:
    fewer_attributes(tmp_path / "a.html")
    (tmp_path / "b.txt").write_text(PLAIN)
    stage = ReadDocuments(DocumentsConfig(documents=str(tmp_path), max_seconds=0.5))
    files = [SourceFile(name[0], name, "", 1) for name in ("a.html", "b.txt")]
    dropped, document = stage.process(files)
    assert isinstance(dropped, Drop)
    assert dropped.reason == "unreadable_document"
    assert "took more than 0.5 s" in dropped.detail
    assert isinstance(document, Document)
    assert document.text == PLAIN


def test_the_command_takes_the_limit_and_goes_on(tmp_path: Path) -> None:
    fewer_attributes(tmp_path / "a.html")
    (tmp_path / "b.txt").write_text(PLAIN)
    out = tmp_path / "out.jsonl"
    result = CliRunner().invoke(app, ["documents", str(tmp_path), "--out", str(out), "--max-seconds", "0.5"])
    assert result.exit_code != 0
    assert "took more than 0.5 s" in result.output
    assert PLAIN in out.read_text()


@pytest.mark.parametrize("name", ["a.html", "a.txt", "a.srt"])
def test_a_document_is_the_same_whichever_process_parses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    nav = "<nav>Home</nav>" if name == "a.html" else "1\n00:00:01,000 --> 00:00:02,000\n"
    (tmp_path / name).write_bytes(f"{nav}{PLAIN} Gr\u00fc\u00dfe.".encode("cp1252"))
    here = read_document(tmp_path / name, root=tmp_path)
    monkeypatch.setattr(reading, "SMALL_BYTES", 0)
    assert read_document(tmp_path / name, root=tmp_path) == here
    assert here.warnings


def test_a_name_that_is_not_unicode_and_a_changed_folder_are_read_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SMALL_BYTES", 0)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        name = os.fsdecode(b"a\xff.txt")
        Path(name).write_text(f"In folder {folder}.")
        document = read_document(name, lang="en")
        assert (document.text, document.path) == (f"In folder {folder}.", name)


def test_one_process_parses_many_and_a_killed_one_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALL_BYTES", 0)
    (tmp_path / "a.txt").write_text(PLAIN)
    pids = set()
    for _ in range(3):
        assert read_document(tmp_path / "a.txt").text == PLAIN
        child = isolation.parsing_process()._process
        assert child is not None
        pids.add(child.pid)
    assert len(pids) == 1
    child.kill()
    child.wait()
    assert read_document(tmp_path / "a.txt").text == PLAIN


def test_threads_share_the_process_and_get_their_own_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALL_BYTES", 0)
    texts: dict[int, str] = {}

    def read(number: int) -> None:
        (tmp_path / f"{number}.txt").write_text(f"Document number {number}.")
        texts[number] = read_document(tmp_path / f"{number}.txt", lang="en").text

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {number: f"Document number {number}." for number in range(8)}


def test_what_nobody_expected_in_the_other_process_is_a_sentence_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "SMALL_BYTES", 0)
    monkeypatch.setitem(reading.KINDS, ".txt", "no such kind")
    (tmp_path / "a.txt").write_text(PLAIN)
    with pytest.raises(reading.DocumentError, match=r"a\.txt: cannot be read \(KeyError"):
        read_document(tmp_path / "a.txt")
    assert "reading.py:" in caplog.text
