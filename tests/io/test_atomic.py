import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from speechkit.errors import UserError
from speechkit.io.arrays import write_arrays
from speechkit.io.atomic import atomic_path, write_bytes, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "äöü\r\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "äöü\r\n".encode()
    assert names(tmp_path / "new") == ["a.txt"]


def test_json_is_sorted_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [1, 2.5, None]})
    text = (tmp_path / "a.json").read_text()
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError("not ours")])
def test_an_error_inside_keeps_the_old_file_and_no_temporary_one(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_sentence_with_the_path(tmp_path):
    with (
        pytest.raises(UserError, match=r"b\.bin: cannot.*written:.*disk.*full"),
        atomic_path(tmp_path / "b.bin"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_a_full_device_is_seen_when_bytes_reach_it(tmp_path):
    with (
        pytest.raises(UserError, match="the disk is full"),
        atomic_path(tmp_path / "c.bin"),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"0" * 100_000)
    assert names(tmp_path) == []


def test_a_folder_that_refuses_the_file_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"a\.txt: cannot.*written:.*file system.*read-only"):
        write_text(tmp_path / "a.txt", "x")


def test_a_read_only_folder_is_named(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):  # the superuser may write everywhere: a kernel file system refuses also it
        folder = Path("/proc/1")
    with pytest.raises(UserError, match=r"x\.txt: cannot be written"):
        write_text(folder / "x.txt", "x")


@pytest.mark.parametrize("target", ["/dev/null", "."])
def test_a_device_or_folder_is_never_replaced(target):
    with pytest.raises(UserError, match="cannot be written"):
        write_bytes(target, b"x")


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"x\.txt: cannot be written"):
        write_text(tmp_path / "file" / "x.txt", "x")


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_link_to_the_target_itself_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "one.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.unlink()
        os.link(target, temporary)
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_text() == "old"


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path):
    target = tmp_path / "a.bin"
    contents = [bytes([65 + index]) * 200_000 for index in range(8)]
    threads = [threading.Thread(target=write_bytes, args=(target, content)) for content in contents for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert names(tmp_path) == ["a.bin"]


def test_the_file_has_the_permissions_of_an_ordinary_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode
    write_arrays(tmp_path / "arrays.safetensors", {"a": np.zeros(3)})
    assert (tmp_path / "arrays.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_name_that_is_too_long_is_named(tmp_path):
    with pytest.raises(UserError, match="the name is too long"):
        write_text(tmp_path / ("a" * 300), "x")
