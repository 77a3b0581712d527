"""Attention by plain products beside PyTorch's own."""

import pytest
import torch
from torch import nn

from speechkit.nn import attention
from speechkit.nn.attention import Attention


@pytest.mark.parametrize("padded", [False, True])
def test_the_products_give_and_learn_what_torch_s_own_does(padded, monkeypatch):
    monkeypatch.setattr(attention, "_favours_products", lambda frames: True)
    torch.manual_seed(0)
    ours, other = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    other.load_state_dict(ours.state_dict())
    frames = torch.randn(4, 9, 12)
    mask = torch.zeros(4, 9)
    if padded:
        mask[1, 5:] = mask[3, 1:] = -torch.inf
    asked = {"key_padding_mask": mask if padded else None, "need_weights": False}
    found, expected = (module(frames, frames, frames, **asked)[0] for module in (ours, other))
    torch.testing.assert_close(found, expected)
    for made in (found, expected):
        made.square().sum().backward()
    for (name, mine), (_, theirs) in zip(ours.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, msg=name, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("training", "bfloat16", "length", "keys", "own"),
    [
        (True, True, 5, 5, True),
        (True, False, 5, 5, False),
        (False, True, 5, 5, False),
        (True, True, attention.MAX_FRAMES + 1, attention.MAX_FRAMES + 1, False),
        (True, True, 5, 3, False),
    ],
    ids=["training at bfloat16", "float32", "evaluation", "long items", "keys of other frames"],
)
def test_it_is_torch_s_own_but_while_training_at_bfloat16(training, bfloat16, length, keys, own):
    """Its own products give no weights; torch's own, asked as here, do."""
    torch.manual_seed(0)
    ours, other = Attention(8, 2).train(training), nn.MultiheadAttention(8, 2, batch_first=True).train(training)
    other.load_state_dict(ours.state_dict())
    frames = torch.randn(1, length, 8)
    others = frames if keys == length else frames[:, :keys]
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output, weights = ours(frames, others, others)
        expected, expected_weights = other(frames, others, others)
    if own:
        assert weights is None
        torch.testing.assert_close(output, expected, atol=0.02, rtol=0.02)
    else:
        torch.testing.assert_close((output, weights), (expected, expected_weights), atol=0, rtol=0)
        assert weights.shape == (1, length, keys)


def test_weights_of_bfloat16_train_without_autocast():
    torch.manual_seed(0)
    layer, frames = Attention(8, 2).bfloat16(), torch.randn(1, 5, 8).bfloat16()
    output, weights = layer(frames, frames, frames)
    assert (output.dtype, weights) == (torch.bfloat16, None)


def test_a_transformer_layer_trains_with_it():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    frames, padding = torch.randn(2, 6, 8), torch.arange(6) >= torch.tensor([[6], [4]])
    expected = layer(frames, src_key_padding_mask=padding)
    own = Attention(8, 2)
    own.load_state_dict(layer.self_attn.state_dict())
    layer.self_attn = own
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(frames, src_key_padding_mask=padding)
    torch.testing.assert_close(rough.float(), expected, atol=0.1, rtol=0.1)
