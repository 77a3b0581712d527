"""Compiled kernels against the plain reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.mining.alignment.affine_kernels import align_with_trace, crossing_of_row, infix_scores
from speechkit.mining.alignment.anchors import chain, runs, shared_windows
from speechkit.mining.alignment.edit_kernels import edit_distance, prefix_distance
from tests.mining.alignment import references

codes = st.lists(st.integers(0, 3), max_size=8).map(lambda items: np.array(items, np.int32))


def random_costs(seed, n):
    rng = np.random.default_rng(seed)
    table = np.round(rng.normal(size=(4, 4)), 1)
    np.fill_diagonal(table, 1.0)
    delete, insert = -np.round(rng.random(4), 1), -np.round(rng.random(4), 1)
    opened, closed, opened_b = (-np.round(2 * rng.random(n + 1), 1) for _ in range(3))
    return table, delete, insert, opened, closed, opened_b


def kernel_arguments(a, b, seed):
    table, delete, insert, opened, closed, opened_b = random_costs(seed, len(a))
    return (a, b, table, 1.0, -1.0, delete[a], insert[b], -0.3, opened, closed, opened_b, -0.05)


def score_of(operations, arguments):
    """Add up a path's score from its operations alone."""
    a, b, table, _, _, delete, insert, short_open, opened, closed, opened_b, extend = arguments
    score, i, j, before = 0.0, 0, 0, 0
    for step in [*operations.tolist(), 0]:
        if before == 3 and step != 3:
            score += closed[i]
        if step != before:
            score += {1: short_open, 2: short_open, 3: opened[i], 4: opened_b[i]}.get(step, 0.0)
        if (i, j) == (len(a), len(b)):
            break
        if step == 0:
            score += table[a[i], b[j]]
        elif step == 1:
            score += delete[i]
        elif step == 2:
            score += insert[j]
        else:
            score += extend
        i, j, before = i + (step in (0, 1, 3)), j + (step in (0, 2, 4)), step
    return score


@settings(max_examples=120)
@given(codes, codes, st.integers(0, 1000))
def test_trace_is_a_best_path_with_two_kinds_of_gaps(a, b, seed):
    arguments = kernel_arguments(a, b, seed)
    trace = np.empty((len(a) + 1) * (len(b) + 1), np.uint8)
    score, operations = align_with_trace(*arguments, 0, 0, trace)
    table, delete, insert, opened, closed, opened_b = random_costs(seed, len(a))
    expected = references.two_piece_matrix(a, b, table, delete[a], insert[b], -0.3, opened, closed, opened_b, -0.05)
    assert score == pytest.approx(expected)
    assert score_of(operations, arguments) == pytest.approx(expected)


@settings(max_examples=120)
@given(codes.filter(lambda a: len(a) > 1), codes, st.integers(0, 1000))
def test_halves_at_the_crossing_add_up_to_the_whole(a, b, seed):
    a_, b_, table, match, mismatch, delete, insert, short_open, opened, closed, opened_b, extend = kernel_arguments(
        a, b, seed
    )
    middle = len(a) // 2

    def part(rows, columns, start, end):
        positions = slice(rows.start, rows.stop + 1)
        trace = np.empty((rows.stop - rows.start + 1) * (columns.stop - columns.start + 1), np.uint8)
        return align_with_trace(
            a_[rows], b_[columns], table, match, mismatch, delete[rows], insert[columns], short_open,
            opened[positions], closed[positions], opened_b[positions], extend, start, end, trace,
        )[0]  # fmt: skip

    whole = part(slice(0, len(a)), slice(0, len(b)), 0, 0)
    score, column, state = crossing_of_row(
        a_, b_, table, match, mismatch, delete, insert, short_open, opened, closed, opened_b, extend, 0, 0, middle
    )
    assert score == pytest.approx(whole)
    first = part(slice(0, middle), slice(0, column), 0, state)
    second = part(slice(middle, len(a)), slice(column, len(b)), state, 0)
    assert first + second == pytest.approx(whole)


@settings(max_examples=60)
@given(codes, codes, st.integers(0, 1000))
def test_infix_score_is_the_best_over_all_stretches(a, b, seed):
    table, delete, insert, *_ = random_costs(seed, len(a))
    scores, begins = infix_scores(a, b, table, 1.0, -1.0, delete[a], insert[b], -0.3)
    assert scores.max() == pytest.approx(references.infix_score(a, b, table, delete[a], insert[b], -0.3))
    assert (begins >= 0).all()
    assert (begins <= np.arange(len(b) + 1)).all()


@given(codes, codes)
def test_edit_distances_equal_the_definition(a, b):
    zero_one = 1.0 * np.eye(4) - 1
    ones = -np.ones(4)
    never = np.full(len(a) + 1, -1e9)
    expected = -references.two_piece_matrix(a, b, zero_one, ones[a], ones[b], 0.0, never, never, never, -1e9)
    assert edit_distance(a, b) == expected
    prefixes = [edit_distance(a, b[:end]) for end in range(len(b) + 1)]
    assert prefix_distance(a, b) == min(prefixes)


@settings(max_examples=80)
@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40), st.integers(2, 4))
def test_shared_windows_are_all_the_rare_ones(a, b, k):
    a, b = np.array(a, np.int32), np.array(b, np.int32)
    expected = []
    words_a = [tuple(a[i : i + k]) for i in range(len(a) - k + 1)]
    words_b = [tuple(b[j : j + k]) for j in range(len(b) - k + 1)]
    for i, word in enumerate(words_a):
        rare = words_a.count(word) * words_b.count(word) <= 4
        expected += [(i, j) for j in reversed(range(len(words_b))) if word == words_b[j] and rare]
    assert [tuple(pair) for pair in shared_windows(a, b, k).tolist()] == expected


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=25), st.sampled_from([3.0, 10.0]))
def test_chain_is_the_best_increasing_one(points, jump):
    k = 12
    pairs = sorted(set(points), key=lambda pair: (pair[0], -pair[1]))
    found = chain(np.array(pairs, np.int64).reshape(-1, 2), k, jump)
    assert (np.diff(found, axis=0) > 0).all()
    # Scored alone, the chosen pairs reach the best score of all pairs.
    chosen = [tuple(pair) for pair in found.tolist()]
    assert references.best_chain_score(chosen, k, jump) == pytest.approx(references.best_chain_score(pairs, k, jump))


def test_runs_are_exact_and_disjoint():
    a = np.array([1, 2, 3, 4, 5, 9, 6, 7, 8, 1, 2], np.int32)
    b = np.array([1, 2, 3, 4, 5, 6, 7, 8, 1, 2], np.int32)
    found = runs(chain(shared_windows(a, b, 3), 3, jump=1.0), 3)
    assert found.tolist() == [[0, 0, 5], [6, 5, 5]]
