import hashlib
import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors import safe_open

from speechkit.errors import UserError, available
from speechkit.io import hashing
from speechkit.io.arrays import from_int16, read_arrays, to_int16, true_runs, write_arrays
from speechkit.io.hashing import digest_bytes, digest_file, digest_obj
from speechkit.io.paths import MAX_ID_BYTES, inside, safe_id

DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "?"])


@given(st.binary(max_size=5000))
def test_a_file_and_its_bytes_have_one_digest(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "digest.bin"
    path.write_bytes(content)
    expected = hashlib.blake2b(content, digest_size=16).hexdigest()
    assert digest_file(path) == digest_bytes(content) == expected


def test_a_file_of_many_blocks_has_the_digest_of_its_bytes(tmp_path):
    content = os.urandom((1 << 20) + 12345)
    (tmp_path / "a").write_bytes(content)
    assert digest_file(tmp_path / "a") == digest_bytes(content)


def test_a_digest_is_kept_only_while_the_file_is_the_same(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    monkeypatch.setattr(hashing, "SETTLED_NANOSECONDS", -(10**9))  # as if it had lain there for long
    read, opened = [], Path.open
    monkeypatch.setattr(Path, "open", lambda self, *how, **more: read.append(self) or opened(self, *how, **more))
    assert {digest_file(path) for _ in range(3)} == {digest_bytes(b"one")}
    assert read == [path]
    times = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest_file(path) == digest_bytes(b"two")


def test_digest_of_a_value_knows_no_order_of_keys_but_types():
    assert digest_obj({"a": 1, "b": {"d": 1, "c": 2}}) == digest_obj({"b": {"c": 2, "d": 1}, "a": 1})
    assert digest_obj({"a": 1}) != digest_obj({"a": 1.0})
    assert digest_obj([1, 2]) != digest_obj([2, 1])


def test_digest_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(UserError, match="nothing: cannot be read"):
        digest_file(tmp_path / "nothing")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a\0b", "C:\\x", "\\x", ".."])
def test_a_path_out_of_the_folder_is_refused(tmp_path, path):
    with pytest.raises(UserError):
        inside(tmp_path, path)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "out").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out of"):
        inside(tmp_path / "f", "out/x")


def test_a_path_inside_stays(tmp_path):
    assert inside(tmp_path, "a/./b/../c.txt") == (tmp_path / "a" / "c.txt").resolve()


@given(st.text(max_size=300))
def test_safe_ids_are_file_names_and_stable(text):
    name = safe_id(text)
    assert 0 < len(name.encode()) <= MAX_ID_BYTES
    assert "/" not in name
    assert "\\" not in name
    assert not name.startswith((".", "-"))
    assert name == safe_id(name)


@given(st.text(max_size=40), st.text(max_size=40))
def test_two_texts_do_not_share_a_safe_id(first, second):
    assert (safe_id(first) == safe_id(second)) == (first == second)


def test_ids_that_are_safe_stay():
    for text in ("84-121550-0001", "LJ001-0001", "a.b_c", "größe"):
        assert safe_id(text) == text


@given(arrays_of.arrays(DTYPES, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
def test_arrays_come_back_as_they_were(tmp_path_factory, array):
    path = tmp_path_factory.getbasetemp() / "a.safetensors"
    write_arrays(path, {"x": array, "turned": array.T}, {"note": "ü"})
    back = read_arrays(path)
    assert back["x"].dtype == array.dtype
    np.testing.assert_array_equal(back["x"], array)
    np.testing.assert_array_equal(back["turned"], array.T)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"note": "ü"}


def test_only_named_arrays_are_read(tmp_path):
    write_arrays(tmp_path / "a", {"x": np.zeros(3), "y": np.ones(2)})
    assert list(read_arrays(tmp_path / "a", ["y"])) == ["y"]
    with pytest.raises(UserError, match="holds no array named 'z'"):
        read_arrays(tmp_path / "a", ["z"])


def test_objects_are_not_stored(tmp_path):
    with pytest.raises(UserError, match="dtype object"):
        write_arrays(tmp_path / "a", {"x": np.array([{}])})


@pytest.mark.parametrize("content", [b"", b"not arrays", b"\xff" * 100])
def test_a_damaged_file_of_arrays_is_named(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match=r"not.*readable safetensors file"):
        read_arrays(tmp_path / "a")


@given(st.lists(st.booleans(), max_size=40))
def test_runs_of_true_values_tile_the_mask(mask):
    runs = true_runs(np.array(mask, bool)).tolist()
    assert [at for run in runs for at in range(*run)] == [at for at, each in enumerate(mask) if each]
    assert all(begin < end for begin, end in runs)
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(runs))


def test_a_waveform_of_16_bits_comes_back_as_it_was_stored():
    stored = np.arange(-32767, 32768).astype(np.int16)
    assert np.array_equal(to_int16(from_int16(stored)), stored)
    assert from_int16(stored).dtype == np.float32


def test_names_without_their_module_come_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    present, absent = available({"file": "soundfile", "quality": "pesq"})
    assert present == ["file"]
    assert "pip install" in str(absent["quality"])
