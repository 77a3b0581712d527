"""Claims about ABX: the counts are those of all triples one by one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.encoders.probing.abx import abx_difference, abx_pair_errors, abx_score
from speechkit.errors import UserError


def obvious(distances, words, speakers, across):
    """Every triple by itself: cells by speakers, their mean a pair of words."""
    cells = defaultdict(list)
    tokens = range(len(words))
    for x in tokens:
        for a in tokens:
            for b in tokens:
                if a == x or words[a] != words[x] or words[b] == words[x] or speakers[a] != speakers[b]:
                    continue
                if (speakers[a] != speakers[x]) != across:
                    continue
                error = float(distances[x, a] > distances[x, b]) + 0.5 * float(distances[x, a] == distances[x, b])
                cells[words[x], words[b], speakers[a], speakers[x]].append(error)
    pairs = defaultdict(list)
    for (a, b, _, _), errors in cells.items():
        pairs[a, b].append(np.mean(errors))
    return {pair: np.mean(values) for pair, values in pairs.items()}, sum(len(v) for v in cells.values())


TOKENS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), min_size=2, max_size=14)


@given(TOKENS, st.booleans(), st.integers(0, 10**6))
def test_errors_are_those_of_all_triples_one_by_one(tokens, across, seed):
    words, speakers = [w for w, _ in tokens], [s for _, s in tokens]
    drawn = np.random.default_rng(seed).integers(0, 6, (len(tokens), len(tokens)))  # small integers: many ties
    distances = (drawn + drawn.T).astype(float)
    errors, triples = abx_pair_errors(distances, words, speakers, across=across)
    wanted, count = obvious(distances, words, speakers, across)
    names = list(dict.fromkeys(words))
    found = {
        (names[i], names[j]): errors[i, j]
        for i in range(len(names))
        for j in range(len(names))
        if np.isfinite(errors[i, j])
    }
    assert triples == count
    assert found == pytest.approx(wanted)


def test_a_perfect_space_has_no_error_and_a_blind_one_half():
    words, speakers = ["a", "a", "b", "b"] * 2, ["s"] * 4 + ["t"] * 4
    same = np.array([[v == w for v in words] for w in words])
    for across in (False, True):
        assert abx_score(1.0 - same, words, speakers, across=across).error == 0
        assert abx_score(np.ones((8, 8)), words, speakers, across=across).error == 0.5
        assert abx_score(1.0 * same, words, speakers, across=across).error == 1


def test_the_interval_holds_the_error_and_says_over_how_many_words():
    generator = np.random.default_rng(0)
    words, speakers = list("abcdefgh") * 8, list("stuv") * 16
    score = abx_score(generator.random((64, 64)), words, speakers, across=False, seed=1)
    assert score.interval.low < score.error < score.interval.high
    assert score.interval.units == score.words
    assert abs(score.error - 0.5) < 0.1


def test_tokens_without_a_triple_are_refused():
    with pytest.raises(UserError, match=r"a word of two speakers"):
        abx_score(np.zeros((2, 2)), ["a", "b"], ["s", "s"], across=True)
    with pytest.raises(UserError, match="a word twice of one speaker"):
        abx_score(np.zeros((2, 2)), ["a", "b"], ["s", "s"], across=False)
    with pytest.raises(UserError, match="one of each per token"):
        abx_score(np.zeros((2, 2)), ["a"], ["s"], across=False)


@pytest.mark.parametrize("across", [False, True])
def test_differences_are_paired(across):
    random = np.random.default_rng(0)
    words, speakers = list("aabbccddee" * 3), ["x", "y"] * 15
    first = random.random((30, 30))
    second = first + 0.3 * random.random((30, 30))
    scores = [abx_score(each, words, speakers, across=across).error for each in (first, second)]
    found = abx_difference([first], second, words, speakers, across=across)
    assert found.difference == pytest.approx(scores[1] - scores[0])
    assert found.interval.low <= found.difference <= found.interval.high
    alone = abx_score(second, words, speakers, across=across).interval
    assert found.interval.high - found.interval.low < 2 * (alone.high - alone.low)
    same = abx_difference([first], first * 2, words, speakers, across=across)  # only the order of distances counts
    assert (same.difference, same.interval.low, same.interval.high) == (0, 0, 0)
    of_both = abx_difference([first, second], second, words, speakers, across=across)
    assert of_both.difference == pytest.approx(found.difference / 2)
    with pytest.raises(UserError, match="nothing to compare"):
        abx_difference([], second, words, speakers, across=across)
    with pytest.raises(UserError, match="no ABX triple"):
        abx_difference([first[:2, :2]], first[:2, :2], "ab", "xx", across=across)
