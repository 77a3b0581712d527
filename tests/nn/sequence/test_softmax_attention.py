"""Softmax attention against the weights written down, position by position."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.nn.positions import Rotation
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import new_mixer


def slow(mixer, x, documents, prefix):
    """Attention of one row (T, D): a loop over queries and heads."""
    heads, groups, width = mixer.heads, mixer.key_heads, mixer.head_width
    positions = [sum(documents[s] == documents[t] for s in range(t)) for t in range(len(x))]
    turn = Rotation(torch.tensor(positions, dtype=torch.float64), width, mixer.config.period)
    query = turn(mixer.query(x).view(1, len(x), heads, width).transpose(1, 2))[0]
    key = turn(mixer.key(x).view(1, len(x), groups, width).transpose(1, 2))[0]
    value = mixer.value(x).view(len(x), groups, width).transpose(0, 1)
    rows = []
    for t in range(len(x)):
        parts = []
        for head in range(heads):
            group = head * groups // heads
            seen = [
                s
                for s in range(len(x))
                if documents[s] == documents[t]
                and (s <= t or (prefix[s] and prefix[t]))
                and not (mixer.config.window and t - s >= mixer.config.window)
            ]
            weights = torch.stack([query[head, t] @ key[group, s] / math.sqrt(width) for s in seen]).softmax(0)
            parts.append(sum(w * value[group, s] for w, s in zip(weights, seen, strict=True)))
        rows.append(mixer.out(torch.cat(parts)))
    return torch.stack(rows)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    marked=st.integers(0, 5),
    window=st.sampled_from([0, 1, 3]),
    groups=st.sampled_from([1, 2, 4]),
)
def test_attention_is_the_weighted_mean_it_stands_for(sizes, marked, window, groups):
    mixer = new_mixer(16, AttentionConfig(heads=4, key_heads=groups, window=window)).double()
    documents = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[None]
    since = torch.cat([torch.arange(size) for size in sizes])
    prefix = (since < marked)[None]
    x = torch.randn(1, sum(sizes), 16, dtype=torch.float64)
    found = mixer(x, documents=documents, prefix=prefix)[0]
    wanted = slow(mixer, x[0], documents[0].tolist(), prefix[0].tolist())
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_a_prefix_is_read_in_both_directions_and_what_follows_in_one():
    mixer = new_mixer(16, AttentionConfig(heads=2)).double()
    x = torch.randn(1, 8, 16, dtype=torch.float64)
    prefix = torch.arange(8)[None] < 4
    before = mixer(x, prefix=prefix)
    changed = x.clone()
    changed[:, 3] += 1.0
    assert ((mixer(changed, prefix=prefix) - before).abs().amax(-1) > 1e-6).all()
    changed = x.clone()
    changed[:, 6] += 1.0
    moved = (mixer(changed, prefix=prefix) - before).abs().amax(-1)[0] > 1e-12
    assert moved.tolist() == [False] * 6 + [True] * 2
    _, state = mixer.prefill(x[:, :5], mixer.start(1, "cpu", x.dtype), prefix=prefix[:, :5])
    after, _ = mixer.prefill(x[:, 5:], state)
    torch.testing.assert_close(after, before[:, 5:], atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_a_window_forgets_what_has_left_it():
    mixer = new_mixer(16, AttentionConfig(heads=2, window=3)).double()
    x = torch.randn(1, 9, 16, dtype=torch.float64)
    before = mixer(x)
    changed = x.clone()
    changed[:, 2] += 1.0
    moved = (mixer(changed) - before).abs().amax(-1)[0] > 1e-12
    assert moved.tolist() == [False, False, True, True, True, False, False, False, False]


def test_a_mixer_that_reads_from_left_to_right_refuses_a_prefix():
    from speechkit.nn.sequence.gated_recurrent import RecurrentConfig

    with pytest.raises(ValueError, match="does not support prefixes"):
        new_mixer(16, RecurrentConfig())(torch.randn(1, 3, 16), prefix=torch.ones(1, 3, dtype=torch.bool))
