"""Bigrams of units against counts in plain words."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.units.invariant.bigram import estimate_bigram, switch_costs

UNITS = 4
items = st.lists(st.lists(st.integers(0, UNITS - 1), max_size=12), max_size=5)


def runs_of(units: list[int]) -> list[int]:
    return [unit for place, unit in enumerate(units) if place == 0 or units[place - 1] != unit]


@given(items)
def test_a_bigram_is_what_counting_gives(recordings: list[list[int]]) -> None:
    runs = [runs_of(units) for units in recordings]
    singles = Counter(unit for each in runs for unit in each)
    pairs = Counter(pair for each in runs for pair in pairwise(each))
    found = estimate_bigram([np.array(units, np.int32) for units in recordings], UNITS)
    for first in range(UNITS):
        seen = sum(pairs[first, other] for other in range(UNITS))
        kinds = sum(pairs[first, other] > 0 for other in range(UNITS))
        others = sum(singles[other] + 0.5 for other in range(UNITS) if other != first)
        for second in range(UNITS):
            if first == second or not seen:
                assert found[first, second] == 0
                continue
            share = (singles[second] + 0.5) / others
            likely = (pairs[first, second] + kinds * share) / (seen + kinds)
            assert found[first, second] == pytest.approx(log(likely / share), abs=1e-5)


@given(items)
def test_what_may_follow_a_unit_adds_up_to_one(recordings: list[list[int]]) -> None:
    found = estimate_bigram([np.array(units, np.int32) for units in recordings], UNITS)
    singles = np.full(UNITS, 0.5) + np.bincount([u for each in recordings for u in runs_of(each)], minlength=UNITS)
    for first in range(UNITS):
        share = [0 if second == first else singles[second] for second in range(UNITS)]
        total = sum(exp(found[first, second]) * share[second] / sum(share) for second in range(UNITS))
        assert total == pytest.approx(1, abs=1e-5)


def test_what_often_follows_costs_less_and_nothing_costs_less_than_nothing() -> None:
    bigram = estimate_bigram([np.array([0, 1, 0, 1, 0, 1, 2] * 20)], 3)
    costs = switch_costs(bigram, 0.5, 0.25)
    assert costs[0, 1] < costs[0, 2]
    assert not np.diag(costs).any()
    assert switch_costs(bigram, 0.0, 1.0).min() == 0
    np.testing.assert_array_equal(switch_costs(bigram, 0.5, 0.0), 0.5 * (1 - np.eye(3)))


def test_a_single_unit_has_nothing_to_follow_it() -> None:
    assert estimate_bigram([np.zeros(5, np.int32)], 1).tolist() == [[0.0]]


@pytest.mark.parametrize("units", [[0, 3], [-1, 0]])
def test_a_unit_out_of_range_is_refused(units: list[int]) -> None:
    with pytest.raises(UserError, match="there are 3"):
        estimate_bigram([np.array(units)], 3)
