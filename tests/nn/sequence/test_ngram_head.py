"""N-gram heads against a count of what followed each context."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.nn.sequence.ngram_head import NgramConfig
from speechkit.nn.sequence.stack import new_mixer


def followers(tokens, order, t):
    return [j for j in range(order, t) if all(tokens[j - 1 - back] == tokens[t - back] for back in range(order))]


@torch.no_grad()
@settings(max_examples=25, deadline=None)
@given(tokens=st.lists(st.integers(0, 2), min_size=1, max_size=20), order=st.integers(1, 4))
def test_a_head_is_the_mean_of_what_followed_earlier_copies(tokens, order):
    mixer = new_mixer(4, NgramConfig(order=order)).double()
    x = torch.randn(1, len(tokens), 4, dtype=torch.float64)
    found = mixer(x, tokens=torch.tensor([tokens]))[0]
    for t in range(len(tokens)):
        after = followers(tokens, order, t)
        mean = x[0, after].mean(0) if after else torch.zeros(4, dtype=torch.float64)
        wanted = mixer.followers(mean) + mixer.own(x[0, t])
        torch.testing.assert_close(found[t], wanted, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_one_hot_vectors_give_the_bigram_table_of_the_context():
    tokens = torch.tensor([[0, 1, 0, 2, 0, 1, 0, 0]])
    mixer = new_mixer(3, NgramConfig(order=1))
    mixer.followers.weight.copy_(torch.eye(3))
    for weight in mixer.own.parameters():
        weight.zero_()
    found = mixer(torch.eye(3)[tokens], tokens=tokens)[0, -2]
    # Before the 0 at place 6, a 0 was followed by 1, 2 and 1.
    torch.testing.assert_close(found, torch.tensor([0.0, 2 / 3, 1 / 3]))


def test_tokens_must_be_given():
    mixer = new_mixer(4, NgramConfig())
    with pytest.raises(ValueError, match="needs tokens"):
        mixer(torch.randn(1, 3, 4))
    with pytest.raises(ValueError, match="needs tokens"):
        mixer.step(torch.randn(1, 4), mixer.start(1, "cpu", torch.float32))
