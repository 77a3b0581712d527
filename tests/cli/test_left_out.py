"""Commands that do several items: a bad one is named, the others are done, and the exit code says so."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer

from speechkit.asr.hypothesis import Hypothesis, RecognizerSpec
from speechkit.cli.left_out import LeftOut
from speechkit.cli.main import call
from speechkit.encoders.store import FeatureStore
from speechkit.errors import AudioError, ConfigError, MissingExtraError, SpeechkitError, UserError
from speechkit.io.audio import read_audio, write_audio

SPEECH = Path(__file__).parents[2] / "recipes" / "mining" / "sample" / "audio" / "bees.ogg"


@pytest.fixture
def three(tmp_path):
    """A text file that calls itself audio, between the first seconds of a recording, twice."""
    waveform = read_audio(SPEECH, num_samples=48000)
    for name in ("a.wav", "c.wav"):
        write_audio(tmp_path / name, waveform, 16000)
    (tmp_path / "b.wav").write_text("no audio\n")
    return [str(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav")]


@pytest.mark.parametrize(
    "error", [AudioError("x: is empty"), UserError("x: is short"), RuntimeError("odd"), KeyError(3)]
)
def test_what_is_wrong_with_an_item_is_its_own(error, capsys):
    left_out = LeftOut()
    for name in ("x", "y"):
        with left_out.one(name):
            if name == "x":
                raise error
    assert list(left_out.reasons) == ["x"]
    assert "speechkit: left out x: " in capsys.readouterr().err
    with pytest.raises(typer.Exit) as ended:
        left_out.end(1)
    assert ended.value.exit_code == 2
    with pytest.raises(UserError, match="none of 1 recordings could be processed"):
        left_out.end(0)


@pytest.mark.parametrize(
    "error", [ConfigError("c"), MissingExtraError("m"), SpeechkitError("s"), MemoryError(), KeyboardInterrupt()]
)
def test_what_the_next_item_would_meet_too_ends_the_command(error):
    with pytest.raises(type(error)), LeftOut().one("x"):
        raise error


def test_an_item_is_named_even_if_its_reason_begins_like_its_name(capsys):
    LeftOut().add("short", "shorter than a frame; remove it")
    LeftOut().add("a.wav", "a.wav: is empty")
    said = ["speechkit: left out short: shorter than a frame; remove it", "speechkit: left out a.wav: is empty"]
    assert capsys.readouterr().err.splitlines() == said


def test_a_folder_stands_for_its_recordings(three, tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no audio\n")
    shutil.copy(three[0], tmp_path / "notes" / "d.wav")
    assert call(["syllables", str(tmp_path), "--out", str(tmp_path / "out"), "--json"]) == 2  # b.wav
    said = capsys.readouterr()
    assert json.loads(said.out)["items"] == 3
    assert f"no recording: {tmp_path}/notes/readme.txt" in said.err
    (tmp_path / "empty").mkdir()
    for command in ("syllables", "features"):
        assert call([command, str(tmp_path / "empty"), "--out", str(tmp_path / "none")]) == 2
        assert "empty: holds no recordings" in capsys.readouterr().err


def test_nothing_left_out_is_no_end():
    LeftOut().end(0)
    LeftOut().end(3)


class Listener:
    """A recogniser that hears one word in whatever can be read."""

    spec = RecognizerSpec("listener", "none", "0", "en")

    def recognize(self, path):
        read_audio(path)
        return Hypothesis("bees", np.arange(4) / 4, np.arange(1, 5) / 4, np.zeros(4, np.float32))


@pytest.fixture
def listener(monkeypatch):
    monkeypatch.setattr("speechkit.asr.load_recognizer", lambda *_, **__: Listener())
    monkeypatch.setattr("speechkit.asr.load.default_words", lambda *_: None)  # it has no emissions to search


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_transcribe_goes_on_after_a_bad_recording(three, capsys, options):
    assert call(["transcribe", *three, *options]) == 2
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"speechkit: left out {three[1]}: is a text file, not audio; check the path"]
    lines = out.splitlines()
    names = [json.loads(line)["audio"] if options else line.split("\t")[0] for line in lines]
    assert names == [three[0], three[2]]


@pytest.mark.usefixtures("listener")
def test_transcribe_takes_a_folder_of_recordings(three, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("hello")
    assert call(["transcribe", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == [three[0], three[2]]
    assert "no recording: " in err
    assert f"left out {three[1]}: is a text file" in err


@pytest.mark.usefixtures("listener")
def test_transcribe_of_one_bad_recording_is_its_sentence(three, capsys):
    assert call(["transcribe", three[1]]) == 2
    assert capsys.readouterr().err == f"speechkit: {three[1]}: is a text file, not audio; check the path\n"


@pytest.mark.usefixtures("listener")
def test_transcribe_of_bad_recordings_only_says_so(three, capsys):
    assert call(["transcribe", three[1], three[1] + "2"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("speechkit: none of 2 recordings could be processed")


@pytest.mark.parametrize(
    "command",
    [
        ["features", "--encoder", "mfcc", "--out", "OUT"],
        pytest.param(["syllables", "segment", "--segmenter", "envelope", "--out", "OUT"], marks=pytest.mark.slow),
    ],
    ids=["features", "syllables"],
)
def test_every_command_of_several_recordings_goes_on_and_ends_with_2(three, tmp_path, capsys, command):
    given = [str(tmp_path / "out") if word == "OUT" else word for word in command]
    assert call([*given, *three]) == 2
    assert [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert call([*given[:-1], str(tmp_path / "good"), three[0], three[2]]) == 0


@pytest.mark.usefixtures("listener")
def test_a_name_that_is_no_utf8_is_written_with_escapes(three, tmp_path, capfdbinary):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    shutil.copy(three[0], name)
    for options in ([], ["--json"]):
        assert call(["transcribe", name, three[2], *options]) == 0
        first = capfdbinary.readouterr().out.decode().splitlines()[0]
        written = json.loads(first)["audio"] if options else first.split("\t")[0]
        assert written == f"{tmp_path}/caf\\xe9.wav"
    assert call(["features", name, three[1], "--encoder", "mfcc", "--out", str(tmp_path / "out")]) == 2
    assert FeatureStore(tmp_path / "out").ids() == ["caf\\xe9"]
