from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics import boundary_errors, detection, reliability


def test_detection_rates_follow_their_definitions():
    found = detection(90, 10, 30)
    assert found.precision == pytest.approx(0.9)
    assert found.recall == pytest.approx(0.75)
    assert found.f1 == pytest.approx(2 * 0.9 * 0.75 / 1.65)
    for value, interval in [
        (found.precision, found.precision_interval),
        (found.recall, found.recall_interval),
        (found.f1, found.f1_interval),
    ]:
        assert 0 <= interval.low < value < interval.high <= 1


def test_counts_of_recordings_add_up_and_are_drawn_whole():
    found = detection([45, 45], [0, 10], [30, 0])
    assert (found.true_positives, found.false_positives, found.false_negatives) == (90, 10, 30)
    assert found.precision_interval.units == 2
    assert found.precision_interval.low == pytest.approx(45 / 55)
    assert found.precision_interval.high == 1


def test_nothing_found_has_no_precision():
    found = detection(0, 0, 5)
    assert (found.precision, found.recall, found.f1) == (0, 0, 0)
    assert detection(0, 0, 0).f1_interval.high == 0


@pytest.mark.parametrize("counts", [(-1, 0, 0), (0.5, 0, 0), ([1, 2], [1], [1])])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(UserError, match="counts have"):
        detection(*counts)


def test_boundary_errors_are_absolute_and_the_bias_is_signed():
    found = boundary_errors([1.0, 2.0, 3.0, 4.0], [1.1, 1.9, 3.3, 4.1])
    assert found.count == 4
    assert found.median == pytest.approx(0.1)
    assert found.maximum == pytest.approx(0.3)
    assert found.bias == pytest.approx(0.1)
    assert found.p95 == pytest.approx(np.quantile([0.1, 0.1, 0.3, 0.1], 0.95))


@pytest.mark.parametrize(("true", "found"), [([1.0], [1.0, 2.0]), ([], []), ([1.0], [float("nan")])])
def test_boundaries_that_cannot_be_compared_are_refused(true, found):
    with pytest.raises(UserError):
        boundary_errors(true, found)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from(["width", "mass"]),
)
@settings(max_examples=200)
def test_every_item_is_in_one_bin_and_the_sums_agree_with_a_loop(items, bins, binning):
    table = reliability([p for p, _ in items], [r for _, r in items], bins=bins, binning=binning)
    assert sum(b.count for b in table.bins) == len(items) == table.count
    expected, largest = 0.0, 0.0
    for i, b in enumerate(table.bins):
        last = b.high >= max(p for p, _ in items) and i == len(table.bins) - 1
        inside = [(p, r) for p, r in items if b.low <= p < b.high or (last and p == b.high)]
        assert len(inside) == b.count
        gap = abs(sum(p for p, _ in inside) / len(inside) - sum(r for _, r in inside) / len(inside))
        expected, largest = expected + gap * len(inside) / len(items), max(largest, gap)
    assert table.expected_error == pytest.approx(expected, abs=1e-9)
    assert table.maximum_error == pytest.approx(largest, abs=1e-9)
    assert table.brier == pytest.approx(np.mean([(p - r) ** 2 for p, r in items]))


def test_probabilities_that_hold_have_little_error_and_overconfident_ones_much():
    generator = np.random.default_rng(0)
    truth = generator.uniform(0, 1, 20_000)
    right = generator.uniform(0, 1, 20_000) < truth
    assert reliability(truth, right).expected_error < 0.02
    assert reliability(np.sqrt(truth), right).expected_error > 0.1


@pytest.mark.parametrize(
    ("probabilities", "outcomes", "options"),
    [
        ([0.5, float("nan")], [1, 0], {}),
        ([-3.0], [1], {}),
        ([0.5], [2], {}),
        ([0.5], [1, 0], {}),
        ([0.5], [1], {"bins": 0}),
        ([0.5], [1], {"binning": "other"}),
    ],
)
def test_values_that_are_no_probabilities_are_refused(probabilities, outcomes, options):
    with pytest.raises(UserError):
        reliability(probabilities, outcomes, **options)
