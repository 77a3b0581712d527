"""The analysis equals what its parts say, and the page shows it."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from typer.testing import CliRunner

from speechkit.cli.slue import app
from speechkit.errors import UserError
from speechkit.metrics.error_rates import word_errors
from speechkit.slue.fields import Options
from speechkit.slue.metrics.answers import word_overlap
from speechkit.slue.metrics.measures import Resampling
from speechkit.slue.rows import Row
from speechkit.slue.sensitivity import _spearman, best_answer, sensitivity

CITIES = ["rome", "paris", "oslo", "berlin", "london", "madrid"]
VERBS = ["meet", "wait", "work", "dance"]


def corpus(count=120, seed=0):
    draw = random.Random(seed)
    found = []
    for number in range(count):
        city, verb = draw.choice(CITIES), draw.choice(VERBS)
        text = f"we {verb} the others in {city} this week"
        fields = {
            "text": text,
            "ner": [["GPE", text.index(city), len(city)]],
            "intent": verb,
            "speaker": str(number % 30),
        }
        found.append(Row(str(number), f"row {number}", fields))
    return found


def heard(rows, rate, seed=1):
    draw = random.Random(seed)
    wrong = {city: city[:-1] + "x" for city in CITIES}
    return {
        r.id: " ".join(wrong.get(w, "uh") if draw.random() < rate else w for w in r.fields["text"].split())
        for r in rows
    }


def tag_cities(texts):
    return {
        name: Row(name, name, {"pred_ner": [["GPE", word] for word in text.split() if word in CITIES]})
        for name, text in texts.items()
    }


@pytest.fixture(scope="module")
def found():
    rows = corpus()
    systems = {"good": heard(rows, 0.1), "bad": heard(rows, 0.4, 2)}
    return sensitivity("ner", rows, tag_cities, systems=systems, levels=(0.1, 0.3, 0.5), resampling=Resampling(200))


def point(found, name):
    return next(p for p in found.points if p.name == name)


def test_the_top_line_is_the_reference_text_and_the_score_falls_with_the_noise(found):
    oracle = point(found, "oracle text")
    assert (oracle.wer.value, oracle.score.value, oracle.perfect.value) == (0, 1, 1)
    scores = [p.score.value for p in found.points if p.kind == "noise"]
    assert scores == sorted(scores, reverse=True)
    assert found.slope.value < -0.5
    assert found.slope.interval.low <= found.slope.value <= found.slope.interval.high
    assert found.spearman < -0.9


def test_the_slope_is_the_least_squares_line(found):
    curve = [p for p in found.points if p.kind != "system"]
    line = np.polyfit([p.wer.value for p in curve], [p.score.value for p in curve], 1)
    assert found.slope.value == pytest.approx(line[0])


def test_points_hold_what_error_rates_and_scores_say(found):
    rows = corpus()
    texts = {r.id: r.fields["text"] for r in rows}
    bad = point(found, "bad")
    assert bad.wer.value == pytest.approx(word_errors(texts, heard(rows, 0.4, 2)).rate)
    assert bad.wer.interval.low < bad.wer.value < bad.wer.interval.high
    # This tagger makes no mistake: no understanding of the same text is better.
    assert bad.perfect.value == pytest.approx(bad.score.value)
    assert bad.above_curve.interval.low <= bad.above_curve.value <= bad.above_curve.interval.high


def test_every_text_says_what_became_of_the_entities(found):
    assert found.entities["oracle text"].total("exact") == 120
    bad = found.entities["bad"]
    assert bad.total("near miss") > 30
    assert bad.total("exact") + bad.total("near miss") == 120


def test_pairs_of_other_text_may_fit_the_noise_and_speakers_may_be_drawn():
    rows = corpus(60)
    other = corpus(90, seed=5)
    wrong = heard(other, 0.3)
    pairs = {r.id: (r.fields["text"], wrong[r.id]) for r in other}
    groups = tuple(r.fields["speaker"] for r in rows)
    found = sensitivity(
        "ner",
        rows,
        tag_cities,
        pairs=pairs,
        fitted_on="others",
        levels=(0.2,),
        resampling=Resampling(100, groups=groups),
        options=Options(tags="any"),
    )
    assert (found.units, found.fitted_on) == (30, "others")
    assert point(found, "noise 20 %").wer.value == pytest.approx(0.2, abs=0.04)


def test_the_best_span_is_the_one_that_no_other_beats():
    passage = "the team of the denver broncos won in the santa clara stadium"
    words = passage.split()
    for answer in ("Denver Broncos", "the Santa Clara", "broncos stadium", "nothing"):
        spans = [" ".join(words[a:b]) for a in range(len(words)) for b in range(a + 1, len(words) + 1)]
        best = max(word_overlap(span, answer)[0] for span in spans)
        assert word_overlap(best_answer(passage, [answer]), answer)[0] == pytest.approx(best)
    assert best_answer("", ["x"]) == ""


def test_rank_correlation_equals_scipy():
    from scipy.stats import spearmanr

    x, y = [0.1, 0.2, 0.2, 0.5, 0.9], [0.9, 0.5, 0.6, 0.6, 0.1]
    assert _spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert _spearman([1, 1], [0, 1]) is None


def test_what_cannot_be_analysed_is_one_sentence():
    rows = corpus(30)
    with pytest.raises(UserError, match="is not a text task"):
        sensitivity("localisation", rows, tag_cities)
    with pytest.raises(UserError, match=r"no data to fit the error model"):
        sensitivity("ner", rows, tag_cities)
    with pytest.raises(UserError, match="asr: 30 of 30 utterances are missing"):
        sensitivity("ner", rows, tag_cities, systems={"asr": {"x": "y"}})
    with pytest.raises(UserError, match="no rows to score"):
        sensitivity("ner", [], tag_cities)
    with pytest.raises(UserError, match=r"row 0: 0.*no text"):
        sensitivity("ner", [Row("0", "row 0", {"ner": None})], tag_cities)


def test_the_command_writes_json_and_a_page_without_markup_from_transcripts(tmp_path):
    from speechkit.slue.systems.small_text_model import SmallTextModel
    from speechkit.slue.systems.text_examples import read_text_examples
    from speechkit.slue.systems.text_training import TextTrainingConfig, train_text_model

    rows = corpus(90)
    reference = tmp_path / "ref.jsonl"
    reference.write_text("".join(json.dumps({"id": r.id, **r.fields}) + "\n" for r in rows))
    texts = heard(rows, 0.2)
    texts["0"] = "<script>alert(1)</script> " + texts["0"]
    asr = tmp_path / "asr.jsonl"
    asr.write_text("".join(json.dumps({"id": i, "pred_text": t}) + "\n" for i, t in texts.items()))
    shape = SmallTextModel(layers=1, width=32, heads=2, vocabulary=200, positions=64, dropout=0.0)
    config = TextTrainingConfig(small=shape, steps=60, batch_size=8, learning_rate=5e-3, evaluate_every=60)
    examples = read_text_examples("ner", reference)
    train_text_model("ner", examples, examples[:20], config, tmp_path / "exp", log=lambda line: None)
    arguments = ["sensitivity", "ner", str(reference), "--model", str(tmp_path / "exp/model"), "--system", f"asr={asr}"]
    options = ["--levels", "10,30", "--resamples", "50", "--out", str(tmp_path / "out"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert "points of f1 per point of word error rate" in done.output
    page = (tmp_path / "out/report.html").read_text()
    assert "noise 30 %" in page
    assert "<script>alert" not in page
    assert json.loads((tmp_path / "out/sensitivity.json").read_text())["fitted_on"] == "asr"
    done = CliRunner().invoke(app, [*arguments, *options, "--levels", "x"])
    assert "not percentages" in str(done.exception)
