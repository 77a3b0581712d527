"""Stacks: their configurations as data, and what makes a whole of layers of different kinds."""

from __future__ import annotations

import msgspec
import pytest
import torch

from speechkit.errors import ConfigError
from speechkit.nn.sequence.aaren import AarenConfig
from speechkit.nn.sequence.gated_recurrent import RecurrentConfig
from speechkit.nn.sequence.linear_attention import JrtConfig
from speechkit.nn.sequence.ngram_head import NgramConfig
from speechkit.nn.sequence.s4d import S4DConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import MIXERS, Stack, StackConfig, new_mixer
from speechkit.nn.sequence.titans import TitansConfig


def test_a_configuration_is_data_that_names_its_mixers():
    layers = tuple(kind() for kind in MIXERS)
    config = StackConfig(layers=layers, width=32)
    data = msgspec.json.encode(config)
    assert msgspec.json.decode(data, type=StackConfig) == config
    assert [layer["mixer"] for layer in msgspec.json.decode(data)["layers"]] == [layer.mixer for layer in layers]


@pytest.mark.parametrize(
    "text",
    [
        '{"layers": [{"mixer": "mamba"}]}',
        '{"layers": [{"mixer": "attention", "head": 3}]}',
        '{"layers": [{"mixer": "recurrent", "kind": "elman"}]}',
        '{"layers": []}',
        '{"layers": [{"mixer": "attention", "heads": -1}]}',
        '{"layers": [{"mixer": "attention"}], "dropout": 1.0}',
    ],
)
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises((msgspec.ValidationError, ConfigError)):
        msgspec.json.decode(text, type=StackConfig)


def test_an_ngram_head_has_no_feed_forward_and_other_layers_have_one():
    stack = Stack(StackConfig(layers=(AttentionConfig(), NgramConfig(), JrtConfig(feed_forward=False)), width=16))
    assert [layer.feed is not None for layer in stack.layers] == [True, False, False]


def test_a_stack_reads_a_prefix_if_all_its_layers_do():
    both = Stack(StackConfig(layers=(AttentionConfig(), JrtConfig()), width=16))
    assert both.reads_prefix
    one = Stack(StackConfig(layers=(AttentionConfig(), S4DConfig()), width=16))
    assert not one.reads_prefix
    with pytest.raises(ValueError, match="does not support prefixes"):
        one(torch.randn(1, 4, 16), prefix=torch.ones(1, 4, dtype=torch.bool))


def test_an_lstm_begins_with_its_forget_gate_open():
    mixer = new_mixer(4, RecurrentConfig(hidden=3))
    biases = mixer.recurrent.bias_ih_l0 + mixer.recurrent.bias_hh_l0
    assert biases[3:6].tolist() == [1.0, 1.0, 1.0]
    assert not mixer.recurrent.bias_hh_l0[3:6].any()


@torch.no_grad()
def test_constant_states_stay_constant_and_a_cache_grows():
    def of(*layers):
        stack = Stack(StackConfig(layers=layers, width=16, feed_width=16))
        return [stack.state_bytes(positions) for positions in (10, 1000, 100_000)]

    for config in (S4DConfig(), AarenConfig(), JrtConfig(), RecurrentConfig(), TitansConfig(variant="mac")):
        assert len(set(of(config))) == 1
    grown = of(AttentionConfig(heads=2))
    assert grown[2] - grown[1] == 99_000 * 2 * 16 * 4
    windowed = of(AttentionConfig(heads=2, window=100))
    assert windowed[1] == windowed[2] == 99 * 2 * 16 * 4 + 8


def test_dropout_is_of_training_alone():
    torch.manual_seed(0)
    stack = Stack(StackConfig(layers=(AttentionConfig(),), width=16, dropout=0.5))
    x = torch.randn(1, 5, 16)
    assert not torch.allclose(stack(x), stack(x))
    stack.eval()
    torch.testing.assert_close(stack(x), stack(x))
