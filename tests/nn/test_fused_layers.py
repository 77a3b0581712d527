"""Layers whose gradients are written out give what autograd gives for the plain formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.nn.activations import prelu
from speechkit.nn.depthwise import DepthwiseConv, depthwise
from speechkit.nn.group_attention import gated_group_attention
from speechkit.nn.masks import length_mask
from speechkit.nn.norms import channel_norm, item_norm, scale_norm

SEEDS = st.integers(0, 2**31)
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=3)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


def assert_same(ours, plain, inputs, tolerance: float = 2e-4) -> None:
    """Outputs and the gradients of all inputs, for a random gradient of the output."""
    made, expected = ours(*inputs), plain(*inputs)
    torch.testing.assert_close(made, expected, atol=tolerance, rtol=tolerance)
    above = torch.randn_like(made)
    for found, wanted in zip(
        torch.autograd.grad(made, inputs, above), torch.autograd.grad(expected, inputs, above), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 40), st.integers(1, 5), st.sampled_from([1, 3, 7]), st.integers(1, 4))
def test_depthwise_convolution_equals_conv1d(seed, items, frames, channels, kernel, dilation):
    torch.manual_seed(seed)

    def plain(x, weight):
        pad = kernel // 2 * dilation
        return F.conv1d(x.mT, weight[:, None], padding=pad, dilation=dilation, groups=channels).mT

    assert_same(
        lambda x, weight: depthwise(x, weight, dilation),
        plain,
        (numbers(items, frames, channels), numbers(channels, kernel)),
    )


def test_a_kernel_without_a_middle_is_refused():
    with pytest.raises(ValueError, match="kernel is 4"):
        DepthwiseConv(3, 4)
    assert DepthwiseConv(3, 5, 2)(torch.zeros(1, 9, 3)).shape == (1, 9, 3)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_scale_norm_equals_its_formula(seed, items, frames, channels):
    torch.manual_seed(seed)
    x = numbers(items, frames, channels)
    x.data[0, 0] = 1e-6  # below the floor
    assert_same(scale_norm, lambda x: x / x.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-5), (x,))


@settings(max_examples=40, deadline=None)
@given(SEEDS, LENGTHS, st.integers(1, 5), st.booleans())
def test_channel_norm_equals_instance_norm_of_each_item(seed, lengths, channels, padded):
    torch.manual_seed(seed)
    lengths = [length + 1 for length in lengths]  # one frame alone has no variance, and its gradient no meaning
    lengths = lengths if padded else [max(lengths)] * len(lengths)
    valid = length_mask(torch.tensor(lengths), max(lengths))[:, :, None].float()

    def plain(x, weight, bias, slope):
        rows = []
        for item, length in zip(x, lengths, strict=True):
            row = F.instance_norm(item[None, :length].mT, weight=weight, bias=bias)
            row = F.prelu(row, slope).mT
            rows.append(F.pad(row, (0, 0, 0, max(lengths) - length)))
        return torch.cat(rows)

    def ours(x, weight, bias, slope):
        return prelu(channel_norm(x, weight, bias, valid if padded else None), slope)

    assert_same(
        ours,
        plain,
        (numbers(len(lengths), max(lengths), channels), numbers(channels), numbers(channels), numbers(channels)),
        2e-3,  # of a few frames of nearly one value
    )


@pytest.mark.parametrize("slopes", [1, 4])
def test_prelu_equals_torch_s(slopes):
    torch.manual_seed(0)
    assert_same(prelu, lambda x, slope: F.prelu(x.mT, slope).mT, (numbers(2, 9, 4), numbers(slopes)))


@settings(max_examples=20, deadline=None)
@given(SEEDS, LENGTHS, st.integers(2, 5))
def test_item_norm_equals_group_norm_of_each_item(seed, lengths, channels):
    torch.manual_seed(seed)
    valid = length_mask(torch.tensor(lengths), max(lengths))[:, :, None].float()

    def plain(x, weight, bias):
        rows = [
            F.group_norm(item[None, :length].mT, 1, weight, bias, 1e-8).mT
            for item, length in zip(x, lengths, strict=True)
        ]
        return torch.cat([F.pad(row, (0, 0, 0, max(lengths) - row.shape[1])) for row in rows])

    assert_same(
        lambda x, *affine: item_norm(x, *affine, valid) * valid,
        plain,
        (numbers(len(lengths), max(lengths), channels), numbers(channels), numbers(channels)),
        1e-3,
    )


@settings(max_examples=40, deadline=None)
@given(SEEDS, LENGTHS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.booleans())
def test_group_attention_equals_the_dense_form(seed, lengths, half, width, group, dropped):
    """The whole matrix of frames by frames, of each item alone: local where both are of one group, and global."""
    torch.manual_seed(seed)
    longest, items = max(lengths), len(lengths)
    valid = length_mask(torch.tensor(lengths), longest)[:, :, None].float()
    keep = torch.rand(10_000).round() * 2

    def dropout(ones):
        return keep[: ones.numel()].view(ones.shape)

    def ours(values, *heads):
        keys = tuple(each * valid for each in heads[2:])
        drop = dropout if dropped else None
        return gated_group_attention(values, heads[:2], keys, group, torch.tensor(lengths), drop) * valid

    own = min(group, longest)
    kept = dropout(torch.ones(items, -(-longest // own), own, own)) if dropped else None

    def plain(values, local_query, global_query, local_key, global_key):
        rows = []
        for index, length in enumerate(lengths):
            here = slice(0, length)
            weights = (local_query[index, here] @ local_key[index, here].T / group).relu().square()
            place = torch.arange(length)
            weights = weights * (place[:, None] // own == place // own)
            if kept is not None:
                weights = weights * torch.block_diag(*kept[index])[:length, :length]
            weights = weights + global_query[index, here] @ global_key[index, here].T / length
            value, gate = values[index, here].chunk(2, -1)
            row = (weights @ gate) * value * ((weights @ value) * gate).sigmoid()
            rows.append(F.pad(row, (0, 0, 0, longest - length)))
        return torch.stack(rows)

    heads = [numbers(items, longest, width) for _ in range(4)]
    assert_same(ours, plain, (numbers(items, longest, 2 * half), *heads), 1e-3)
