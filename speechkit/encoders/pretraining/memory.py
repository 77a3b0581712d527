"""Memory of a pre-training step by arithmetic: what the weights, their states and the activations take in float32.

Weights, gradients, the two moments of AdamW and the running average take 20 bytes for each parameter, whatever the
batch. Activations are the tensors that autograd keeps from the forward to the backward pass; they grow with the seconds
of audio in a batch and, where attention keeps its probabilities, with the square of the length of an item. Temporary
tensors and the program itself come on top, as do a teacher's weights in distillation.

Notation used in comments: T frames, W width, F width of the feed-forward layer, C channels.
"""

from __future__ import annotations

from math import prod
from typing import Any

import msgspec
from torch import nn

FLOAT = 4
STATES = 4
"""Of a parameter beside its value in the running average: value, gradient, two moments."""
SAMPLE_RATE, FRAME_RATE = 16_000, 50


class StepMemory(msgspec.Struct, frozen=True):
    """Bytes of a step of training.

    Attributes:
        parameters: that are trained.
        states: weights, gradients, moments and running average.
        activations: tensors that autograd keeps of a batch.
    """

    parameters: int
    states: int
    activations: int

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.parameters / 1e6:.1f} million parameters: {self.states / 1e9:.1f} GB for weights, gradients, "
            f"optimiser and average, {self.activations / 1e9:.1f} GB for a batch's activations in float32"
        )


def step_memory(network: nn.Module, batch_seconds: float, crop_seconds: float) -> StepMemory:
    """Memory of a step on a batch full of the longest crops.

    Args:
        network: of a family, as `speechkit.encoders.pretraining.families.make_family` gives it.
        batch_seconds: of all crops together.
        crop_seconds: of one.
    """
    parameters = sum(value.numel() for value in network.parameters() if value.requires_grad)
    config = next(module.config for module in network.modules() if hasattr(module, "config"))
    items = max(1, int(batch_seconds // crop_seconds))
    return StepMemory(parameters, FLOAT * (STATES + 1) * parameters, activation_bytes(config, crop_seconds, items))


def activation_bytes(config: Any, seconds: float, items: int = 1) -> int:
    """Bytes of the tensors that autograd keeps of ``items`` items of so many seconds, in float32.

    Args:
        config: of the encoder, wav2vec 2.0 with norms over channels, or autoregressive.
        seconds: of an item.
        items: of the batch.
    """
    frames = FRAME_RATE * seconds
    if not hasattr(config, "conv_dim"):
        # A recurrent layer keeps seven vectors of each step (gates, candidates, states), and gives one to the next.
        return int(FLOAT * items * frames * config.layers * 8 * config.width)
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    # A convolution keeps what its norm, its GELU and the next convolution take: 3 C at its own rate.
    rates = [SAMPLE_RATE / prod(config.conv_stride[: number + 1]) for number in range(len(config.conv_stride))]
    kept = 3 * seconds * sum(rate * channels for rate, channels in zip(rates, config.conv_dim, strict=True))
    # Between convolutions and layers: input of projection and penalty, positions and their GELU, the last norm.
    kept += frames * (2 * config.conv_dim[-1] + 6 * width)
    # A layer keeps both norms' inputs and outputs (4 W), query, key, value, the output of attention and its scaled
    # query (5 W), and both sides of the GELU (2 F); dropout keeps two masks (2 W).
    kept += frames * layers * ((9 + 2 * (config.hidden_dropout > 0)) * width + 2 * inner)
    if config.attention_dropout > 0:  # attention with dropout keeps scores, mask and result, each (heads, T, T)
        kept += 3 * frames * frames * layers * config.num_attention_heads
    # The weight norm of the positional convolution keeps its weights once a batch.
    once = width * (width // config.num_conv_pos_embedding_groups) * config.num_conv_pos_embeddings
    return int(FLOAT * (items * kept + once))
