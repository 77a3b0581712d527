"""Claims about recognising manifests."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from speechkit.asr.hypothesis import Hypothesis
from speechkit.asr.load import load_recognizer
from speechkit.asr.timed_rows import recognize_row
from speechkit.cli.main import call
from speechkit.data import Utterance, audio_path, read_manifest, write_manifest
from speechkit.data.recordings import read_cuts
from speechkit.io.audio import write_audio


class Counted:
    """A recogniser that writes the seconds that it was given."""

    def recognize(self, path, speech=None, channel=None):
        text = "all" if speech is None else " ".join(f"{begin}-{end}" for begin, end in speech)
        at = np.full(len(text) + 3, 0.6)
        return Hypothesis(f" {text}  ", at, at, np.zeros(len(at), np.float32))


@pytest.fixture
def recordings(tmp_path):
    for name in ("a", "b"):
        write_audio(tmp_path / f"{name}.wav", np.zeros(8000, np.float32), 8000)
    row = Utterance.from_samples(
        id="cut",
        audio_filepath="b.wav",
        offset_samples=4000,
        num_samples=2000,
        sample_rate=8000,
        text="old",
        speaker="x",
    )
    write_manifest(tmp_path / "test.jsonl", [row])
    return tmp_path


def test_recordings_and_cuts_come_with_their_times(recordings):
    given = read_cuts([recordings / "a.wav", recordings / "test.jsonl"])
    whole, cut = (recognize_row(Counted(), row, audio_path(manifest, row)) for row, manifest in given)
    assert (whole.id, whole.text, whole.duration, whole.sample_rate) == ("a", "0-16000", 1.0, 8000)
    assert (cut.id, cut.text, cut.duration, cut.speaker) == ("cut", "8000-12000", 0.25, "x")
    assert all((row.custom or {})["compute_seconds"] >= 0 for row in (whole, cut))


def test_two_of_one_id_and_an_input_to_replace_are_refused_before_the_recogniser(recordings, capsys):
    (recordings / "sub").mkdir()
    twin = recordings / "sub" / "a.wav"
    twin.write_bytes((recordings / "a.wav").read_bytes())
    before = (recordings / "test.jsonl").read_bytes()
    for given, out, message in (
        ((recordings / "a.wav", twin), "x.jsonl", "duplicate id 'a', as in"),
        ((recordings / "test.jsonl",), "test.jsonl", "is an input, and would be replaced"),
    ):
        command = ["transcribe", *map(str, given), "--recognizer", "words:none", "--out", str(recordings / out)]
        assert call(command) == 2
        assert message in capsys.readouterr().err
    assert (recordings / "test.jsonl").read_bytes() == before


def test_a_row_names_the_channel_that_was_heard(recordings, capsys):
    soundfile.write(recordings / "talk.wav", np.zeros((16000, 2)), 16000)
    (recordings / "w.ctm").write_text("talk A 0.1 0.2 left\ntalk B 0.4 0.1 right\n")
    out = recordings / "new" / "hyp.jsonl"
    words = f"words:{recordings / 'w.ctm'}"
    assert call(["transcribe", str(recordings / "talk.wav"), "--recognizer", words, "--out", str(out)]) == 0
    rows = [(row.id, row.channel, row.text, row.audio_filepath) for row in read_manifest(out)]
    assert rows == [("talk-channel1", 0, "left", "../talk.wav"), ("talk-channel2", 1, "right", "../talk.wav")]
    assert "2 texts" in capsys.readouterr().out


def test_the_manifest_that_is_written_is_what_score_takes(recordings, capsys, tmp_path):
    (recordings / "bad.wav").write_bytes(b"RIFF")
    unnamed = recordings / "caf\udce9.wav"
    unnamed.write_bytes((recordings / "a.wav").read_bytes())
    words = recordings / "words"
    words.mkdir()
    for name, text in (("a", "good"), ("b", "morning")):
        items = [{"word": text, "start": 0.55, "end": 0.7}]
        (words / f"{name}.json").write_text(json.dumps(items))
    out = tmp_path / "hyp.jsonl"
    code = call(
        [
            *("transcribe", str(recordings / "a.wav"), str(recordings / "bad.wav"), str(unnamed)),
            *("--recognizer", f"words:{words}", "--out", str(out)),
        ]
    )
    shown = capsys.readouterr()
    assert code == 2
    assert "bad.wav: " in shown.err
    assert "the file name is not UTF-8" in shown.err
    assert "1 texts" in shown.out
    (row,) = read_manifest(out)
    assert (row.id, row.text) == ("a", "good")
    (tmp_path / "ref.jsonl").write_text('{"id": "a", "text": "good"}\n')
    assert call(["score", str(tmp_path / "ref.jsonl"), str(out), "--json"]) == 0
    (tmp_path / "system").mkdir()
    out.rename(tmp_path / "system" / "ref.jsonl")
    board = ["leaderboard", str(tmp_path / "system"), "--set", str(tmp_path / "ref.jsonl"), "--json"]
    capsys.readouterr()
    assert call(board) == 0
    assert json.loads(capsys.readouterr().out)["systems"][0]["speed"]["compute_seconds"] > 0
    assert call(["transcribe", "a.wav", "--out", "x.jsonl", "--json"]) == 2
    assert "--out writes one text per recording" in capsys.readouterr().err


def test_a_cut_has_its_own_words_and_not_those_around_it(recordings):
    (recordings / "w.ctm").write_text("b 1 0.1 0.2 before\nb 1 0.48 0.1 we\nb 1 0.6 0.1 met\nb 1 0.72 0.2 behind\n")
    row = next(iter(read_manifest(recordings / "test.jsonl")))
    words = load_recognizer(f"words:{recordings / 'w.ctm'}")
    assert recognize_row(words, row, recordings / "b.wav").text == "we met"
    heard = words.recognize("b.wav")
    assert heard.between(0.0, 1.0).text == heard.text
    part = heard.between(0.5, 0.75)
    np.testing.assert_allclose(part.starts[[0, 2, 3]], [0.48, 0.58, 0.6])
    assert len(part.text) == len(part.ends) == len(part.scores)
    assert heard.between(2.0, 3.0).text == ""
