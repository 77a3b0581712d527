"""Separation scores against torchmetrics, against slow searches, and at their edges."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics.separation import (
    Pieces,
    best_permutation,
    count_swaps,
    is_silent,
    relative_level,
    score_separation,
    si_sdr,
    si_sdr_matrix,
)


def noise(seed: int, *shape: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape)


def slow_si_sdr(reference, estimate):
    """The formula of the paper for one pair, sample by sample."""
    s = [x - sum(reference) / len(reference) for x in reference]
    e = [x - sum(estimate) / len(estimate) for x in estimate]
    gain = sum(a * b for a, b in zip(s, e, strict=True)) / sum(a * a for a in s)
    target = sum((gain * a) ** 2 for a in s)
    rest = sum((b - gain * a) ** 2 for a, b in zip(s, e, strict=True))
    return 10 * np.log10(target / rest)


def slow_best(scores: np.ndarray) -> float:
    """The largest sum over all ways to give references different estimates, as many as can have one."""
    count, offered = scores.shape
    if offered >= count:
        return max(sum(scores[r, e] for r, e in enumerate(p)) for p in permutations(range(offered), count))
    return max(sum(scores[r, e] for e, r in enumerate(p)) for p in permutations(range(count), offered))


@pytest.mark.slow  # loads torchmetrics
def test_si_sdr_equals_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.audio")
    import torch

    reference, estimate = noise(0, 5, 4000) + 0.3, noise(1, 5, 4000) - 0.2
    estimate += np.linspace(-2, 2, 5)[:, None] * reference
    theirs = functional.scale_invariant_signal_distortion_ratio(
        torch.from_numpy(estimate), torch.from_numpy(reference), zero_mean=True
    )
    assert np.allclose(si_sdr(reference, estimate), theirs.numpy(), atol=1e-6)


@given(st.integers(0, 1000), st.integers(2, 60))
def test_si_sdr_equals_the_formula_written_out(seed, samples):
    reference, estimate = noise(seed, samples), noise(seed + 1, samples)
    with np.errstate(divide="ignore"):
        slow = float(np.clip(slow_si_sdr(reference, estimate), -100, 100))
    assert si_sdr(reference, estimate) == pytest.approx(slow, abs=1e-5)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(-1, 1))
def test_gain_and_offset_change_nothing(gain, other, offset):
    reference, estimate = noise(0, 500), noise(1, 500) + noise(0, 500)
    changed = si_sdr(gain * reference + offset, -other * estimate - offset)
    assert changed == pytest.approx(float(si_sdr(reference, estimate)), abs=1e-5)


def test_silence_and_perfection_have_values():
    speech, zero = noise(0, 800), np.zeros(800)
    assert si_sdr(speech, speech) == 100
    assert si_sdr(speech, -0.5 * speech + 0.1) == 100
    assert si_sdr(speech, zero) == -100
    assert si_sdr(speech, zero + 0.5) == -100, "a constant is silence"
    assert np.isnan(si_sdr(zero, speech))
    assert np.isnan(si_sdr(zero + 0.5, zero))
    assert relative_level(zero, speech) == relative_level(zero, zero) == -100
    assert relative_level(0.1 * speech, speech) == pytest.approx(-20)
    assert is_silent(np.stack([zero, speech, 1e-5 * speech])).tolist() == [True, False, True]


def test_lengths_that_differ_are_an_error():
    with pytest.raises(UserError, match="same number of samples"):
        si_sdr(np.zeros(3), np.zeros(4))


@settings(max_examples=60)
@given(st.data(), st.integers(1, 6), st.integers(1, 6))
def test_the_best_permutation_is_that_of_a_search_of_all(data, count, offered):
    values = st.lists(st.integers(-50, 50), min_size=count * offered, max_size=count * offered)
    scores = np.array(data.draw(values), float).reshape(count, offered)
    found = best_permutation(scores)
    chosen = [track for track in found if track is not None]
    assert len(set(chosen)) == len(chosen) == min(count, offered)
    total = sum(scores[row, track] for row, track in enumerate(found) if track is not None)
    assert total == slow_best(scores)


@pytest.mark.parametrize("count", [2, 6])
def test_a_silent_reference_gets_what_the_others_leave(count):
    scores = np.full((count, count), -30.0)
    scores[0, -1] = 5
    scores[1:] = np.nan
    assert best_permutation(scores)[0] == count - 1
    assert best_permutation(np.array([[np.nan], [-40.0]])) == [None, 0]


def test_permutation_is_found_whatever_the_order_of_tracks():
    references = noise(0, 3, 2000)
    tracks = references[[2, 0, 1]] + 0.1 * noise(1, 3, 2000)
    scores = score_separation(references.sum(0), references, tracks)
    assert [score.track for score in scores] == [1, 2, 0]
    for score, reference, track in zip(scores, references, tracks[[1, 2, 0]], strict=True):
        assert score.si_sdr_db == pytest.approx(float(si_sdr(reference, track)))
        before = float(si_sdr(reference, references.sum(0)))
        assert score.improvement_db == pytest.approx(score.si_sdr_db - before)


def test_the_mixture_as_both_tracks_improves_nothing():
    references = noise(0, 2, 2000)
    mixture = references.sum(0)
    scores = score_separation(mixture, references, np.stack([mixture, mixture]))
    assert [score.improvement_db for score in scores] == [0, 0]


def test_a_lone_speaker_is_scored_and_the_leak_of_the_empty_track_reported():
    speech = noise(0, 2000)
    tracks = np.stack([0.01 * speech, speech + 0.01 * noise(1, 2000)])
    for references in (np.stack([np.zeros(2000), speech]), speech[None]):
        scores = score_separation(speech, references, tracks)
        alone = [score for score in scores if score.si_sdr_db is not None]
        empty = [score for score in scores if score.leaked_db is not None]
        assert [score.track for score in alone] == [1]
        assert alone[0].si_sdr_db == pytest.approx(40, abs=1)
        assert [score.track for score in empty] == [0]
        assert empty[0].leaked_db == pytest.approx(-40, abs=1)


def test_a_speaker_without_a_track_has_the_mixture_and_no_improvement():
    references = noise(0, 2, 2000)
    scores = score_separation(references.sum(0), references, references[1:])
    assert [score.track for score in scores] == [None, 0]
    assert scores[0].improvement_db == 0
    assert scores[1].si_sdr_db == 100
    lone = score_separation(references[0], np.stack([np.zeros(2000), references[0]]), -references[:1])
    assert [score.track for score in lone] == [None, 0]
    assert lone[0].leaked_db == -100
    nothing = score_separation(references.sum(0), references, np.zeros((0, 2000)))
    assert [score.improvement_db for score in nothing] == [0, 0]


def swapping(order, rate=1000, seconds=4):
    """Two speakers and tracks that follow ``order`` (0 straight, 1 crossed) window by window."""
    references = noise(0, 2, len(order) * seconds * rate)
    tracks = references + 0.1 * noise(1, *references.shape)
    for place, crossed in enumerate(order):
        piece = slice(place * seconds * rate, (place + 1) * seconds * rate)
        if crossed:
            tracks[:, piece] = tracks[::-1, piece]
    return references, tracks


@settings(max_examples=20)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=12))
def test_swaps_are_the_changes_of_the_order(order):
    references, tracks = swapping(order)
    found = count_swaps(references, tracks, 1000)
    assert found.swaps == sum(a != b for a, b in pairwise(order))
    assert found.windows == len(order)
    assert found.minutes == pytest.approx(len(order) * 4 / 60)
    assert found.misplaced == pytest.approx(min(order.count(0), order.count(1)) / len(order))


def test_windows_of_a_lone_speaker_and_of_equal_tracks_decide_nothing():
    references, tracks = swapping([0, 1, 0])
    references[1, 4000:8000] = 0
    assert count_swaps(references, tracks, 1000).swaps == 0
    assert count_swaps(references, tracks, 1000).windows == 2
    mixture = np.stack([references.sum(0)] * 2)
    same = count_swaps(references, mixture, 1000)
    assert (same.windows, same.swaps) == (0, 0)
    assert count_swaps(references[:, :1000], tracks[:, :1000], 1000).per_minute is None


def test_a_matrix_has_references_as_rows():
    references, estimates = noise(0, 2, 300), noise(1, 3, 300)
    matrix = si_sdr_matrix(references, estimates)
    assert matrix.shape == (2, 3)
    assert matrix[1, 2] == si_sdr(references[1], estimates[2])


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(0, 4), st.lists(st.integers(1, 999), max_size=3), st.booleans())
def test_pieces_give_the_scores_of_the_whole(count, offered, cuts, lone):
    references, tracks = noise(0, count, 1000), noise(1, offered, 1000)
    tracks[: min(count, offered)] += references[: min(count, offered)] + 0.3
    references[0] *= not lone
    whole = score_separation(references.sum(0), references, tracks)
    pieces = Pieces(count, offered)
    bounds = sorted({0, 1000, *cuts})
    for begin, end in pairwise(bounds):
        piece = slice(begin, end)
        pieces.add(references.sum(0)[piece], references[:, piece], tracks[:, piece])
    for one, two in zip(whole, pieces.scores(), strict=True):
        assert one.track == two.track
        for name in ("si_sdr_db", "mixture_db", "leaked_db"):
            assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-6)


def test_scores_of_pieces_are_those_of_the_formula():
    references, tracks = noise(0, 2, 1000) + 0.2, noise(1, 2, 1000)
    tracks[::-1] += 2 * references
    scores = score_separation(references.sum(0), references, tracks)
    assert [score.si_sdr_db for score in scores] == pytest.approx(
        [float(si_sdr(references[0], tracks[1])), float(si_sdr(references[1], tracks[0]))]
    )
    assert scores[0].mixture_db == pytest.approx(float(si_sdr(references[0], references.sum(0))))


def test_signals_of_other_lengths_or_numbers_are_an_error():
    with pytest.raises(UserError, match="give at least one"):
        score_separation(np.zeros(10), np.zeros((0, 10)), np.zeros((1, 10)))
    with pytest.raises(UserError, match="one length"):
        score_separation(np.zeros(10), np.zeros((1, 10)), np.zeros((1, 9)))
