from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.cli.main import call
from speechkit.errors import DocumentError
from speechkit.mining.documents import (
    DocumentReader,
    Unreadable,
    document_ids,
    find_documents,
    read_document,
    scan_folder,
)
from speechkit.mining.records import Document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    for name in (
        "b.txt",
        "sub/a.TXT",
        "sub/b.html",
        "b.html",
        "notes.doc",
        ".hidden.txt",
        "~$open.docx",
        "x.wav",
        "none",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"Text of {name}.", encoding="utf-8")
    return root


def test_documents_are_found_in_order_and_the_rest_is_listed(folder: Path) -> None:
    found = scan_folder(folder)
    assert [path.relative_to(folder).as_posix() for path in found.documents] == [
        "b.html",
        "b.txt",
        "sub/a.TXT",
        "sub/b.html",
    ]
    assert {item.path.name: item.reason for item in found.skipped} == {
        ".hidden.txt": "is hidden",
        "~$open.docx": "is hidden",
        "none": "no extension is not a document format",
        "notes.doc": ".doc is not a document format; save it as .docx",
        "x.wav": ".wav is not a document format",
    }
    assert find_documents(folder) == found.documents
    assert find_documents(folder / "b.txt") == [folder / "b.txt"]


def test_no_link_leads_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("Secret.")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "loop").symlink_to(folder)
    (folder / "in.txt").symlink_to(folder / "b.txt")
    (folder / "broken.txt").symlink_to(folder / "nowhere.txt")
    found = scan_folder(folder)
    reasons = {item.path.name: item.reason for item in found.skipped}
    assert reasons["out.txt"] == "is a link that leads out of the folder"
    assert reasons["loop"].startswith("is a link to a folder")
    assert reasons["broken.txt"] == "leads to no file"
    assert folder / "in.txt" in found.documents


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="there is no such folder"):
        scan_folder(tmp_path / "nowhere")


@given(
    names=st.lists(
        st.tuples(
            st.sampled_from(["a", "A", "a b", "a_b", "ü", "x/a", "x_a", "a-txt", "..", "a."]),
            st.sampled_from([".txt", ".pdf", ".TXT"]),
        ),
        unique=True,
        max_size=12,
    ),
    seed=st.integers(0, 5),
)
def test_ids_are_unique_safe_and_independent_of_order(names: list[tuple[str, str]], seed: int) -> None:
    root = Path("/root-of-documents")
    paths = [root / (stem + suffix) for stem, suffix in names]
    ids = document_ids(paths, root)
    assert len({name.casefold() for name in ids.values()}) == len(set(paths))
    assert all("/" not in name and name not in (".", "..") and " " not in name for name in ids.values())
    shuffled = paths.copy()
    random.Random(seed).shuffle(shuffled)
    assert document_ids(shuffled, root) == ids


def test_one_bad_file_does_not_stop_the_others(folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    results = list(DocumentReader(folder, lang="en").read_all(find_documents(folder)))
    bad = [result for result in results if isinstance(result, Unreadable)]
    assert [item.id for item in bad] == ["bad"]
    assert str(folder / "bad.pdf") in bad[0].reason
    good = [result for result in results if isinstance(result, Document)]
    assert [document.path for document in good] == ["b.html", "b.txt", "sub/a.TXT", "sub/b.html"]
    assert len({document.id for document in good}) == 4
    assert good[0].sentences[0].id == f"{good[0].id}-00000"


def test_a_document_read_alone_names_itself_by_its_path(folder: Path) -> None:
    assert read_document(folder / "b.txt").id == "b"
    inside = read_document(folder / "sub" / "a.TXT", root=folder)
    assert inside.path == "sub/a.TXT"
    assert inside.id.startswith("sub_a-")


def test_the_command_writes_records_and_reports_what_it_could_not_read(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "documents.jsonl"
    assert call(["documents", str(folder), "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [row["sentences"] for row in summary["documents"]] == [1, 1, 1, 1]
    assert len(summary["skipped"]) == 5
    assert [json.loads(line)["path"] for line in out.read_text().splitlines()] == [
        "b.html", "b.txt", "sub/a.TXT", "sub/b.html",
    ]  # fmt: skip
    (folder / "bad.docx").write_bytes(b"no")
    assert call(["documents", str(folder), "--out", str(out)]) == 2
    assert "1 of 5 documents could not be read" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 4


def test_the_command_refuses_an_empty_folder(tmp_path: Path, capsys) -> None:
    assert call(["documents", str(tmp_path), "--out", str(tmp_path / "d.jsonl")]) == 2
    assert "holds no document" in capsys.readouterr().err


def test_a_name_that_is_no_utf8_and_an_input_as_output_do_not_harm_a_folder(tmp_path: Path, capsys: Any) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in (os.fsdecode(b"caf\xe9.txt"), "b.txt"):
        (docs / name).write_text("The boat came in at five.")
    out = tmp_path / "out.jsonl"
    assert call(["documents", str(docs), "--out", str(out), "--json"]) == 0
    assert [row["path"] for row in json.loads(capsys.readouterr().out)["documents"]] == [
        f"{docs}/b.txt", f"{docs}/caf\\xe9.txt",
    ]  # fmt: skip
    assert [json.loads(line)["path"] for line in out.read_text().splitlines()] == ["b.txt", "caf\\xe9.txt"]
    assert call(["documents", str(docs), "--out", str(docs / "b.txt")]) == 2
    assert "b.txt: is an input, and would be replaced" in capsys.readouterr().err
    assert (docs / "b.txt").read_text() == "The boat came in at five."
