"""What was never recognised is missing, and never its own reference."""

import json

import pytest

from speechkit.errors import UserError
from speechkit.metrics.comparison import compare
from speechkit.metrics.sides import read_sides


def rows(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def reference(tmp_path):
    return rows(tmp_path / "ref.jsonl", {"id": "a", "text": "one two"}, {"id": "b", "text": "three"})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"pred_text": "one"}, {"pred_text": None}),
        ({"pred_text": "one"}, {}),
        ({"prediction": None}, {"hypothesis": "three"}),
        ({}, {"pred_text": "three"}),
    ],
)
def test_a_row_without_its_hypothesis_is_missing(tmp_path, reference, first, second):
    hypothesis = rows(
        tmp_path / "hyp.jsonl", {"id": "a", "text": "one two", **first}, {"id": "b", "text": "three", **second}
    )
    with pytest.raises(UserError, match="lacks 1 of 2 utterances"):
        read_sides(reference, [str(hypothesis)])
    sides = read_sides(reference, [str(hypothesis)], missing="empty")
    assert "" in sides.hypotheses["hyp"].values()


def test_an_empty_hypothesis_is_one_and_plain_text_stays_one(tmp_path, reference):
    silent = rows(tmp_path / "silent.jsonl", {"id": "a", "pred_text": ""}, {"id": "b", "pred_text": "three"})
    plain = rows(tmp_path / "plain.jsonl", {"id": "a", "text": "one"}, {"id": "b", "text": ""})
    sides = read_sides(reference, [str(silent), str(plain)])
    assert sides.hypotheses == {"silent": {"a": "", "b": "three"}, "plain": {"a": "one", "b": ""}}


def test_hypotheses_of_several_systems_must_be_named(tmp_path, reference):
    several = [{"id": key, "text": text, "pred_text_big": "x"} for key, text in (("a", "one two"), ("b", "three"))]
    path = rows(tmp_path / "several.jsonl", *several)
    with pytest.raises(UserError, match=r"pred_text_big.*--hyp-field"):
        read_sides(reference, [str(path)])
    assert read_sides(reference, [str(path)], hypothesis_field="pred_text_big").hypotheses["several"]["a"] == "x"


def test_a_recording_without_a_word_in_the_ctm_is_missing(tmp_path):
    (tmp_path / "two.stm").write_text("rec1 A s 0.0 2.0 <o> one two\nrec2 A s 0.0 2.0 <o> three\n")
    (tmp_path / "two.ctm").write_text("rec1 A 0.1 0.2 one\nrec1 A 0.5 0.2 two\n")
    with pytest.raises(UserError, match="lacks 1 of 2"):
        read_sides(tmp_path / "two.stm", [str(tmp_path / "two.ctm")])
    sides = read_sides(tmp_path / "two.stm", [str(tmp_path / "two.ctm")], missing="empty")
    assert compare(sides, normalizers=["none"]).comparison.tables[0].systems[0].wer.deletions == 1
