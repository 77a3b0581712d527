"""Small unit models with drawn weights."""

from __future__ import annotations

import torch

from speechkit.lm.unit_model import UnitModel, UnitModelConfig
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.nn.sequence.gated_recurrent import RecurrentConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import StackConfig
from speechkit.units.quantizers import UnitSet

UNITS = UnitSet("c0ffee", 7, 50.0)
LAYERS = {
    "attention": AttentionConfig(heads=2),
    "windowed attention": AttentionConfig(heads=2, key_heads=1, window=4),
    "lstm": RecurrentConfig(),
    "gru": RecurrentConfig(kind="gru"),
}


def unit_model(layer="attention", seed=0, spans=0, duration_bins=0, layers=2, spread=0.5, width=16, units=UNITS):
    """Weights large enough that probabilities are far from even."""
    torch.manual_seed(seed)
    stack = StackConfig(layers=(LAYERS[layer],) * layers, width=width, feed_width=2 * width)
    config = UnitModelConfig(
        vocabulary=UnitVocabulary(units, spans), stack=stack, duration_bins=duration_bins, context=32
    )
    model = UnitModel(config)
    torch.nn.init.normal_(model.embedding.weight)
    torch.nn.init.normal_(model.head.weight, std=spread)
    return model.eval()


def text_model(kind="llama", folder=None, vocabulary=13):
    """A causal language model of transformers with drawn weights, saved into a folder."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=vocabulary, n_embd=16, n_layer=2, n_head=2, n_positions=64)
        model = GPT2LMHeadModel(config)
    elif kind == "opt":
        config = OPTConfig(
            vocab_size=vocabulary, hidden_size=16, ffn_dim=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=64, word_embed_proj_dim=16, pad_token_id=1,
        )  # fmt: skip
        model = OPTForCausalLM(config)
    else:
        config = LlamaConfig(
            vocab_size=vocabulary, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=64,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model.eval()
