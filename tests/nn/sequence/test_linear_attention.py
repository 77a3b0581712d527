"""Prefix linear attention against its two sums, and its loss against what may be predicted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.nn.sequence import linear_attention
from speechkit.nn.sequence.linear_attention import JrtConfig, hide_tokens, prefix_loss, taylor_features
from speechkit.nn.sequence.stack import new_mixer


def test_products_of_features_are_the_series_of_the_exponential():
    query, key = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    product = (query * key).sum(-1) / 5**0.5
    found = (taylor_features(query) * taylor_features(key)).sum(-1)
    torch.testing.assert_close(found, 1 + product + product**2 / 2, atol=1e-12, rtol=1e-12)
    assert float(found.min()) >= 0.5
    assert taylor_features(torch.zeros(16)).shape == (273,)


def slow(mixer, x, marked):
    """One row (T, D), one head, by sums over features."""
    rows = []
    query, key, prefix_key = (taylor_features(p(x)) for p in (mixer.query, mixer.key, mixer.prefix_key))
    value, prefix_value = mixer.value(x), mixer.prefix_value(x)
    for i in range(len(x)):
        above = sum(key[j][:, None] * value[j] for j in range(i + 1))
        below = sum(key[j] for j in range(i + 1))
        for j in range(marked):
            above, below = above + prefix_key[j][:, None] * prefix_value[j], below + prefix_key[j]
        rows.append(mixer.out(query[i] @ above / (query[i] @ below)))
    return torch.stack(rows)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(length=st.integers(1, 12), marked=st.integers(0, 12), chunk=st.sampled_from([2, 5, 128]))
def test_the_parallel_form_is_both_sums_at_every_chunk_size(length, marked, chunk):
    kept, linear_attention.CHUNK = linear_attention.CHUNK, chunk
    try:
        mixer = new_mixer(6, JrtConfig(heads=1, key_width=4)).double()
        x = torch.randn(1, length, 6, dtype=torch.float64)
        marked = min(marked, length)
        prefix = torch.arange(length)[None] < marked
        wanted = slow(mixer, x[0], marked)
        torch.testing.assert_close(mixer(x, prefix=prefix)[0], wanted, atol=1e-10, rtol=1e-10)
        _, state = mixer.prefill(x[:, :marked], mixer.start(1, "cpu", x.dtype), prefix=prefix[:, :marked])
        for position in range(marked, length):
            found, state = mixer.step(x[:, position], state)
            torch.testing.assert_close(found[0], wanted[position], atol=1e-10, rtol=1e-10)
    finally:
        linear_attention.CHUNK = kept


@torch.no_grad()
def test_padding_has_no_features():
    mixer = new_mixer(8, JrtConfig(heads=2, key_width=3)).double()
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    lengths, prefix = torch.tensor([7, 4]), torch.arange(7)[None] < torch.tensor([[3], [4]])
    _, padded = mixer.prefill(x, mixer.start(2, "cpu", x.dtype), lengths, prefix=prefix)
    _, alone = mixer.prefill(x[1:, :4], mixer.start(1, "cpu", x.dtype), prefix=prefix[1:, :4])
    for name in padded:
        torch.testing.assert_close(padded[name][1], alone[name][0], atol=1e-12, rtol=1e-12)


def test_the_loss_is_of_tokens_behind_the_prefix_and_of_hidden_ones():
    torch.manual_seed(0)
    tokens = torch.randint(0, 5, (2, 9))  # unit 0 is a unit as any other
    prefix = torch.arange(9)[None] < torch.tensor([[4], [6]])
    lengths = torch.tensor([9, 7])
    shown, hidden = hide_tokens(tokens, prefix, 5, 0.6, torch.Generator().manual_seed(1))
    assert not (hidden & ~prefix).any()
    assert ((shown == 5) == hidden).all()
    logits = torch.randn(2, 9, 6)
    chances = logits.log_softmax(-1)
    after = [-chances[0, t, tokens[0, t + 1]] for t in range(3, 8)] + [-chances[1, 5, tokens[1, 6]]]
    inside = [-chances[row, t, tokens[row, t]] for row, t in hidden.nonzero().tolist()]
    wanted = torch.stack(after).mean() + 0.25 * torch.stack(inside).mean()
    assert float(prefix_loss(logits, tokens, prefix, hidden, lengths)) == pytest.approx(float(wanted), rel=1e-5)


def test_a_batch_without_hidden_tokens_or_without_followers_has_a_loss():
    tokens, logits = torch.zeros(1, 3, dtype=torch.int64), torch.randn(1, 3, 4)
    whole, none = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.bool)
    assert float(prefix_loss(logits, tokens, whole, none)) == 0.0
    assert float(prefix_loss(logits, tokens, none, none)) > 0.0
