"""Needleman–Wunsch on any two sequences, against its definition and against edlib."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import AlignmentError
from speechkit.mining.alignment import Scores, needleman_wunsch, text_path
from tests.mining.alignment.references import best_score

short_text = st.text("abc", max_size=9)


def replay(a, b, operations):
    """The operations tile both sequences in order and their kinds are true."""
    i = j = 0
    for kind, a_begin, a_end, b_begin, b_end in operations:
        assert (a_begin, b_begin) == (i, j)
        if kind == "equal":
            assert list(a[a_begin:a_end]) == list(b[b_begin:b_end])
        if kind == "substitute":
            assert all(x != y for x, y in zip(a[a_begin:a_end], b[b_begin:b_end], strict=True))
        assert (a_end > a_begin) == (kind != "insert")
        assert (b_end > b_begin) == (kind != "delete")
        i, j = a_end, b_end
    assert (i, j) == (len(a), len(b))


@settings(max_examples=150)
@given(
    short_text,
    short_text,
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([-1.0, -0.5, -3.0]),
    st.sampled_from([0.0, -1.0, -2.5]),
    st.sampled_from([-1.0, -0.25]),
)
def test_score_is_the_best_of_all_alignments(a, b, match, mismatch, gap_open, gap_extend):
    score, operations = needleman_wunsch(a, b, Scores(match, mismatch, gap_open, gap_extend))
    replay(a, b, operations)
    expected = best_score(a, b, lambda x, y: match if x == y else mismatch, gap_open, gap_extend)
    assert score == pytest.approx(expected)


@given(short_text, short_text, st.sampled_from([0.0, -1.0, -2.0]))
def test_divided_problem_scores_as_the_undivided(a, b, gap_open):
    scores = Scores(gap_open=gap_open, gap_extend=-0.5)
    whole, _ = needleman_wunsch(a, b, scores)
    cells = text_path.TRACE_CELLS
    text_path.TRACE_CELLS = 8
    try:
        divided, operations = needleman_wunsch(a, b, scores)
    finally:
        text_path.TRACE_CELLS = cells
    replay(a, b, operations)
    assert divided == pytest.approx(whole)


def test_unit_costs_give_the_edit_distance_of_edlib():
    edlib = pytest.importorskip("edlib")
    rng = random.Random(1)
    for size in (0, 1, 50, 3000):
        a = "".join(rng.choices("abcdefgh ", k=size))
        b = "".join(rng.choice("abcdefgh ") if rng.random() < 0.2 else c for c in a if rng.random() > 0.1)
        score, operations = needleman_wunsch(a, b, Scores(match=0, mismatch=-1, gap_open=0, gap_extend=-1))
        replay(a, b, operations)
        assert -score == (edlib.align(a, b)["editDistance"] if a and b else len(a) + len(b))


def test_large_problem_needs_no_matrix():
    rng = random.Random(2)
    a = [rng.randrange(50) for _ in range(6000)]
    b = [x for x in a if rng.random() > 0.1]
    score, operations = needleman_wunsch(a, b, Scores(match=1, mismatch=-1, gap_extend=-1))
    replay(a, b, operations)
    assert score == len(b) - (len(a) - len(b))


def test_words_ids_and_mixed_items_align():
    a = ["the", "cat", 3, None]
    b = ["the", "hat", 3]
    assert needleman_wunsch(a, b)[1] == [
        ("equal", 0, 1, 0, 1),
        ("substitute", 1, 2, 1, 2),
        ("equal", 2, 3, 2, 3),
        ("delete", 3, 4, 3, 3),
    ]


def test_substitution_scores_of_particular_pairs_decide():
    likes = Scores(mismatch=-3, gap_extend=-1, substitution={("b", "p"): 0.5})
    assert needleman_wunsch("b", "p", likes)[1] == [("substitute", 0, 1, 0, 1)]
    assert [step[0] for step in needleman_wunsch("p", "b", likes)[1]] != ["substitute"]


def test_empty_sequences_align():
    assert needleman_wunsch("", "") == (0.0, [])
    assert needleman_wunsch("", "ab", Scores(gap_open=-1)) == (-3.0, [("insert", 0, 0, 0, 2)])
    assert needleman_wunsch("ab", "", Scores(gap_open=-1)) == (-3.0, [("delete", 0, 2, 0, 0)])


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(AlignmentError, match="finite"):
        needleman_wunsch("a", "b", Scores(mismatch=bad))
