"""Intervals of macro F1 cover what they say, however many classes a draw lacks; systems are averaged over one set."""

from __future__ import annotations

import json

import numpy as np
import pytest

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import percentile_interval
from speechkit.slue.fields import Options
from speechkit.slue.fields.labels import NO_LABEL, score_intents
from speechkit.slue.metrics.classification import score_label_sets, score_labels
from speechkit.slue.metrics.entities import score_entities
from speechkit.slue.metrics.measures import Resampling
from speechkit.slue.scoring import score_files

CLASSES = 45


def population(random, shares):
    """Row c: how likely a system says each class where c is true; rights of 50 to 95 %, wrongs to frequent classes."""
    rights, wrongs = random.uniform(0.5, 0.95, CLASSES), np.tile(shares**0.5, (CLASSES, 1))
    np.fill_diagonal(wrongs, 0)
    confusion = (1 - rights)[:, None] * wrongs / wrongs.sum(axis=1, keepdims=True)
    np.fill_diagonal(confusion, rights)
    return confusion


def predictions(random, gold, confusion):
    chosen = (random.random(len(gold))[:, None] > confusion.cumsum(axis=1)[gold]).sum(axis=1)
    return chosen.clip(max=CLASSES - 1)


def true_f1(shares, confusion):
    """F1 of each class in endlessly many utterances."""
    return 2 * shares * np.diag(confusion) / (shares + shares @ confusion)


# Measured on these seeds, classes equally frequent and by Zipf's law: 93 and 100 % with 200 utterances, 97 and 97 %
# with 416, 95 and 92 % with 2,000; the difference of two systems 93 to 98 %. Draws of the mean itself covered 55 and
# 61, 81 and 67, 88 and 87 % of such truths.
@pytest.mark.slow
@pytest.mark.parametrize("zipf", [0.0, 1.0])
@pytest.mark.parametrize("utterances", [200, 416, 2000])
def test_an_interval_of_45_classes_covers_the_truth(utterances, zipf):
    random = np.random.default_rng(utterances)
    shares = np.arange(1, CLASSES + 1) ** -zipf
    shares /= shares.sum()
    systems = [population(random, shares) for _ in range(2)]
    trials, covered, difference_covered = 60, 0, 0
    for trial in range(trials):
        gold = random.choice(CLASSES, utterances, p=shares)
        seen = np.unique(gold)
        truths = [true_f1(shares, confusion)[seen].mean() for confusion in systems]
        scores = [
            score_intents(
                gold.astype(str).tolist(),
                predictions(random, gold, confusion).astype(str).tolist(),
                [str(index) for index in range(utterances)],
                Options(),
                Resampling(300, trial),
            )
            for confusion in systems
        ]
        interval = scores[0].measures["macro_f1"].interval
        covered += interval.low <= truths[0] <= interval.high
        apart = percentile_interval(np.subtract(scores[0].draws, scores[1].draws), 0.95, utterances)
        difference_covered += apart.low <= truths[0] - truths[1] <= apart.high
    assert covered / trials >= 0.85
    assert difference_covered / trials >= 0.85


def test_the_draws_have_the_jackknife_deviation_and_are_centred_on_the_value():
    random = np.random.default_rng(5)
    gold = random.choice(list("aaaaabbbccd"), 40).tolist()
    predicted = [g if random.random() < 0.7 else "a" for g in gold]
    without = np.array(
        [
            score_labels(
                gold[:i] + gold[i + 1 :], predicted[:i] + predicted[i + 1 :], "abcd", resampling=Resampling(0)
            ).value
            for i in range(len(gold))
        ]
    )
    score = score_labels(gold, predicted, "abcd", resampling=Resampling(20_000))
    deviation = np.sqrt((len(gold) - 1) / len(gold) * ((without - without.mean()) ** 2).sum())
    # (n - 1) / n: a bootstrap of the mean has the variance of n units, not of n - 1.
    assert np.std(score.draws) == pytest.approx(deviation * np.sqrt(39 / 40), rel=0.03)
    assert np.mean(score.draws) == pytest.approx(score.value, abs=3 * deviation / np.sqrt(20_000))


