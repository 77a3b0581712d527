"""Convolutions with a frame a row give what stock ones give, whatever the blocks and the norm."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import Data2VecAudioConfig, Data2VecAudioModel, Wav2Vec2Config, Wav2Vec2Model

from speechkit.encoders import convolutions
from speechkit.encoders.convolutions import RowConvolutions
from speechkit.encoders.padding import Lengths

SHAPE = {"hidden_size": 8, "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 8}
POSITIONS = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 1}


def stock(kind):
    torch.manual_seed(0)
    shape = {**SHAPE, "conv_dim": (4, 6, 8, 8, 8, 8, 8)}
    if kind == "data2vec":
        return Data2VecAudioModel(
            Data2VecAudioConfig(**shape, conv_pos_kernel_size=3, num_conv_pos_embedding_groups=1)
        ).feature_extractor.eval()
    norm, bias = kind.split("-")
    config = Wav2Vec2Config(**shape, **POSITIONS, feat_extract_norm=norm, conv_bias=bias == "bias")
    return Wav2Vec2Model(config).feature_extractor.eval()


@pytest.mark.parametrize("kind", ["layer-bias", "layer-plain", "group-bias", "group-plain", "data2vec"])
@pytest.mark.parametrize("block_bytes", [1, 20_000, 3 << 20])
@torch.inference_mode()
def test_frames_are_those_of_the_stock_convolutions(kind, block_bytes, monkeypatch):
    monkeypatch.setattr(convolutions, "BLOCK_BYTES", block_bytes)
    reference = stock(kind)
    ours = RowConvolutions(reference, Lengths())
    assert convolutions.runs_by_rows(reference)
    for samples in (400, 719, 720, 16_000, 16_081):
        waveforms = torch.randn(2, samples)
        expected = reference(waveforms)
        assert ours(waveforms).shape == expected.shape
        torch.testing.assert_close(ours(waveforms), expected, atol=2e-5, rtol=1e-4)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(0, 60),
    st.integers(1, 300),
)
@settings(max_examples=60)
@torch.inference_mode()
def test_any_kernels_and_strides_are_followed(shapes, more, block_bytes):
    torch.manual_seed(0)

    class Layer(nn.Module):
        def __init__(self, channels, kernel, stride, made):
            super().__init__()
            self.conv, self.activation = nn.Conv1d(channels, made, kernel, stride), nn.GELU()

        def forward(self, x):
            return self.activation(self.conv(x))

    widths = [1, *(width for _, _, width in shapes)]
    layers = nn.ModuleList(
        Layer(before, kernel, stride, width) for before, (kernel, stride, width) in zip(widths, shapes, strict=False)
    )
    whole = nn.Module()
    whole.conv_layers = layers
    ours = RowConvolutions(whole, Lengths())
    ours._block = max(1, block_bytes // 10)
    x = torch.randn(1, ours.reach + more)
    expected = x[:, None]
    for layer in layers:
        expected = layer(expected)
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["layer-bias", "group-plain"])
@torch.inference_mode()
def test_frames_behind_the_end_of_an_item_are_zero_and_others_as_if_it_were_alone(kind):
    lengths = Lengths()
    ours = RowConvolutions(stock(kind), lengths)
    long, short = torch.randn(1, 8_080), torch.randn(1, 3_280)
    lengths.frames, lengths.samples = torch.tensor([25, 10]), torch.tensor([8_080, 3_280])
    together = ours(torch.cat([long, nn.functional.pad(short, (0, 4_800))]))
    assert together.shape == (2, 8, 25)
    assert (together[1, :, 10:] == 0).all()
    lengths.frames = lengths.samples = None
    torch.testing.assert_close(together[1:, :, :10], ours(short), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[:1], ours(long), atol=1e-6, rtol=1e-5)


@torch.inference_mode()
def test_a_norm_over_time_is_exact_for_sounds_far_from_zero_and_nearly_silent():
    reference = stock("group-plain")
    torch.nn.init.normal_(reference.conv_layers[0].layer_norm.bias)
    ours = RowConvolutions(reference, Lengths())
    for waveforms in (100 + 0.1 * torch.randn(1, 8_000), 1e-5 * torch.randn(1, 8_000), torch.zeros(1, 8_000)):
        expected = copy.deepcopy(reference).double()(waveforms.double()).float()
        torch.testing.assert_close(ours(waveforms), expected, atol=2e-3, rtol=1e-3)


def test_a_norm_over_time_behind_other_layers_is_left_to_the_stock_ones():
    network = stock("group-plain")
    network.conv_layers[1].layer_norm = nn.GroupNorm(6, 6)
    assert not convolutions.runs_by_rows(network)


@torch.inference_mode()
def test_bfloat16_around_them_changes_nothing():
    ours = RowConvolutions(stock("layer-plain"), Lengths())
    waveforms = torch.randn(1, 4_000)
    expected = ours(waveforms)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(waveforms)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
