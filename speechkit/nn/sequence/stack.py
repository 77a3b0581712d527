"""A stack of pre-norm residual layers, each a mixer and a gated feed-forward.

The stack is itself a mixer, with the states of all layers in one dictionary.

Source: Zhang and Sennrich 2019 (norm), Shazeer 2020 (gated feed-forward).

Notation used for tensor shapes: B rows, T positions, D width, K inner width of a feed-forward.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.sequence.aaren import Aaren, AarenConfig
from speechkit.nn.sequence.convolution import ConvolutionConfig, GatedConvolution
from speechkit.nn.sequence.gated_recurrent import GatedRecurrent, RecurrentConfig
from speechkit.nn.sequence.linear_attention import JrtConfig, PrefixLinearAttention
from speechkit.nn.sequence.lssl import Lssl, LsslConfig
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State
from speechkit.nn.sequence.ngram_head import NgramConfig, NgramHead
from speechkit.nn.sequence.rows import Rows, is_single_row, numbers
from speechkit.nn.sequence.s4d import S4D, S4DConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig, SoftmaxAttention
from speechkit.nn.sequence.titans import TitansConfig, new_titans

LayerConfig = (
    AttentionConfig
    | RecurrentConfig
    | ConvolutionConfig
    | S4DConfig
    | LsslConfig
    | AarenConfig
    | JrtConfig
    | TitansConfig
    | NgramConfig
)
MIXERS: dict[type[MixerConfig], Callable[..., SequenceMixer]] = {
    AttentionConfig: SoftmaxAttention,
    RecurrentConfig: GatedRecurrent,
    ConvolutionConfig: GatedConvolution,
    S4DConfig: S4D,
    LsslConfig: Lssl,
    AarenConfig: Aaren,
    JrtConfig: PrefixLinearAttention,
    TitansConfig: new_titans,
    NgramConfig: NgramHead,
}
"""Mixers by configuration; a new mixer is registered here and in `LayerConfig`."""
MOST_LAYERS = 256


class StackConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration that determines a stack.

    Attributes:
        layers: from input to output.
        width: D.
        feed_width: K; 0: no feed-forwards.
        dropout: of the residual branches.
        norm_eps: epsilon of the RMS norms.
    """

    layers: tuple[LayerConfig, ...]
    width: int = 256
    feed_width: int = 688
    dropout: float = 0.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < len(self.layers) <= MOST_LAYERS:
            raise ConfigError(f"stack: {len(self.layers)} layers; give between 1 and {MOST_LAYERS}")
        if self.width < 1 or self.feed_width < 0:
            raise ConfigError(f"stack: width {self.width} and feed_width {self.feed_width}; give 1 or more, 0 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"stack: dropout is {self.dropout}; give at least 0 and less than 1")


def new_mixer(width: int, config: MixerConfig) -> SequenceMixer:
    """The mixer of a configuration, with random weights."""
    return MIXERS[type(config)](width, config)


class GatedFeedForward(nn.Module):
    """SwiGLU feed-forward, (…, D) -> (…, D)."""

    def __init__(self, width: int, feed_width: int):
        super().__init__()
        self.gate = nn.Linear(width, feed_width, bias=False)
        self.up = nn.Linear(width, feed_width, bias=False)
        self.down = nn.Linear(feed_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        fed: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return fed


class Layer(nn.Module):
    """A mixer, then optionally a feed-forward."""

    def __init__(self, stack: StackConfig, config: MixerConfig):
        super().__init__()
        self.eps = stack.norm_eps
        self.mixer_norm = nn.RMSNorm(stack.width, stack.norm_eps)
        self.mixer = new_mixer(stack.width, config)
        feeds = config.feed_forward and stack.feed_width > 0
        self.feed_norm = nn.RMSNorm(stack.width, stack.norm_eps) if feeds else None
        self.feed = GatedFeedForward(stack.width, stack.feed_width) if feeds else None
        self.dropout = nn.Dropout(stack.dropout)

    def step(self, x: Tensor, state: State, tokens: Tensor | None) -> tuple[Tensor, State]:
        """One position: (B, D) to (B, D) and the mixer's next state."""
        if isinstance(self.mixer, SoftmaxAttention) and not self.training and is_single_row(x):
            row = x.clone()
            if (after := self.mixer.add_row(row, self.mixer_norm.weight, self.eps, state)) is not None:
                return self.add_feed(row), after
        mixed, after = self.mixer.step(self.mixer_norm(x), state, tokens=tokens)
        return self.add_feed(x + self.dropout(mixed)), after

    def add_feed(self, x: Tensor) -> Tensor:
        """Apply the residual feed-forward, if any, to (…, D)."""
        if self.feed is None or self.feed_norm is None:
            return x
        if not self.training and is_single_row(x):
            from speechkit.nn.sequence.row_kernel import feed_row

            row = x.clone()
            gate, up, down = (numbers(part.weight) for part in (self.feed.gate, self.feed.up, self.feed.down))
            feed_row(numbers(row)[0], numbers(self.feed_norm.weight), self.eps, gate, up, down)
            return row
        added: Tensor = x + self.dropout(self.feed(self.feed_norm(x)))
        return added


class Stack(SequenceMixer):
    """A sequence of layers with a final norm."""

    packs = True  # each layer handles packed documents

    def __init__(self, config: StackConfig):
        super().__init__(config.width)
        self.config = config
        self.layers = nn.ModuleList(Layer(config, layer) for layer in config.layers)
        self.norm = nn.RMSNorm(config.width, config.norm_eps)
        mixers = [layer.mixer for layer in self._layers()]
        self.reads_prefix = all(mixer.reads_prefix for mixer in mixers)
        self.compares_tokens = any(mixer.compares_tokens for mixer in mixers)
        self.reads_trees = all(mixer.reads_trees for mixer in mixers)

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """Initial states of the layers, with keys such as ``0.keys``."""
        return _join([layer.mixer.start(batch, device, dtype) for layer in self._layers()])

    def state_bytes(self, positions: int) -> int:
        """The sum over the layers."""
        return sum(layer.mixer.state_bytes(positions) for layer in self._layers())

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        final: list[State] = []
        layers = self._layers()
        states: list[State | None] = [None] * len(layers)
        if state is not None:
            states = [*self._split(state)]
        for layer, layer_state in zip(layers, states, strict=True):
            mixed, after = layer.mixer.read(layer.mixer_norm(x), layer_state, rows, keep)
            x = layer.add_feed(x + layer.dropout(mixed))
            final.append(after)
        return self.norm(x), _join(final)

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        final = []
        for layer, layer_state in zip(self._layers(), self._split(state), strict=True):
            x, after = layer.step(x, layer_state, tokens)
            final.append(after)
        return self.norm(x), _join(final)

    def follow(self, state: State, nodes: int, path: Tensor) -> State:
        """See `SequenceMixer.follow`."""
        layers = zip(self._layers(), self._split(state), strict=True)
        return _join([layer.mixer.follow(layer_state, nodes, path) for layer, layer_state in layers])

    def _split(self, state: State) -> list[State]:
        """The state of each layer."""
        states: list[State] = [{} for _ in self.layers]
        for name, part in state.items():
            number, _, key = name.partition(".")
            states[int(number)][key] = part
        return states


def _join(states: list[State]) -> State:
    return {f"{number}.{name}": part for number, state in enumerate(states) for name, part in state.items()}
