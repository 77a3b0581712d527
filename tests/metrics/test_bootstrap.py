from __future__ import annotations

import random

import numpy as np
import pytest

from speechkit.errors import UserError
from speechkit.metrics import bootstrap_ratio


def slow_interval(numerators, denominators, resamples, seed):
    """Draw items one at a time."""
    draw = random.Random(seed)
    n = len(numerators)
    values = []
    for _ in range(resamples):
        chosen = [draw.randrange(n) for _ in range(n)]
        values.append(sum(numerators[i] for i in chosen) / sum(denominators[i] for i in chosen))
    return np.quantile(values, [0.025, 0.975])


def test_interval_agrees_with_drawing_items_one_at_a_time():
    generator = np.random.default_rng(3)
    words = generator.integers(3, 30, 80)
    errors = generator.binomial(words, 0.2)
    fast = bootstrap_ratio(errors, words, resamples=4000)
    low, high = slow_interval(errors.tolist(), words.tolist(), 4000, 1)
    assert fast.low == pytest.approx(low, abs=0.006)
    assert fast.high == pytest.approx(high, abs=0.006)


def test_same_seed_same_interval_other_seed_another():
    errors, words = np.arange(50) % 5, np.full(50, 10)
    assert bootstrap_ratio(errors, words, seed=1) == bootstrap_ratio(errors, words, seed=1)
    assert bootstrap_ratio(errors, words, seed=1) != bootstrap_ratio(errors, words, seed=2)


def test_interval_covers_the_true_rate_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        words = generator.integers(5, 25, 60)
        found = bootstrap_ratio(generator.binomial(words, 0.3), words, resamples=300, seed=trial, confidence=0.9)
        covered += found.low <= 0.3 <= found.high
    assert 0.84 <= covered / 300 <= 0.95


def test_groups_are_drawn_whole():
    one_group = bootstrap_ratio([1, 0, 3], [4, 4, 4], groups=["s", "s", "s"])
    assert one_group.low == one_group.high == pytest.approx(4 / 12)
    assert one_group.units == 1


def test_draws_in_blocks_when_items_are_many():
    found = bootstrap_ratio(np.ones(50_000), np.full(50_000, 4), resamples=200)
    assert found.low == found.high == 0.25


@pytest.mark.parametrize(
    ("numerators", "denominators", "options", "message"),
    [
        ([], [], {}, "at least one item"),
        ([1], [2], {"confidence": 1.0}, "confidence"),
        ([1], [2], {"resamples": 0}, "resamples"),
        ([1], [2], {"seed": -1}, "seed is -1"),
        ([1, 2], [2, 3], {"groups": ["a"]}, "1 groups"),
    ],
)
def test_bad_requests_say_what_to_give(numerators, denominators, options, message):
    with pytest.raises(UserError, match=message):
        bootstrap_ratio(numerators, denominators, **options)
