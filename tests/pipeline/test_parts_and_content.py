"""Part borders and digests of inputs against their slow obvious versions."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.io.hashing import digest_file
from speechkit.pipeline.content import ContentDigests, digest_tree
from speechkit.pipeline.parts import index_parts

LINES = st.lists(st.sampled_from(["", " ", "{}", '{"id": "x"}', '{"text": "' + "y" * 200 + '"}']), max_size=30)


@settings(max_examples=80)
@given(LINES, st.integers(1, 7), st.booleans())
def test_parts_hold_every_record_once_with_its_line_number(tmp_path_factory, lines, part_records, ends):
    folder = tmp_path_factory.mktemp("parts")
    source = folder / "in.jsonl"
    source.write_text("\n".join(lines) + ("\n" if ends else ""))
    index = index_parts(source, folder, part_records)
    found = [list(index.lines(part)) for part in range(index.parts)]
    expected = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    flat = [(number, line.decode().rstrip("\n")) for part in found for number, line in part]
    assert flat == expected
    assert index.records == len(expected)
    assert [len(part) for part in found[:-1]] == [part_records] * (index.parts - 1 if index.parts else 0)


def test_a_compressed_or_missing_input_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="gunzip -k"):
        index_parts(tmp_path / "in.jsonl.gz", tmp_path, 5)
    with pytest.raises(UserError, match="cannot be read"):
        index_parts(tmp_path / "absent.jsonl", tmp_path, 5)


def make_tree(folder: Path) -> Path:
    (folder / "b").mkdir(parents=True)
    (folder / "a.wav").write_bytes(b"1")
    (folder / "b" / "c.wav").write_bytes(b"2")
    return folder


def test_a_folders_digest_is_its_names_and_bytes_and_not_its_place(tmp_path):
    first, second = make_tree(tmp_path / "x"), make_tree(tmp_path / "y")
    assert digest_tree(first) == digest_tree(second)
    (second / "b" / "c.wav").write_bytes(b"3")
    assert digest_tree(first) != digest_tree(second)
    (second / "b" / "c.wav").write_bytes(b"2")
    (second / "b" / "c.wav").rename(second / "b" / "d.wav")
    assert digest_tree(first) != digest_tree(second)


def test_links_are_followed_once_and_one_that_leads_nowhere_is_a_fact_of_the_folder(tmp_path):
    tree = make_tree(tmp_path / "x")
    linked = tmp_path / "y"
    linked.mkdir()
    (linked / "a.wav").symlink_to(tree / "a.wav")
    (linked / "b").symlink_to(tree / "b")
    assert digest_tree(linked) == digest_tree(tree)
    digests = [digest_tree(linked)]
    for name, target in (("loop", linked), ("dead", tmp_path / "nowhere"), ("self", linked / "self")):
        (linked / name).symlink_to(target)
        digests.append(digest_tree(linked))
        assert ContentDigests(tmp_path / "cache.json").digest(linked) == digests[-1]
    assert len(set(digests)) == 4
    (tmp_path / "nowhere").write_text("now it does")
    assert digest_tree(linked) != digests[-1]


def age(path: Path) -> None:
    old = time.time() - 100
    os.utime(path, (old, old))


def test_a_digest_is_kept_only_while_nothing_changed(tmp_path, monkeypatch):
    from speechkit.pipeline import content

    # The change time cannot be set back, so the clock's grain is: everything counts as settled at once.
    monkeypatch.setattr(content, "SETTLED_NANOSECONDS", -(10**9))
    file = tmp_path / "in.bin"
    file.write_bytes(b"one")
    digests = ContentDigests(tmp_path / ".digests.json")
    assert digests.digest(file) == digest_file(file)
    assert str(file) in json.loads((tmp_path / ".digests.json").read_text())
    monkeypatch.setattr(content, "digest_file", lambda path: pytest.fail("read again"))
    assert ContentDigests(tmp_path / ".digests.json").digest(file)
    monkeypatch.undo()
    time.sleep(0.02)
    file.write_bytes(b"two")
    age(file)  # an old time of modification does not fool it: the change time moved
    assert ContentDigests(tmp_path / ".digests.json").digest(file) == digest_file(file)


def test_a_fresh_listing_is_not_trusted(tmp_path):
    file = tmp_path / "in.bin"
    file.write_bytes(b"one")
    ContentDigests(tmp_path / ".digests.json").digest(file)
    assert not (tmp_path / ".digests.json").exists()


def test_a_torn_cache_is_only_a_lost_shortcut(tmp_path):
    (tmp_path / ".digests.json").write_text('{"a": ')
    file = tmp_path / "in.bin"
    file.write_bytes(b"one")
    assert ContentDigests(tmp_path / ".digests.json").digest(file) == digest_file(file)
