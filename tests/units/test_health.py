from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.units.health import codebook_health, label_agreement

UNITS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=30), min_size=1, max_size=5)


def entropy(values):
    counts = Counter(values)
    return -sum(n / len(values) * math.log2(n / len(values)) for n in counts.values())


@given(UNITS)
def test_health_equals_counting(items):
    found = codebook_health([np.array(units) for units in items], 7)
    flat = [unit for units in items for unit in units]
    runs = [unit for units in items for place, unit in enumerate(units) if place == 0 or units[place - 1] != unit]
    assert found.perplexity == pytest.approx(2 ** entropy(flat))
    assert found.dead == 7 - len(set(flat))
    assert found.top_share == pytest.approx(max(Counter(flat).values()) / len(flat))
    assert found.runs == len(runs)
    assert found.units_per_second == pytest.approx(50 * len(runs) / len(flat))
    assert found.bits_per_second == pytest.approx(entropy(runs) * found.units_per_second)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", None])), min_size=1, max_size=60))
def test_agreement_equals_its_definition(pairs):
    units, labels = np.array([u for u, _ in pairs]), [label for _, label in pairs]
    known = [(u, label) for u, label in pairs if label is not None]
    if not known:
        with pytest.raises(UserError, match="no frame has a label"):
            label_agreement([units], [labels])
        return
    found = label_agreement([units], [labels])
    of_units, of_labels = [u for u, _ in known], [label for _, label in known]
    information = entropy(of_units) + entropy(of_labels) - entropy(known)
    assert found.mutual_information == pytest.approx(information, abs=1e-9)
    joint = Counter(known)
    best = sum(max(n for (unit, _), n in joint.items() if unit == u) for u in set(of_units))
    assert found.label_purity == pytest.approx(best / len(known))
    best = sum(max(n for (_, name), n in joint.items() if name == label) for label in set(of_labels))
    assert found.unit_purity == pytest.approx(best / len(known))


def test_units_that_are_the_labels_tell_all_of_them_and_one_unit_tells_nothing():
    labels = [list("aabbc")]
    same = label_agreement([np.array([0, 0, 1, 1, 2])], labels)
    assert (same.normalized_information, same.label_purity, same.unit_purity) == pytest.approx((1, 1, 1))
    assert label_agreement([np.zeros(5, int)], labels).mutual_information == pytest.approx(0, abs=1e-12)


def test_nothing_to_judge_and_foreign_units_are_refused():
    with pytest.raises(UserError, match="there are no units"):
        codebook_health([np.zeros(0, int)], 3)
    with pytest.raises(UserError, match=r"unit.*3.*codebook.*3"):
        codebook_health([np.array([0, 3])], 3)
    with pytest.raises(UserError, match="2 units but 1 labels"):
        label_agreement([np.array([0, 1])], [["a"]])


def test_labels_that_have_nothing_to_do_with_units_tell_what_chance_tells():
    random = np.random.default_rng(0)
    units, labels = np.repeat(random.integers(50, size=400), 3), np.repeat(random.integers(20, size=400), 3)
    names = [str(label) for label in labels]
    foreign = label_agreement([units], [names])
    assert foreign.normalized_information == pytest.approx(foreign.chance_information, abs=0.03)
    assert foreign.chance_information > 0.2
    own = label_agreement([labels], [names])
    assert own.normalized_information == pytest.approx(1)
    assert own.chance_information < 0.3
    assert label_agreement([np.array([1])], [["a"]]).chance_information == 0
