"""Recurrent layers over padded batches agree with packed sequences and with every item alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechkit.nn.recurrent import both_directions


@pytest.mark.parametrize("frames", [[7, 7, 7], [7, 1, 4], [3, 0, 5]])
def test_both_directions_equal_packed_sequences_and_so_do_their_gradients(frames):
    torch.manual_seed(0)
    layer = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
    x = torch.randn(3, 7, 5, requires_grad=True)
    lengths = torch.tensor(frames)
    sequence = nn.utils.rnn.pack_padded_sequence(x, lengths.clamp(min=1), batch_first=True, enforce_sorted=False)
    wanted, _ = nn.utils.rnn.pad_packed_sequence(layer(sequence)[0], batch_first=True, total_length=7)
    found = both_directions(layer, x, lengths)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    pull = torch.randn_like(wanted)
    values = [x, *layer.parameters()]
    for one, two in zip(
        torch.autograd.grad((found * pull).sum(), values),
        torch.autograd.grad((wanted * pull).sum(), values),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing():
    torch.manual_seed(0)
    layer = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
    item = torch.randn(1, 4, 5)
    padded = torch.cat([item, torch.full((1, 9, 5), 50.0)], dim=1)
    alone = both_directions(layer, item, torch.tensor([4]))
    together = both_directions(layer, padded, torch.tensor([4]))
    torch.testing.assert_close(together[:, :4], alone, atol=1e-6, rtol=1e-5)
    assert not together[:, 4:].any()
