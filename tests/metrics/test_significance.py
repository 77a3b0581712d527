from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics import word_errors
from speechkit.metrics.significance import (
    binomial_p,
    bootstrap_rates,
    holm,
    matched_pairs,
    mcnemar,
    paired_difference,
)

WORDS = st.lists(st.sampled_from("abcd"), max_size=14)


def slow_segments(one, two):
    """Segments by walking over words and gaps one by one."""

    def marks(utterance):
        gaps, words = [0] * (len(utterance.reference) + 1), [0] * len(utterance.reference)
        for o in utterance.operations:
            if o.kind == "insert":
                gaps[o.reference_begin] += o.hypothesis_end - o.hypothesis_begin
            elif o.kind != "equal":
                for i in range(o.reference_begin, o.reference_end):
                    words[i] += 1
        return gaps, words

    (gaps1, words1), (gaps2, words2) = marks(one), marks(two)
    segments, current, good = [], [0, 0], 0
    for i in range(len(words1) + 1):
        if gaps1[i] or gaps2[i]:
            current, good = [current[0] + gaps1[i], current[1] + gaps2[i]], 0
        if i == len(words1):
            break
        if words1[i] or words2[i]:
            current, good = [current[0] + words1[i], current[1] + words2[i]], 0
        else:
            good += 1
            if good == 2 and current != [0, 0]:
                segments.append(current)
                current = [0, 0]
    return segments + ([current] if current != [0, 0] else [])


@settings(max_examples=200)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4))
def test_matched_pairs_equal_a_walk_over_all_words(triples):
    texts = [{str(i): " ".join(t[k]) for i, t in enumerate(triples)} for k in range(3)]
    one, two = word_errors(texts[0], texts[1]), word_errors(texts[0], texts[2])
    found = matched_pairs(one, two)
    pairs = [p for a, b in zip(one.utterances, two.utterances, strict=True) for p in slow_segments(a, b)]
    assert found.segments == len(pairs)
    if len(pairs) >= 2:
        differences = np.array([a - b for a, b in pairs], float)
        assert found.mean == pytest.approx(differences.mean())
        if differences.std(ddof=1) > 0:
            z = differences.mean() / (differences.std(ddof=1) / math.sqrt(len(pairs)))
            assert found.z == pytest.approx(z)
            assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(z), len(pairs) - 1))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 9), (10, 10), (2, 30), (49_000, 51_000)])
def test_binomial_p_equals_the_exact_binomial_test(first, second):
    wanted = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert binomial_p(first, second) == pytest.approx(wanted)


def test_mcnemar_counts_utterances_that_only_one_system_has_wrong():
    reference = {str(i): "a b" for i in range(12)}
    good = word_errors(reference, reference)
    bad = word_errors(reference, {**{str(i): "a b" for i in range(3)}, **{str(i): "x b" for i in range(3, 12)}})
    found = mcnemar(good, bad)
    assert (found.only_first_wrong, found.only_second_wrong) == (0, 9)
    assert found.p_value == pytest.approx(2 / 2**9)
    with pytest.raises(UserError, match="same utterances"):
        mcnemar(good, word_errors({"x": "a"}, {"x": "a"}))


def test_the_paired_interval_holds_the_difference_and_p_is_small_only_for_a_real_one():
    random = np.random.default_rng(1)
    tokens = np.full((60, 2), 10.0)
    base = random.integers(0, 4, 60).astype(float)
    worse = bootstrap_rates(np.stack([base + 1, base], 1), tokens, resamples=500, seed=0)
    found = paired_difference(worse, 0, 1, 0.95)
    assert found.difference == pytest.approx(0.1)
    assert found.interval.low == pytest.approx(0.1)  # every unit differs by the same: no spread is left
    assert found.p_value == 2.0**-59  # sixty tosses of a coin that fall alike
    noise = random.permutation(np.repeat([1.0, -1.0], 30))
    same = bootstrap_rates(np.stack([base + 1 + noise, base + 1], 1), tokens, resamples=500, seed=0)
    assert paired_difference(same, 0, 1, 0.95).p_value > 0.2
    equal = bootstrap_rates(np.stack([base, base], 1), tokens, resamples=50, seed=0)
    assert paired_difference(equal, 0, 1, 0.95).p_value == 1.0


def test_matched_pairs_of_many_segments_follow_the_normal_and_of_few_alike_a_coin():
    reference = {str(i): "a b" for i in range(60)}
    wrong = {str(i): "x y" if i < 40 else "a z" for i in range(60)}
    found = matched_pairs(word_errors(reference, wrong), word_errors(reference, reference))
    assert found.segments == 60
    assert found.p_value == pytest.approx(math.erfc(found.z / math.sqrt(2)))
    two = {key: reference[key] for key in "01"}
    alike = matched_pairs(word_errors(two, {"0": "x b", "1": "x b"}), word_errors(two, two))
    assert (alike.segments, alike.p_value) == (2, 0.5)


def test_p_becomes_as_small_as_many_comparisons_need_and_counts_draws_where_there_are_some():
    random = np.random.default_rng(3)
    tokens = np.full((200, 2), 10.0)
    base = random.integers(0, 4, 200).astype(float)
    clear = bootstrap_rates(np.stack([base + random.integers(0, 3, 200), base], 1), tokens, resamples=2000, seed=0)
    assert paired_difference(clear, 0, 1, 0.95).p_value < 1e-12
    change = random.normal(0.1, 1.0, 200)
    near = bootstrap_rates(np.stack([base + change, base], 1), tokens, resamples=2000, seed=0)
    drawn = near.resampled[:, 0] - near.resampled[:, 1]
    p_value = paired_difference(near, 0, 1, 0.95).p_value
    assert p_value == pytest.approx(2 * (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / 2001)
    assert p_value == pytest.approx(scipy.stats.ttest_1samp(change, 0).pvalue, abs=0.03)


@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_p_values_of_equal_systems_are_uniform_enough(seed):
    """Two systems with the same error rate: about one in twenty pairs may differ at .05, and none at 1e-6."""
    random = np.random.default_rng(seed)
    tokens = np.full((100, 2), 10.0)
    found = [
        paired_difference(
            bootstrap_rates(random.poisson(1.0, (100, 2)).astype(float), tokens, resamples=300, seed=0), 0, 1, 0.95
        ).p_value
        for _ in range(60)
    ]
    assert np.mean(np.array(found) < 0.05) < 0.25
    assert min(found) > 1e-6


def test_the_bootstrap_agrees_with_every_possible_draw_of_three_units():
    errors, tokens = np.array([[0.0, 1], [2, 1], [4, 4]]), np.array([[4.0, 4], [4, 4], [6, 6]])
    draws = list(itertools.product(range(3), repeat=3))
    exact = [sum(errors[i, 0] - errors[i, 1] for i in d) / sum(tokens[i, 0] for i in d) for d in draws]
    share = sum(value <= 1e-12 for value in exact) / len(draws)
    drawn = bootstrap_rates(errors, tokens, resamples=20_000, seed=5)
    differences = drawn.resampled[:, 0] - drawn.resampled[:, 1]
    assert (differences <= 1e-12).mean() == pytest.approx(share, abs=0.02)
    assert differences.mean() == pytest.approx(np.mean(exact), abs=0.01)


def test_holm_adjusts_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
