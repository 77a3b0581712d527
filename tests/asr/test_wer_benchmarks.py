"""The recipe of word error rates: recognisers by name, scored by group, on data that is made here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from speechkit.asr.named import named_recognizers, parse_recognizer
from speechkit.errors import ConfigError
from speechkit.pipeline import run_recipe
from speechkit.pipeline.discover import recipe_module

wer_recipe = recipe_module("wer_benchmarks").recipe

TEXTS = {"a": "the cat sat", "b": "on a mat", "c": "and slept"}
HEARD = {"a": "the cat sat", "b": "on the mat", "c": "and slept"}


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for index, (name, text) in enumerate(TEXTS.items()):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.sin(np.arange(16000) / 9), 16000)
        words = [f"{name} 1 {0.2 * i:.2f} 0.15 {word}" for i, word in enumerate(HEARD[name].split())]
        (tmp_path / "ctm").mkdir(exist_ok=True)
        (tmp_path / "ctm" / f"{name}.ctm").write_text("\n".join(words) + "\n")
        custom = {"age": 9 if index else 40, "gender": "f"}
        row = {"id": name, "audio_filepath": f"{name}.wav", "duration": 1.0, "offset": 0.0, "sample_rate": 16000}
        rows.append({**row, "text": text, "speaker": f"s{index}", "custom": custom})
    rows.append({**rows[0], "id": "d", "text": ""})
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_recogniser_is_scored_by_group_under_two_normalisers(manifest, tmp_path):
    settings = {
        "manifest": str(manifest),
        "recognizers": f"words=words:{tmp_path / 'ctm'}",
        "select.unseen_speakers": "s0",
        "score.groups": "age,heard_in_training,nothing",
        "score.resamples": "50",
    }
    run_recipe(wer_recipe, tmp_path / "exp", [f"{key}={value}" for key, value in settings.items()], device="cpu")
    found = json.loads((tmp_path / "exp/03-score/current/scores.json").read_text())
    assert [table["normalizer"]["name"] for table in found["tables"]] == ["english", "simple"]
    system = found["tables"][1]["systems"][0]
    assert system["wer"]["rate"] == pytest.approx(1 / 8)
    assert system["groups"]["age"]["child to 12"]["rate"] == pytest.approx(1 / 5)
    assert system["groups"]["heard_in_training"]["no"]["rate"] == 0
    drops = (tmp_path / "exp/01-select/current/drops.jsonl").read_text()
    assert '"no_text"' in drops


def test_a_recogniser_is_named_with_its_search():
    assert parse_recognizer("embedded") == ("embedded", 0, None, 0.5, None)
    assert parse_recognizer("embedded+beam:8") == ("embedded", 8, None, 0.5, None)
    assert parse_recognizer("some/model+beam:8+lm:a@b.arpa@0.7") == ("some/model", 8, "a@b.arpa", 0.7, None)
    assert parse_recognizer("embedded+beam:8+rescore:gpt2") == ("embedded", 8, None, 0.5, "gpt2")
    assert parse_recognizer("x+beam:8+lm:a.arpa+rescore:b.arpa") == ("x", 8, "a.arpa", 0.5, "b.arpa")
    for wrong in ("embedded+rescore:gpt2", "embedded+beam:many", "embedded+beam:0", "embedded+beam:4+lm:a.arpa@nan"):
        with pytest.raises(ConfigError, match="beam"):
            parse_recognizer(wrong)


def test_recognisers_are_named_once():
    assert named_recognizers("embedded, small=faster-whisper:x") == {
        "embedded": "embedded",
        "small": "faster-whisper:x",
    }
    with pytest.raises(ConfigError, match="duplicate label"):
        named_recognizers("a=x,a=y")
    with pytest.raises(ConfigError, match="recognizers is empty"):
        named_recognizers(" , ")
