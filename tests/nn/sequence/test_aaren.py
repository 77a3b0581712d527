"""The prefix scan against the softmax it stands for, at scores of every size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.nn.sequence.aaren import AarenConfig, combine, prefix_scan
from speechkit.nn.sequence.stack import new_mixer


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 33), scale=st.sampled_from([0.1, 30.0, 3000.0]), shift=st.sampled_from([0.0, -1e5, 1e5]))
def test_the_scan_is_the_softmax_over_all_before(length, scale, shift):
    scores = scale * torch.randn(2, 3, length, dtype=torch.float64) + shift
    values = torch.randn(2, 3, length, 4, dtype=torch.float64)
    _, weight, weighted = prefix_scan(scores, values)
    for position in range(length):
        wanted = scores[..., : position + 1].softmax(-1)[..., None, :] @ values[:, :, : position + 1]
        found = weighted[:, :, position] / weight[:, :, position, None]
        torch.testing.assert_close(found, wanted[:, :, 0], atol=1e-11, rtol=1e-9)


def test_runs_can_be_joined_in_any_grouping():
    parts = [(30 * torch.randn(5).double(), torch.rand(5).double(), torch.randn(5, 2).double()) for _ in range(3)]
    left = combine(combine(parts[0], parts[1]), parts[2])
    right = combine(parts[0], combine(parts[1], parts[2]))
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_a_start_state_holds_nothing_however_small_the_scores(shift):
    torch.manual_seed(0)
    mixer = new_mixer(8, AarenConfig(heads=1))
    mixer.key.bias.copy_(shift * mixer.query(mixer.query_vector))
    x = torch.randn(1, 4, 8)
    out, _ = mixer.prefill(x, mixer.start(1, "cpu", x.dtype))
    assert out.isfinite().all()
    torch.testing.assert_close(out, mixer(x))
    torch.testing.assert_close(out[:, 0], mixer.out(mixer.value(x[:, 0])))


def test_a_layer_has_one_vector_more_than_attention_has():
    width = 32
    count = sum(weight.numel() for weight in new_mixer(width, AarenConfig()).parameters())
    assert count == 4 * (width * width + width) + width
