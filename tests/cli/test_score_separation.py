"""`speechkit score-separation`: files written, exit codes, and bad input in one sentence."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from speechkit.cli.main import call
from speechkit.data import Utterance, write_manifest
from speechkit.io.audio import read_audio, write_audio

RATE = 8000
AT_HAND = Path(os.environ.get("SPEECHKIT_DATA", "absent")) / "libri2mix-8k"


@pytest.fixture
def folders(tmp_path):
    """Three mixtures, and two systems of which the second leaks more."""
    random = np.random.default_rng(0)
    for n in range(3):
        one, two = 0.1 * random.standard_normal((2, 4000))
        for name, wave in (("mix", one + two), ("source1", one), ("source2", two)):
            write_audio(tmp_path / f"ref/m{n}_{name}.wav", wave, RATE)
        for system, leak in (("a", 0.1), ("b", 0.3 + 0.1 * n)):
            write_audio(tmp_path / f"{system}/m{n}_source1hat.wav", two + leak * one, RATE)
            write_audio(tmp_path / f"{system}/m{n}_source2hat.wav", one + leak * two, RATE)
    return tmp_path


def scored(*arguments):
    return call(["score-separation", *map(str, arguments), "--measures", "none"])


def test_every_form_of_the_result_is_written(folders, capsys):
    out = folders / "out"
    assert scored(folders / "ref", folders / "a", f"other={folders / 'b'}", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "3 mixtures, 0.0 minutes; 95% intervals over 3 mixtures, 2,000 draws" in printed
    assert {path.name for path in out.iterdir()} == {
        "scores.json", "scores.md", "scores.tex", "scores.csv", "items.csv", "report.html",
    }  # fmt: skip
    found = json.loads((out / "scores.json").read_text())
    assert [system["name"] for system in found["systems"]] == ["a", "other"]
    gain = found["systems"][0]["means"]["si_sdr_improvement"]
    assert gain["value"] == pytest.approx(20, abs=1)
    assert gain["interval"]["low"] <= gain["value"] <= gain["interval"]["high"]
    rows = list(csv.DictReader((out / "items.csv").open()))
    assert [(row["mixture"], row["source"], row["a: track"]) for row in rows][:2] == [
        ("m0", "1", "2"),
        ("m0", "2", "1"),
    ]
    assert r"\toprule" in (out / "scores.tex").read_text()
    assert "| a |" in (out / "scores.md").read_text()
    assert (out / "scores.csv").read_text().startswith("system,SI-SDR dB")


def test_json_is_printed_for_programs(folders, capsys):
    assert scored(folders / "ref", folders / "a", "--json", "--resamples", 50, "--confidence", 0.9) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mixtures"] == 3
    assert found["systems"][0]["means"]["si_sdr"]["interval"]["confidence"] == 0.9


def test_what_is_left_out_is_listed_and_the_command_ends_with_2(folders, capsys):
    (folders / "a/m1_source1hat.wav").write_text("damaged")
    assert scored(folders / "ref", folders / "a", folders / "b", "--out", folders / "out") == 2
    caught = capsys.readouterr()
    assert "speechkit: 1 of 3 mixtures were left out; the first: m1: " in caught.err
    assert "Left out of all systems" in caught.out
    found = json.loads((folders / "out/scores.json").read_text())
    assert (found["mixtures"], [each["id"] for each in found["left_out"]]) == (2, ["m1"])
    assert "m1_source1hat.wav" in (folders / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent", "a"], "absent: cannot be read"),
        (["ref", "absent"], "absent: cannot be read"),
        (["ref", "a", "a"], "name of two hypotheses"),
        (["ref", "a", "--by", "speaker"], "has no speaker"),
        (["ref", "a", "--confidence", "2"], "confidence is 2"),
        (["ref", "a", "--seed", "-1"], "seed is -1"),
        (["ref", "a", "--asr", "embedded"], "have no texts"),
        (["ref", "a", "--asr", "embedded", "--normalizer", "nope"], "nope"),
        (["empty", "a"], "holds no tracks in a known layout"),
    ],
)
def test_bad_input_is_one_sentence(folders, capsys, arguments, sentence):
    (folders / "empty").mkdir()
    given = [str(folders / a) if a in ("absent", "ref", "a", "empty") else a for a in arguments]
    assert scored(*given) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_measure_that_is_not_known(folders, capsys):
    for measures, wrong in (("mos", "mos"), ("none, sdr", "none"), (" , mos", "mos")):
        assert call(["score-separation", str(folders / "ref"), str(folders / "a"), "--measures", measures]) == 2
        assert f"measure '{wrong}' is unknown; choose from sdr, stoi, pesq" in capsys.readouterr().err


def test_the_piece_that_is_scored_is_recognised(tmp_path, monkeypatch):
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, RATE))
    for name, samples in (("mix", noise.sum(0)), ("s1", noise[0]), ("s2", noise[1, 2000:6000]), ("t1", noise[0])):
        write_audio(tmp_path / f"{name}.wav", samples, RATE)
    write_audio(tmp_path / "t2.wav", noise[1, 2000:6000], RATE)
    for name, sources, texts in (("ref", ["s1.wav", "s2.wav"], ["a", "b"]), ("est", ["t1.wav", "t2.wav"], None)):
        row = Utterance.from_samples(
            id="m", audio_filepath="mix.wav", offset_samples=2000, num_samples=4000, sample_rate=RATE,
            custom={"mixture": {"sources": sources, "texts": texts}},
        )  # fmt: skip
        write_manifest(tmp_path / f"{name}.jsonl", [row])
    pieces = {}

    def recognize(path, speech, channel):
        pieces[Path(path).stem] = speech
        return SimpleNamespace(text="a")

    monkeypatch.setattr("speechkit.asr.load_recognizer", lambda *_, **__: SimpleNamespace(recognize=recognize))
    assert scored(tmp_path / "ref.jsonl", tmp_path / "est.jsonl", "--asr", "embedded") == 0
    part = [(4000, 12000)]
    assert pieces == {"mix": part, "s1": part, "s2": None, "t1": part, "t2": None}


@pytest.mark.skipif(not AT_HAND.is_dir(), reason="needs libri2mix-8k in SPEECHKIT_DATA")
def test_the_mixtures_at_hand_as_their_own_estimates_gain_nothing(tmp_path, capsys):
    for path in sorted(AT_HAND.glob("*_mix.flac")):
        mixture = read_audio(path, sample_rate=None)
        for k in (1, 2):
            write_audio(tmp_path / f"est/{path.name.replace('_mix.flac', '')}_s{k}.wav", mixture, RATE)
    assert scored(AT_HAND, tmp_path / "est", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baseline"]["means"]["si_sdr"]["value"] == pytest.approx(0.028, abs=0.001)
    assert found["systems"][0]["means"]["si_sdr_improvement"]["value"] == pytest.approx(0, abs=0.001)
    assert found["seconds"] / 60 == pytest.approx(1.182, abs=0.001)
