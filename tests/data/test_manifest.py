import gzip
import math
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from speechkit.data import Utterance, audio_path, read_jsonl, read_manifest, rebase, write_jsonl, write_manifest
from speechkit.errors import ManifestError, UserError

from .made import utterances


def row(index: int = 0, **fields) -> Utterance:
    given = {"id": f"u{index}", "audio_filepath": "a.wav", "text": "hello", "speaker": "s"} | fields
    return Utterance.from_samples(offset_samples=index * 16000, num_samples=16000, sample_rate=16000, **given)


@settings(max_examples=25)
@given(utterances())
@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_what_is_written_is_read(tmp_path_factory, name, rows):
    path = tmp_path_factory.getbasetemp() / name
    assert write_manifest(path, iter(rows)) == len(rows)
    assert list(read_manifest(path)) == rows


@settings(max_examples=25)
@given(utterances())
def test_integer_samples_survive_the_file(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "samples.jsonl"
    write_manifest(path, rows)
    for before, after in zip(rows, read_manifest(path), strict=True):
        assert (before.offset_samples, before.num_samples) == (after.offset_samples, after.num_samples)
        assert after.offset == after.offset_samples / after.sample_rate


def test_equal_rows_give_equal_bytes_also_compressed(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_manifest(tmp_path / name, [row(index) for index in range(1000)])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_any_record_can_be_a_line(tmp_path):
    class Point(msgspec.Struct):
        x: int
        name: str = ""

    points = [Point(1, "a"), Point(2)]
    assert write_jsonl(tmp_path / "p.jsonl", points) == 2
    assert list(read_jsonl(tmp_path / "p.jsonl", Point)) == points
    assert list(read_manifest(tmp_path / "p.jsonl", Point)) == points


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": 1}', "m.jsonl:2: Expected `str`, got `int` - at `$.id`"),
        (b'{"id": "a"}', "m.jsonl:2: Object missing required field `audio_filepath`"),
        (b'{"id": "a", "txt": "x"}', "m.jsonl:2: unknown field 'txt'; did you mean 'text'"),
        (b'{"id": "a", "zzzzzz": 1}', "m.jsonl:2: unknown field 'zzzzzz'; put it under 'custom' or remove it"),
        (b"hello", "m.jsonl:2: is not one JSON value per line"),
        (b"{} {}", "m.jsonl:2: "),
        (b'\xff\xfe{"id"', "m.jsonl:2: is not"),
        (b'{"id": "\xff"}', "m.jsonl:2: is not UTF-8 text"),
        (b"NaN", "m.jsonl:2: is not one JSON value per line"),
        (b"[" * 100_000, "m.jsonl:2: "),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, reason):
    path = tmp_path / "m.jsonl"
    good = msgspec.json.encode(row())
    path.write_bytes(good + b"\n" + line + b"\n" + good + b"\n")
    reading = read_manifest(path)
    assert next(reading) == row()
    with pytest.raises(ManifestError) as caught:
        next(reading)
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_a_torn_last_line_is_an_error_unless_it_is_asked_to_recover(tmp_path, name):
    path = tmp_path / name
    rows = [row(index) for index in range(20)]
    write_manifest(path, rows)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ManifestError, match=rf"{name}:\d+: .*its writer was interrupted"):
        list(read_manifest(path))
    told: list[str] = []
    kept = list(read_manifest(path, on_torn=told.append))
    assert kept == rows[: len(kept)]
    assert len(kept) == 19 or name.endswith("gz")
    assert len(told) == 1
    assert "left out" in told[0]


def test_a_manifest_cut_at_any_byte_is_read_named_or_recovered(tmp_path):
    path = tmp_path / "m.jsonl"
    rows = [row(index, text='a "quoted" ü {text}') for index in range(3)]
    write_manifest(path, rows)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        told: list[str] = []
        kept = list(read_manifest(path, on_torn=told.append))
        assert kept == rows[: len(kept)]
        whole = content[:length].count(b"\n")
        assert len(kept) in (whole, whole + 1)
        if not told:  # nothing was torn: every byte belongs to a kept row
            assert b"".join(msgspec.json.encode(r) + b"\n" for r in kept).rstrip() == content[:length].rstrip()


