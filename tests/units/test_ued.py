"""Claims about the unit edit distance: known edits are counted, by corpus, and the interval covers the value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.augment.perturbations import CONTROLS, FOREIGN
from speechkit.errors import UserError
from speechkit.units.ued import count_edits, ued_reduction, ued_score, ued_table

sequences = st.lists(st.integers(0, 4), max_size=14)


def slow_distance(a, b):
    """Levenshtein by its recursion."""
    table = {}
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if not i or not j:
                table[i, j] = i + j
            else:
                change = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
                table[i, j] = min(change, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return table[len(a), len(b)]


def runs(units):
    return [u for place, u in enumerate(units) if not place or u != units[place - 1]]


@given(sequences, sequences)
def test_edits_are_those_of_the_recursion_over_runs(a, b):
    edits = count_edits({"x": np.array(a, int)}, {"x": np.array(b, int)})
    clean, changed, substitutions, deletions, insertions = edits.counts[0]
    assert substitutions + deletions + insertions == slow_distance(runs(a), runs(b))
    assert (clean, changed) == (len(runs(a)), len(runs(b)))
    assert clean - deletions == changed - insertions


def test_slow_speech_is_no_edit_and_the_same_units_are_no_distance():
    clean = {"a": np.array([1, 2, 2, 3]), "b": np.array([5])}
    slow = {"a": np.array([1, 1, 1, 2, 2, 2, 2, 3, 3]), "b": np.array([5, 5])}
    score = ued_score([count_edits(clean, slow)])
    assert score.ued == 0
    assert (score.interval.low, score.interval.high) == (0, 0)
    assert score.clean_units == score.changed_units == 4


def test_the_rate_is_that_of_the_corpus_and_not_the_mean_of_utterances():
    clean = {"long": np.arange(9), "short": np.array([7])}
    changed = {"long": np.arange(9), "short": np.array([8])}
    score = ued_score([count_edits(clean, changed)])
    assert score.ued == pytest.approx(0.1)
    assert score.interval.low <= score.ued <= score.interval.high
    assert (score.substitutions, score.deletions, score.insertions) == (1, 0, 0)


def test_the_table_keeps_what_cannot_be_heard_apart():
    clean = {str(n): np.arange(10) for n in range(20)}
    noisy = {str(n): np.arange(10)[::2] for n in range(20)}
    table = ued_table(clean, {"noise": noisy, "shift": clean}, ["shift"])
    assert table.overall.ued == table.scores["noise"].ued == 0.5
    assert table.floor.ued == 0
    assert table.interval_over == "utterances"
    speakers = {str(n): str(n // 2) for n in range(20)}
    assert ued_table(clean, {"noise": noisy}, ["shift"], speakers).interval_over == "speakers"
    assert ued_table(clean, {"noise": noisy}, ["shift"]).floor is None


def test_further_implementations_are_audible():
    clean = {str(n): np.arange(10) for n in range(20)}
    noisy = {str(n): np.arange(10)[::2] for n in range(20)}
    table = ued_table(clean, dict.fromkeys(FOREIGN, noisy) | {"shift": clean}, CONTROLS)
    assert (table.overall.ued, table.floor.ued) == (0.5, 0)


def test_a_reduction_is_of_the_same_utterances():
    clean = {str(n): np.arange(10) for n in range(20)}
    bad = count_edits(clean, {name: units[::2] for name, units in clean.items()})
    good = count_edits(clean, {name: units[:8] for name, units in clean.items()})
    found = ued_reduction([bad], [good])
    assert found.reduction == pytest.approx(0.6)
    assert found.interval.low == pytest.approx(found.interval.high)
    other = count_edits({"z": np.arange(3)}, {"z": np.arange(3)})
    with pytest.raises(UserError, match="different utterances"):
        ued_reduction([bad], [other])


def test_units_that_stay_have_no_edits_to_lose():
    clean = {str(n): np.arange(10) for n in range(20)}
    still, moved = count_edits(clean, clean), count_edits(clean, {name: units[::2] for name, units in clean.items()})
    assert ued_reduction([still], [still]) is None
    assert ued_reduction([still], [moved]) is None
    # One edit in all: most draws of utterances have none of it.
    once = count_edits(clean, clean | {"0": np.arange(9)})
    assert ued_reduction([once], [still]) is None
    assert ued_reduction([moved], [still]).reduction == 1


def test_an_utterance_on_one_side_or_none_at_all_is_refused():
    with pytest.raises(UserError, match="missing among the hypotheses"):
        count_edits({"a": np.arange(3)}, {})
    with pytest.raises(UserError, match="no units"):
        count_edits({}, {})
    with pytest.raises(UserError, match="same utterances"):
        ued_score([])


def test_units_that_appear_from_nothing_are_infinitely_many():
    silent = count_edits({"a": np.zeros(0, int)}, {"a": np.array([1])})
    assert ued_score([silent]).ued == np.inf
    nothing = count_edits({"a": np.zeros(0, int)}, {"a": np.zeros(0, int)})
    assert ued_score([nothing]).ued == 0
