"""Manifests from anywhere: every command ends well or with one sentence, whatever a row holds."""

import contextlib
import copy
import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.cli.main import call

LARGE = 10**400
TEXTS = [
    "",
    " ",
    "\n",
    "a\nb",
    "\x00",
    "a\x00b",
    "../../x",
    "/dev/zero",
    "x" * 5000,
    "\u2028",
    "..",
    "-rf",
    "|ls",
    5,
    None,
    [],
]
NUMBERS = [0, -1, 1e308, -1e308, 1e-320, 1e15, 3.3333333, 2**31, 2**63, 2**64, LARGE, "1", None, [], True, 44_100]
NESTED = [
    [],
    {},
    5,
    "x",
    [[]],
    {"": {}},
    {"a": LARGE},
    {"\x00": 1},
    {"a\nb": []},
    {"word": [["a", 1e308, 1e308]]},
    [2**64, None],
]
ROW = {"id": "a", "audio_filepath": "a.wav", "duration": 1.0, "sample_rate": 16_000}
FIELDS = {
    **dict.fromkeys(("id", "audio_filepath", "text", "speaker", "lang", "features"), TEXTS),
    **dict.fromkeys(("duration", "sample_rate", "offset", "channel", "score"), NUMBERS),
    **dict.fromkeys(("units", "source", "alignment", "custom"), NESTED),
}
CUT = {
    "id": "c", "start": 0, "duration": 1.0, "channel": 0, "type": "MonoCut",
    "supervisions": [
        {"id": "s", "recording_id": "r", "start": 0, "duration": 1.0, "channel": 0, "text": "x", "speaker": "p"}
    ],
    "recording": {
        "id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 16_000,
        "num_samples": 32_000, "duration": 2.0, "channel_ids": [0],
    },
}  # fmt: skip
KALDI = {"wav.scp": "r a.wav\n", "segments": "u r 0.0 1.0\n", "text": "u hello\n", "utt2spk": "u s\n"}
LINES = [
    "", "\n", "u\n", " u\n", "\x00\n", "u \x00\n", "u r nan 1\n", "u r 0 inf\n", "u r 0 1e308\n", "u r -1 1\n",
    "u r 1 0\n",
    "r sox a.wav -t wav - |\n", "r rm -rf / |\n", "r cat 'a.wav |\n", "r /dev/zero\n", "r |\n", "r \x00.wav\n",
    f"u r {'9' * 400} 1\n", f"u r 0 {'9' * 5000}\n", "u u u\n" * 2, "r ark.ark:12345\n", "r a.wav\nr a.wav\n", "\udcff",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def long_integers():
    """JSON of others may hold integers that Python refuses to write."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.zeros(32_000, np.float32), 16_000)
    return tmp_path


def ends_well(*arguments):
    """Exit code 0, or 2 with one line."""
    shutil.rmtree("out", ignore_errors=True)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = call(list(arguments))
    message = errors.getvalue()
    assert code == 0 or (code == 2 and message.count("\n") == 1), (arguments, code, message[:300])
    return code


def lines():
    """Rows with one hostile field each, and lines that are no row."""
    yield from (json.dumps({**ROW, field: value}).encode() for field, values in FIELDS.items() for value in values)
    yield from (json.dumps({key: value for key, value in ROW.items() if key != left_out}).encode() for left_out in ROW)
    start = json.dumps(ROW)[:-1]
    for depth in (500, 1100, 100_000):
        yield f'{start},"custom":{{"x":'.encode() + b"[" * depth + b"]" * depth + b"}}"
        yield f'{start},"custom":'.encode() + b'{"x":' * depth + b"1" + b"}" * depth + b"}"
    yield from (
        b"",
        b"\n",
        b"{",
        b"[]",
        b"5",
        b'{"duration":NaN}',
        b"\x00" * 100,
        b'{"id":"\xe9"}',
        b"\xef\xbb\xbf" + start.encode() + b"}",
    )
    yield from (json.dumps(ROW).encode("utf-16"), b"\x1f\x8bxx", gzip.compress((start + "}\n").encode() * 9)[:-20])
    yield json.dumps({**ROW, "id": "\ud800"}).encode()


def written(kind, content):
    """One file of a format, and the name to read."""
    Path("source").write_bytes(content + b"\n")
    return "source", "--from", kind


@pytest.mark.slow
def test_every_tool_survives_every_row(folder):
    for line in lines():
        source, *_ = written("speechkit", line)
        for command in (["check", "--samples"], ["stats"], ["head"], ["split", "--out", "out", "--into", "a=.5,b=.5"]):
            ends_well("manifest", command[0], source, *command[1:])


def test_some_rows_of_each_kind_are_survived(folder):
    for number, line in enumerate(lines()):
        command = (["check"], ["stats"], ["head"], ["split", "--out", "out"], ["convert", "out/k", "--to", "kaldi"])[
            number % 5
        ]
        ends_well("manifest", command[0], written("speechkit", line)[0], *command[1:])


def test_what_cannot_be_an_id_is_found(folder):
    for value in ("", " ", "a\nb", "\x00"):
        written("speechkit", json.dumps({**ROW, "id": value}).encode())
        assert ends_well("manifest", "check", "source") == 2


@pytest.mark.slow
@pytest.mark.parametrize("target", ["kaldi", "nemo", "lhotse", "fairseq", "csv", "speechkit"])
@pytest.mark.parametrize("kind", ["speechkit", "nemo"])
def test_every_row_is_converted_or_refused(folder, kind, target):
    for line in lines():
        ends_well("manifest", "convert", *written(kind, line), "out/target", "--to", target)


def changed(value, path=()):
    """Each way to put something else, or nothing, into one place of nested data."""
    for key in range(len(value)) if isinstance(value, list) else value:
        for other in (None, -1, 1e308, LARGE, "\x00", "x", [], {}, [[]], 2**63, "nothing"):
            whole = copy.deepcopy(CUT)
            inside = whole
            for step in path:
                inside = inside[step]
            inside[key] = other
            if other == "nothing":
                del inside[key]
            yield whole
        if isinstance(value[key], (dict, list)):
            yield from changed(value[key], (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["speechkit", "kaldi"])
def test_every_cut_of_lhotse_is_converted_or_refused(folder, target):
    for cut in changed(CUT):
        source = written("lhotse", json.dumps(cut).encode())
        ends_well("manifest", "convert", *source, "out/target", "--to", target)


def test_every_table_of_kaldi_is_read_or_refused(folder):
    for name in KALDI:
        for line in LINES:
            (folder / "k").mkdir(exist_ok=True)
            for table, content in {**KALDI, name: line}.items():
                (folder / "k" / table).write_bytes(
                    content.replace("a.wav", "../a.wav").encode(errors="surrogateescape")
                )
            ends_well("manifest", "convert", "k", "out/m.jsonl")


@pytest.mark.parametrize("kind", ["csv", "fairseq", "parquet", pytest.param("shar", marks=pytest.mark.slow)])
def test_every_table_is_read_or_refused(folder, kind):
    cells = ["", "x", "-1", "1e308", "nan", "9" * 400, "\x00", "[]", "{}", "null", "[" * 5000, '"', "1e999"]
    contents = {
        "csv": [f"audio_filepath,{field}\na.wav,{cell}\n" for field in FIELDS for cell in cells],
        "fairseq": [f"{folder}\n{name}\t{size}\n" for name in ("a.wav", "\x00", "../x") for size in cells],
        "parquet": ["", "PAR1", "PAR1" + "\0" * 100 + "PAR1", "x" * 1000],
        "shar": [],
    }[kind]
    for content in contents:
        ends_well("manifest", "convert", *written(kind, content.encode()), "out/m.jsonl", "--to", "speechkit")
    for packed in (b"", b"\x1f\x8b", gzip.compress(b"[]\n"), gzip.compress(b"\x00"))[: 4 * (kind == "shar")]:
        (folder / "shar").mkdir(exist_ok=True)
        (folder / "shar" / "cuts.000000.jsonl.gz").write_bytes(packed)
        ends_well("manifest", "convert", "shar", "out/m.jsonl")
