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


def products_of(layer, frames, monkeypatch):
    """How often the layer took the plain products."""
    taken = []
    products = Attention._products
    with monkeypatch.context() as patch:
        patch.setattr(Attention, "_products", lambda *given: taken.append(1) or products(*given))
        layer(frames, frames, frames, need_weights=False)
    return len(taken)


def test_products_are_for_training_at_bfloat16(monkeypatch):
    torch.manual_seed(0)
    layer, frames = Attention(8, 2), torch.randn(1, 5, 8)
    assert products_of(layer, frames, monkeypatch) == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert products_of(layer, frames, monkeypatch) == 1
        assert products_of(layer, torch.randn(1, attention.LONGEST + 1, 8), monkeypatch) == 0
        assert products_of(layer.eval(), frames, monkeypatch) == 0
        assert layer.train()(frames, frames[:, :3], frames[:, :3])[1].shape == (1, 5, 3)
    assert products_of(layer.bfloat16(), frames.bfloat16(), monkeypatch) == 1


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