def test_zeros_after_a_power_failure_are_a_torn_line(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(msgspec.json.encode(row()) + b"\n" + bytes(500))
    assert list(read_manifest(path, on_torn=lambda _: None)) == [row()]


def test_damage_in_the_middle_is_never_taken_for_a_torn_end(tmp_path):
    path = tmp_path / "m.jsonl"
    good = msgspec.json.encode(row())
    path.write_bytes(good + b"\n" + good[:30] + b"\n" + good + b"\n")
    with pytest.raises(ManifestError, match=r"m\.jsonl:2: "):
        list(read_manifest(path, on_torn=lambda _: None))


def test_damaged_compression_is_named(tmp_path):
    path = tmp_path / "m.jsonl.gz"
    write_manifest(path, [row(index) for index in range(5000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"m\.jsonl\.gz:\d+: "):
        list(read_manifest(path))


def test_blank_lines_a_byte_order_mark_and_a_missing_last_newline_are_harmless(tmp_path):
    path = tmp_path / "m.jsonl"
    good = msgspec.json.encode(row())
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\n  \n" + good)
    assert list(read_manifest(path)) == [row(), row()]


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    for path in (tmp_path / "no.jsonl", tmp_path):
        with pytest.raises(ManifestError, match="cannot be read"):
            list(read_manifest(path))


@pytest.mark.parametrize(
    "fields",
    [{"duration": math.nan}, {"score": math.inf}, {"custom": {"a": [math.nan]}}, {"id": 5}, {"text": "\ud800"}],
)
def test_a_record_that_could_not_be_read_back_is_not_written(tmp_path, fields):
    path = tmp_path / "m.jsonl"
    path.write_text("old")
    bad = msgspec.structs.replace(row(1), **fields)
    with pytest.raises(ManifestError, match=r"record 2 .*nothing was written"):
        write_manifest(path, [row(), bad])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_generator_that_fails_leaves_the_old_manifest(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [row()])

    def rows():
        yield row(1)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        write_manifest(path, rows())
    assert list(read_manifest(path)) == [row()]


def test_a_full_disk_is_one_sentence(monkeypatch, tmp_path):
    real = Path.open

    def full(self, *args, **kwargs):
        return real(Path("/dev/full") if self.name.startswith(".tmp-") else self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"m\.jsonl: cannot.*written:.*disk.*full"):
        write_manifest(tmp_path / "m.jsonl", (row(index) for index in range(10_000)))
    assert list(tmp_path.iterdir()) == []


def test_paths_follow_the_manifest(tmp_path):
    there = next(iter(rebase([row(features="f/x")], tmp_path / "a", tmp_path / "b" / "c")))
    assert there.audio_filepath == "../../a/a.wav"
    assert there.features == "../../a/f/x"
    assert next(iter(rebase([there], tmp_path / "b" / "c", tmp_path / "a"))) == row(features="f/x")
    assert audio_path(tmp_path / "a" / "m.jsonl", row()) == tmp_path / "a" / "a.wav"
    assert next(iter(rebase([row(audio_filepath="/x/a.wav")], tmp_path, tmp_path / "b"))).audio_filepath == "/x/a.wav"


def test_memory_does_not_grow_with_rows(tmp_path):
    def peak(count: int) -> int:
        tracemalloc.start()
        write_manifest(tmp_path / "m.jsonl", (row(index) for index in range(count)))
        assert sum(1 for _ in read_manifest(tmp_path / "m.jsonl")) == count
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(20_000) < peak(2_000) + 100_000


def test_a_hostile_gzip_of_one_endless_line_does_not_take_memory(tmp_path, monkeypatch):
    from speechkit.data import manifest

    monkeypatch.setattr(manifest, "MAX_LINE_BYTES", 1 << 20)
    path = tmp_path / "m.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(50):
            file.write(b"[" * (1 << 20))
    tracemalloc.start()
    with pytest.raises(ManifestError, match=r"m\.jsonl\.gz:1: "):
        list(read_manifest(path))
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
