"""`speechkit separate` writes tracks, says what it found, and ends with the code that its help promises."""

from __future__ import annotations

import json

import numpy as np
import pytest

from speechkit.cli import main as cli
from speechkit.io.audio import audio_info, write_audio


@pytest.fixture(scope="module")
def separator(tmp_path_factory):
    import torch

    from speechkit.separation.model import new_separator, separator_config

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("separator")
    new_separator(separator_config("mossformer2-tiny")).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def talk(tmp_path):
    generator = np.random.default_rng(0)
    write_audio(tmp_path / "talk.wav", 0.1 * generator.standard_normal(24_000), 16_000)
    return tmp_path / "talk.wav"


def test_tracks_a_manifest_and_the_real_time_factor(talk, separator, tmp_path, capsys):
    out = tmp_path / "tracks"
    arguments = ["separate", str(talk), "--out", str(out), "--model", separator, "--speakers", "2", "--rate", "8000"]
    assert cli.call(arguments) == 0
    shown = capsys.readouterr().out
    assert "talk: 2 speakers; talk_source1.wav, talk_source2.wav" in shown
    assert "real-time factor" in shown
    assert audio_info(out / "talk_source2.wav").sample_rate == 8000
    assert len((out / "tracks.jsonl").read_text().splitlines()) == 2
    assert cli.call([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"][0]["count"]["speakers"] == 2
    assert found["real_time_factor"] > 0


def test_a_folder_with_an_unreadable_recording_goes_on_and_ends_with_2(talk, separator, tmp_path, capsys):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    code = cli.call(["separate", str(tmp_path), "--out", str(tmp_path / "tracks"), "--model", separator])
    shown = capsys.readouterr()
    assert code == 2
    assert (tmp_path / "tracks" / "talk_source1.wav").is_file()
    assert "left out" in shown.err
    assert "broken.wav" in shown.err
    assert "1 left out" in shown.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--speakers", "5"], "speakers is 5"),
        (["--format", "mp3"], "wav or flac"),
        (["--rate", "3"], "3 Hz"),
        (["--overlap", "7"], "overlap"),
        (["--window", "inf"], "windows are inf s"),
        (["--model", "nowhere/at/all"], "nowhere/at/all"),
    ],
)
def test_what_cannot_be_is_one_line_and_2(talk, separator, tmp_path, options, words, capsys):
    given = ["separate", str(talk), "--out", str(tmp_path / "tracks"), "--model", separator, *options]
    assert cli.call(given) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert len(shown.strip().splitlines()) == 1


def test_the_embedded_separator_is_there_or_named(talk, tmp_path, capsys):
    code = cli.call(["separate", str(talk), "--out", str(tmp_path / "tracks")])
    assert code == 0 or "embedded separator" in capsys.readouterr().err


def test_transcribing_separated_speakers_gives_a_line_for_each(talk, separator, capsys):
    arguments = ["transcribe", str(talk), "--separate", "--separator", separator, "--speakers", "2"]
    assert cli.call(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [[str(talk), "1"], [str(talk), "2"]]
    assert cli.call([*arguments, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["track"], row["speakers"], row["audio"]) for row in rows] == [(1, 2, str(talk)), (2, 2, str(talk))]


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--separate", "--recognizer", "words:x.ctm"], "words:FILE"), (["--speakers", "2"], "--separate")],
)
def test_transcribing_what_cannot_be_separated_is_one_line(talk, options, words, capsys):
    assert cli.call(["transcribe", str(talk), *options]) == 2
    assert words in capsys.readouterr().err
