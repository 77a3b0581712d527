from __future__ import annotations

import gzip
import json

import pytest

from speechkit.errors import ManifestError, UserError
from speechkit.metrics.transcripts import Transcript, read_speakers, read_transcripts


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_three_formats_hold_the_same_transcripts(tmp_path):
    expected = [("a", "नमस्ते दुनिया"), ("b-1", ""), ("c", "x (laughs) y")]
    kaldi = write(tmp_path / "text", "a नमस्ते दुनिया\nb-1\n\nc\tx (laughs) y\r\n")
    trn = write(tmp_path / "hyp.trn", "नमस्ते दुनिया (a)\n (b-1)\nx (laughs) y (c)\n")
    lines = "".join(json.dumps({"id": i, "text": t, "duration": 1}) + "\n" for i, t in expected).encode()
    manifest = write(tmp_path / "m.jsonl", lines)
    zipped = write(tmp_path / "m.jsonl.gz", gzip.compress(lines))
    for path in (kaldi, trn, manifest, zipped):
        assert [(t.id, t.text) for t in read_transcripts(path)] == expected, path


def test_manifests_carry_speakers(tmp_path):
    path = write(tmp_path / "m.jsonl", '{"id":"a","text":"x","speaker":"s"}\n')
    assert read_transcripts(path) == [Transcript("a", "x", "s")]
    assert read_speakers(write(tmp_path / "utt2spk", "a s\nb t\n")) == {"a": "s", "b": "t"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", "a x\nb y\na z\n", "text:3: a is on line 1 too"),
        ("hyp.trn", "x y\n", "hyp.trn:1: does not end in"),
        ("text", b"a x\nb \xff\n", "text:2: byte 2 is not UTF-8"),
        ("m.jsonl", '{"id":"a"}\n', "a has no text"),
        ("text", "\n\n", "has no transcript"),
    ],
)
def test_bad_files_name_the_line(tmp_path, name, content, message):
    with pytest.raises(UserError) as error:
        read_transcripts(write(tmp_path / name, content))
    assert message in str(error.value)


def test_broken_json_and_missing_files_are_errors(tmp_path):
    with pytest.raises(ManifestError, match=r"m\.jsonl:1"):
        read_transcripts(write(tmp_path / "m.jsonl", "not json\n"))
    with pytest.raises(UserError, match="cannot be read"):
        read_transcripts(tmp_path / "absent")
    with pytest.raises(UserError, match="has no speaker or two"):
        read_speakers(write(tmp_path / "utt2spk", "a s\na t\n"))


def test_a_folder_above_the_transcripts_names_the_folders_in_it(tmp_path):
    for name in ("e", "d", "c", "b", "test", "dev"):
        (tmp_path / "corpus" / name).mkdir(parents=True)
    write(tmp_path / "corpus" / "dev" / "a.txt", "x\n")
    with pytest.raises(UserError, match=r"one.*folders.*it: b, c, d, dev, e.*1 more"):
        read_transcripts(tmp_path / "corpus")
