from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from speechkit.errors import AlignmentError
from speechkit.tts.monotonic_alignment import (
    beta_binomial_log_prior,
    binarisation_loss,
    forward_sum_loss,
    monotonic_path,
    monotonic_paths,
    path_matrix,
)


def all_paths(frames: int, tokens: int):
    """Every way to cut the frames into as many stretches as there are tokens, as durations."""
    for cuts in combinations(range(1, frames), tokens - 1):
        yield np.diff([0, *cuts, frames])


def score_of(scores: np.ndarray, durations: np.ndarray) -> float:
    return float(
        scores.astype(np.float64)[np.arange(len(scores)), np.repeat(np.arange(len(durations)), durations)].sum()
    )


tables = st.integers(1, 8).flatmap(
    lambda frames: st.integers(1, frames).flatmap(
        lambda tokens: st.lists(
            st.lists(st.integers(-4, 4), min_size=tokens, max_size=tokens), min_size=frames, max_size=frames
        )
    )
)


@given(tables)
@settings(max_examples=200, deadline=None)
def test_the_path_is_the_best_of_all_paths(table):
    scores = np.array(table, np.float32)
    durations = monotonic_path(scores)
    assert durations.sum() == len(scores)
    assert (durations >= 1).all()
    assert score_of(scores, durations) == max(score_of(scores, path) for path in all_paths(*scores.shape))


def test_of_equal_paths_the_one_that_stays_longer_in_later_tokens():
    assert monotonic_path(np.zeros((7, 3), np.float32)).tolist() == [1, 1, 5]


def test_minus_infinity_is_avoided():
    scores = np.full((4, 2), -np.inf, np.float32)
    scores[:3, 0] = scores[3:, 1] = 0
    assert monotonic_path(scores).tolist() == [3, 1]


@pytest.mark.parametrize(("frames", "tokens"), [(2, 3), (3, 0)])
def test_more_tokens_than_frames_is_an_error_with_both_counts(frames, tokens):
    with pytest.raises(AlignmentError, match=f"{tokens} tokens cannot be aligned with {frames} frames"):
        monotonic_path(np.zeros((frames, tokens), np.float32))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        monotonic_path(np.full((3, 2), np.nan, np.float32))


def test_a_batch_with_nan_has_paths_so_that_training_skips_the_step_and_goes_on():
    scores = torch.zeros(2, 4, 3)
    scores[0] = torch.nan
    durations = monotonic_paths(scores, torch.tensor([4, 4]), torch.tensor([3, 3]))
    assert durations.sum(1).tolist() == [4, 4]
    assert durations.min() == 1


def test_padded_batch_equals_single_items():
    generator = torch.Generator().manual_seed(0)
    frames, tokens = torch.tensor([9, 5, 7]), torch.tensor([4, 5, 1])
    scores = torch.randn(3, 9, 5, generator=generator)
    together = monotonic_paths(scores, frames, tokens)
    for item, (length, count) in enumerate(zip(frames.tolist(), tokens.tolist(), strict=True)):
        assert together[item, :count].tolist() == monotonic_path(scores[item, :length, :count].numpy()).tolist()
        assert not together[item, count:].any()


@pytest.mark.parametrize(("frames", "tokens", "concentration"), [(1, 1, 1.0), (9, 4, 1.0), (30, 12, 0.5)])
def test_prior_is_the_beta_binomial_distribution(frames, tokens, concentration):
    expected = np.array(
        [
            betabinom.logpmf(np.arange(tokens), tokens - 1, concentration * t, concentration * (frames - t + 1))
            for t in range(1, frames + 1)
        ]
    )
    prior = beta_binomial_log_prior(frames, tokens, concentration).numpy()
    np.testing.assert_allclose(prior, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.exp(prior).sum(1), 1, rtol=1e-5)


@given(st.integers(1, 7).flatmap(lambda frames: st.tuples(st.just(frames), st.integers(1, frames))), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_forward_sum_is_the_sum_over_all_paths(size, seed):
    frames, tokens = size
    log_attention = torch.randn(1, frames, tokens, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    sums = [score_of(log_attention[0].numpy(), path) for path in all_paths(frames, tokens)]
    expected = -np.logaddexp.reduce(sums) / frames
    found = forward_sum_loss(log_attention, torch.tensor([frames]), torch.tensor([tokens]))
    assert float(found) == pytest.approx(expected, abs=1e-3)


def test_forward_sum_has_the_gradient_of_the_sum_over_all_paths():
    scores = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    forward_sum_loss(scores.log_softmax(-1), torch.tensor([6]), torch.tensor([3])).backward()
    found, scores.grad = scores.grad, None
    log_attention = scores.log_softmax(-1)[0]
    sums = [
        log_attention[torch.arange(6), torch.arange(3).repeat_interleave(torch.tensor(p))].sum()
        for p in all_paths(6, 3)
    ]
    (-torch.logsumexp(torch.stack(sums), 0) / 6).backward()
    torch.testing.assert_close(found, scores.grad, atol=1e-4, rtol=1e-3)


def test_forward_sum_of_a_padded_batch_is_the_mean_of_its_items():
    scores = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(2))
    scores[1, :, 3:] = -1e4  # padding of symbols
    frames, tokens = torch.tensor([9, 6]), torch.tensor([5, 3])
    together = forward_sum_loss(scores.log_softmax(-1), frames, tokens)
    alone = [
        forward_sum_loss(scores[i : i + 1, :f, :t].log_softmax(-1), frames[i : i + 1], tokens[i : i + 1])
        for i, (f, t) in enumerate(zip(frames.tolist(), tokens.tolist(), strict=True))
    ]
    assert float(together) == pytest.approx(float(sum(alone)) / 2, rel=1e-4)


def test_an_item_without_a_path_adds_nothing():
    log_attention = torch.randn(1, 2, 3).log_softmax(-1).requires_grad_()
    loss = forward_sum_loss(log_attention, torch.tensor([2]), torch.tensor([3]))
    loss.backward()
    assert loss.item() == 0
    assert not log_attention.grad.any()


def test_binarisation_is_zero_where_attention_is_the_path():
    durations = torch.tensor([[2, 1, 3], [1, 1, 0]])
    path = path_matrix(durations, 6)
    assert path.sum(2).tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0]]
    assert path[0].argmax(1).tolist() == [0, 0, 1, 2, 2, 2]
    assert float(binarisation_loss(path.clamp_min(1e-9).log(), durations)) == pytest.approx(0)
    uniform = torch.full((2, 6, 3), 1 / 3).log()
    assert float(binarisation_loss(uniform, durations)) == pytest.approx(np.log(3))
