"""Needleman–Wunsch on any two sequences, against its definition and against edlib."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechkit.errors import AlignmentError
from speechkit.mining.alignment import Scores, needleman_wunsch, pairwise
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


def plain(a, b, scores, monkeypatch):
    """The alignment by the kernel that fills the whole matrix with single numbers."""
    with monkeypatch.context() as patch:
        patch.setattr(pairwise, "_common_denominator", lambda *_: None)
        return needleman_wunsch(a, b, scores)


TABLE = {("a", "b"): 0.5, ("c", "c"): -0.25, ("b", "a"): -2.0}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text("abcd", max_size=14),
    st.text("abcd", max_size=14),
    st.sampled_from([1.0, 0.0, 2.0]),
    st.sampled_from([-1.0, -0.5, 0.0]),
    st.sampled_from([0.0, -1.0, -2.5, 0.5]),
    st.sampled_from([-1.0, -0.25]),
    st.sampled_from([{}, TABLE]),
)
def test_divided_problem_is_aligned_as_the_whole_ties_included(
    monkeypatch, a, b, match, mismatch, gap_open, gap_extend, table
):
    scores = Scores(match, mismatch, gap_open, gap_extend, table)
    with monkeypatch.context() as patch:
        patch.setattr(pairwise, "WHOLE_CELLS", 8)
        divided = needleman_wunsch(a, b, scores)
    replay(a, b, divided[1])
    assert divided == plain(a, b, scores, monkeypatch)


@pytest.mark.parametrize("table", [{}, TABLE])
def test_strips_and_rows_that_are_remembered_leave_the_path_as_it_is(monkeypatch, table):
    rng = random.Random(3)
    a = "".join(rng.choices("abcd", k=1500))
    b = "".join(rng.choice("abcd") if rng.random() < 0.3 else c for c in a if rng.random() > 0.2)
    scores = Scores(1, -1, -1, -0.5, table)
    expected = plain(a, b, scores, monkeypatch)
    for remembered in (1 << 24, 1):
        monkeypatch.setattr(pairwise, "REMEMBERED_BYTES", remembered)
        assert needleman_wunsch(a, b, scores) == expected
        assert needleman_wunsch(b, a, scores) == plain(b, a, scores, monkeypatch)


def test_tenths_add_up_without_rounding():
    score, _ = needleman_wunsch("ab" * 50, "", Scores(gap_open=-0.2, gap_extend=-0.1))
    assert score == -10.2
    assert needleman_wunsch("abc", "abc", Scores(match=1 / 3))[0] == pytest.approx(1)


def test_scores_too_large_for_vectors_are_aligned_by_single_numbers():
    a, b = "abcabcab" * 10, "abcbcacb" * 9
    small, large = Scores(3, -2, -4, -1), Scores(3e12, -2e12, -4e12, -1e12)
    assert needleman_wunsch(a, b, large)[1] == needleman_wunsch(a, b, small)[1]


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