def test_a_class_of_one_utterance_does_not_pull_the_interval_below_the_value():
    gold = [f"intent {index}" for index in range(40)]
    score = score_intents(gold, gold, gold, Options(), Resampling(400))
    interval = score.measures["macro_f1"].interval
    assert (interval.low, score.value, interval.high) == (1, 1, 1)


def test_the_bounds_stay_between_0_and_1():
    gold = [*"aaaaaaaaaabb"]
    score = score_label_sets(gold, [*"aaaaaaaaaaba"], "ab", resampling=Resampling(400))
    interval = score.measures["macro_f1"].interval
    assert 0 <= interval.low < score.value < interval.high == 1
    # The draws themselves stay as they are, so that differences of systems keep their spread.
    assert max(score.draws) > 1


def test_whole_speakers_are_left_out_at_once():
    random = np.random.default_rng(2)
    gold = random.choice(list("abc"), 60).tolist()
    predicted = [g if (index // 6) % 2 else "a" for index, g in enumerate(gold)]
    by_speaker = Resampling(2000, groups=tuple(index // 6 for index in range(60)))
    alone, whole = (score_labels(gold, predicted, "abc", resampling=r) for r in (Resampling(2000), by_speaker))
    assert whole.value == alone.value
    assert np.std(whole.draws) > 1.3 * np.std(alone.draws)


def test_two_systems_are_averaged_over_the_classes_of_the_references(tmp_path):
    gold = ["on", "off", "on", "off"]
    rows = {
        "ref": [{"id": str(i), "intent": g} for i, g in enumerate(gold)],
        "one": [{"id": str(i), "intent": g} for i, g in enumerate(["on", "off", "on", "up"])],
        "two": [{"id": str(i), "intent": g} for i, g in enumerate(["on", "off", "on", "on"])],
    }
    for name, some in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]
    found = score_files("intent", tmp_path / "ref.jsonl", files)
    one, two = (system.score for system in found.systems)
    assert list(one.classes) == list(two.classes) == ["off", "on"]
    assert one.value == pytest.approx((1 + 2 / 3) / 2)
    assert two.value == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert one.settings["mean over"] == "labels of the references"
    assert any(
        "one: 1 predictions are intents that occur in no reference (up)" in warning for warning in found.warnings
    )
    assert not any("two:" in warning and "occur in no reference" in warning for warning in found.warnings)
    as_toolkit = score_files("intent", tmp_path / "ref.jsonl", files, options=Options(compat=True))
    assert as_toolkit.systems[0].score.value == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_entity_tags_are_averaged_over_those_of_the_references():
    gold = [[("ORG", "eu")], [("PLACE", "rome")], [("ORG", "un")]]
    found = [[("ORG", "eu"), ("LAW", "act")], [("PLACE", "rome")], []]
    score = score_entities(gold, found, resampling=Resampling(200))
    macro = score.measures["macro_f1"]
    assert macro.value == pytest.approx((2 / 3 + 1) / 2)
    assert macro.interval.low < macro.value < macro.interval.high
    as_toolkit = score_entities(gold, found, compat=True, resampling=Resampling(0))
    assert as_toolkit.measures["macro_f1"].value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert score.value == as_toolkit.value
    assert score_entities([[]], [[("ORG", "eu")]], resampling=Resampling(0)).measures["macro_f1"].value is None


def test_a_missing_prediction_is_no_class():
    score = score_intents(["a", "b"], [NO_LABEL, "b"], ["1", "2"], Options(), Resampling(0))
    assert list(score.classes) == ["a", "b"]
    assert score.value == pytest.approx(0.5)


def test_given_labels_are_kept_and_others_refused():
    score = score_intents(["a", "b"], ["a", "b"], ["1", "2"], Options(labels=("a", "b", "c")), Resampling(0))
    assert score.value == pytest.approx(2 / 3)
    with pytest.raises(UserError, match="unknown label 'd' in the prediction; use one of a, b, c"):
        score_intents(["a", "b"], ["a", "d"], ["1", "2"], Options(labels=("a", "b", "c")), Resampling(0))
