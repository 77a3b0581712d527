"""Claims about scoring in one call."""

from __future__ import annotations

import json

import pytest

from speechkit.errors import UserError
from speechkit.metrics.scoring import score

REFERENCES = {"a": "good morning to you", "b": "it rains"}
SMALL = {"a": "good moaning to you", "b": "it rains"}


def rates(scores):
    return {system.name: system.wer.rate for system in scores.tables[0].systems}


def test_texts_by_id_are_scored_as_files_are(tmp_path):
    scores = score(REFERENCES, {"small": SMALL, "perfect": REFERENCES}, normalizers=["simple"], resamples=100)
    assert rates(scores) == {"small": pytest.approx(1 / 6), "perfect": 0.0}
    paths = {}
    for name, texts in (("ref", REFERENCES), ("small", SMALL)):
        paths[name] = tmp_path / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items()))
    read = score(paths["ref"], {"small": paths["small"]}, normalizers=["simple"], resamples=100)
    assert rates(read) == {"small": pytest.approx(1 / 6)}


def test_missing_hypotheses_stop_unless_it_is_said_what_they_mean():
    with pytest.raises(UserError, match="small: lacks 1 of 2 utterances"):
        score(REFERENCES, {"small": {"a": "good morning to you"}})
    scores = score(REFERENCES, {"small": {"a": "good morning to you"}}, missing="empty", normalizers=["simple"])
    assert rates(scores) == {"small": pytest.approx(2 / 6)}


def test_files_and_texts_do_not_mix(tmp_path):
    with pytest.raises(UserError, match="small: its hypotheses are a file"):
        score(REFERENCES, {"small": tmp_path / "x.jsonl"})
    with pytest.raises(UserError, match="the references are a file"):
        score(tmp_path / "x.jsonl", {"small": SMALL})
