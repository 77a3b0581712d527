"""The interface of causal sequence mixers.

A mixer is a configuration record and a `SequenceMixer` that maps vectors (B, T, D) causally to vectors of the same
shape. It implements `mix`; the interface offers whole batches (`forward`), continuation from a state (`prefill`) and
single positions (`step`).

Notation used for tensor shapes: B rows, T positions, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec
import torch
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.sequence.rows import Rows

State = dict[str, Tensor]
"""State of a mixer: tensors with the rows as their first dimension. States are never modified in place."""


class MixerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="mixer"):
    """Base configuration of a layer; mixers add their settings, and are identified by their tag.

    Attributes:
        feed_forward: whether a feed-forward follows the mixer.
    """

    feed_forward: bool = True

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in self.__struct_fields__}
        wrong = [f"{name} is {value}" for name, value in counts.items() if type(value) in (int, float) and value < 0]
        if wrong:
            raise ConfigError(f"{self.mixer} layer: {', '.join(wrong)}; give 0 or more")

    @property
    def mixer(self) -> str:
        """The mixer's name, as in ``config.json``."""
        return str(self.__struct_config__.tag)


class SequenceMixer(nn.Module, ABC):
    """A causal map of vectors (B, T, D) to vectors (B, T, D).

    Args:
        width: D.
    """

    packs: bool = False
    """Whether `mix` handles packed documents; other mixers receive each document as a separate row."""
    reads_prefix: bool = False
    """Whether the mixer supports bidirectional prefixes."""
    compares_tokens: bool = False
    """Whether the mixer needs tokens as well as vectors."""
    reads_trees: bool = False
    """Whether the mixer supports `prefill_tree` and `follow`."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    @abstractmethod
    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """Initial state of a batch of rows."""

    @abstractmethod
    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """(B, T, D) after a state (None: initial) to (B, T, D) and, if ``keep``, the state after each row's end.

        Outputs for padding are finite but undefined.
        """

    @abstractmethod
    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """One position: (B, D), with tokens (B,) if needed, to (B, D) and the next state."""

    @abstractmethod
    def state_bytes(self, positions: int) -> int:
        """Bytes of a row's state after ``positions`` positions, in the precision of the weights."""

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        documents: Tensor | None = None,
        tokens: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D); see `Rows` for the metadata of rows.

        Raises:
            ValueError: if required tokens are missing, or a prefix is not supported.
        """
        return self.read(x, None, Rows(lengths, documents, tokens, prefix), keep=False)[0]

    def prefill(
        self,
        x: Tensor,
        state: State,
        lengths: Tensor | None = None,
        *,
        documents: Tensor | None = None,
        tokens: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """As `forward`, continuing from a state; also returns the state after each row's end."""
        return self.read(x, state, Rows(lengths, documents, tokens, prefix), keep=True)

    def prefill_tree(self, x: Tensor, state: State, ancestors: Tensor) -> tuple[Tensor, State]:
        """Process all nodes of a tree after a state at once: (B, T, D) to (B, T, D) and the state with all nodes.

        Args:
            x: of each node.
            state: of the rows; the tree is the same for all rows.
            ancestors: (T, T), true where a node equals or descends from another.
        """
        return self.read(x, state, Rows(ancestors=ancestors), keep=True)

    def follow(self, state: State, nodes: int, path: Tensor) -> State:
        """The state after a path (P,) of the tree of ``nodes`` nodes processed by `prefill_tree`."""
        raise ValueError(f"{type(self).__name__} does not support trees; process the path with prefill")

    def read(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """`mix`, with documents separated."""
        if rows.prefix is not None and not self.reads_prefix:
            raise ValueError(f"{type(self).__name__} does not support prefixes; remove the prefix")
        if rows.ancestors is not None and not self.reads_trees:
            raise ValueError(f"{type(self).__name__} does not support trees; give one path at a time")
        if rows.tokens is None and self.compares_tokens:
            raise ValueError(f"{type(self).__name__} needs tokens; give them with the vectors")
        if not x.shape[1]:
            return x, (self.start(len(x), x.device, x.dtype) if state is None else state) if keep else {}
        if rows.documents is None or self.packs:
            return self.mix(x, state, rows, keep)
        split = rows.split
        fresh: State = {}
        if keep or state is not None:
            fresh = self.start(len(split.row), x.device, x.dtype)
            state = self.start(len(x), x.device, x.dtype) if state is None else state
        initial = None if state is None else {name: split.begin(state[name], fresh[name]) for name in fresh}
        mixed, final = self.mix(split.documents(x), initial, split.rows, keep)
        last = {} if state is None else {name: split.end(part, state[name]) for name, part in final.items()}
        return split.merged(mixed), last

    def element_bytes(self, accumulated: bool = False) -> int:
        """Bytes per number in the precision of the weights, or of accumulators."""
        size = next(self.parameters()).element_size()
        return max(size, 4) if accumulated else size


def accumulated(dtype: torch.dtype) -> torch.dtype:
    """The precision of sums over positions: at least float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def select_rows(state: State, rows: Tensor) -> State:
    """States of the selected rows, with repetition, as for beams."""
    return {name: part[rows] for name, part in state.items()}


def row_bytes(state: State) -> int:
    """Bytes of a state per row."""
    return sum(part[0].numel() * part.element_size() for part in state.values())


def checked_width(config: MixerConfig, width: int, parts: int, of: str) -> int:
    """Width divided by ``parts``.

    Raises:
        ConfigError: if the width is not a multiple.
    """
    if not parts or width % parts:
        raise ConfigError(f"{config.mixer} layer: width {width} must be a multiple of the {of}, {parts}")
    return width // parts
