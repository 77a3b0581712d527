"""The one interface of causal sequence layers.

A mixer is a file of its own: a record of its configuration and a `SequenceMixer` that maps vectors (B, T, D) to vectors
of the same shape, where a position sees itself and what is before it. It is written down once, as `mix`; what is asked
of it is a whole batch (`forward`), more of a row that has begun (`prefill`) or one position (`step`).

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
"""What a mixer remembers of each row: tensors with the rows in their first dimension. It is never changed in place."""


class MixerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="mixer"):
    """What every layer of a stack says of itself; a mixer adds its own sizes, and is told by its tag.

    Attributes:
        feed_forward: whether the layer has a feed-forward behind the mixer.
    """

    feed_forward: bool = True

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in self.__struct_fields__}
        wrong = [f"{name} is {value}" for name, value in counts.items() if type(value) in (int, float) and value < 0]
        if wrong:
            raise ConfigError(f"{self.mixer} layer: {', '.join(wrong)}; sizes are not negative")

    @property
    def mixer(self) -> str:
        """The mixer's name, as in ``config.json``."""
        return str(self.__struct_config__.tag)


class SequenceMixer(nn.Module, ABC):
    """Vectors (B, T, D) to vectors (B, T, D), none of which sees a later one.

    Args:
        width: D.
    """

    packs: bool = False
    """Whether `mix` keeps documents apart by itself; others are given each document as a row of its own."""
    reads_prefix: bool = False
    """Whether a prefix can be read in both directions."""
    compares_tokens: bool = False
    """Whether tokens must be given beside the vectors."""
    reads_trees: bool = False
    """Whether `prefill_tree` and `follow` are there."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    @abstractmethod
    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """Initial state of a batch of rows."""

    @abstractmethod
    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """(B, T, D) behind a state, None for the start, to (B, T, D) and, if ``keep``, the state behind each row's end.

        What comes out at padding is finite and means nothing.
        """

    @abstractmethod
    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """One position: (B, D), and tokens (B,) where they are compared, to (B, D) and the state behind it."""

    @abstractmethod
    def state_bytes(self, positions: int) -> int:
        """Bytes of a row's state after so many positions, in the precision of the weights."""

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        documents: Tensor | None = None,
        tokens: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D); see `Rows` for what can be said of the rows.

        Raises:
            ValueError: if the mixer needs tokens and has none, or is given a prefix and cannot read back.
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
        """As `forward`, behind what a state has read; also the state behind each row's end."""
        return self.read(x, state, Rows(lengths, documents, tokens, prefix), keep=True)

    def prefill_tree(self, x: Tensor, state: State, ancestors: Tensor) -> tuple[Tensor, State]:
        """The nodes of a tree behind what a state has read, all at once: (B, T, D) to (B, T, D) and all they leave.

        Args:
            x: of each node.
            state: of the rows; the same tree stands behind each.
            ancestors: (T, T) true where a node is or goes back to another.
        """
        return self.read(x, state, Rows(ancestors=ancestors), keep=True)

    def follow(self, state: State, nodes: int, path: Tensor) -> State:
        """The state behind a path (P,) of the tree of so many nodes that `prefill_tree` left."""
        raise ValueError(f"{type(self).__name__} keeps no nodes of trees; read the path")

    def read(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """`mix`, with documents kept apart."""
        if rows.prefix is not None and not self.reads_prefix:
            raise ValueError(f"{type(self).__name__} reads from left to right alone; give it no prefix")
        if rows.ancestors is not None and not self.reads_trees:
            raise ValueError(f"{type(self).__name__} reads one path at a time; give it no tree")
        if rows.tokens is None and self.compares_tokens:
            raise ValueError(f"{type(self).__name__} compares tokens; give them beside the vectors")
        if not x.shape[1]:
            return x, (self.start(len(x), x.device, x.dtype) if state is None else state) if keep else {}
        if rows.documents is None or self.packs:
            return self.mix(x, state, rows, keep)
        split = rows.split
        fresh: State = {}
        if keep or state is not None:
            fresh = self.start(len(split.row), x.device, x.dtype)
            state = self.start(len(x), x.device, x.dtype) if state is None else state
        begun = None if state is None else {name: split.begin(state[name], fresh[name]) for name in fresh}
        mixed, ended = self.mix(split.documents(x), begun, split.rows, keep)
        last = {} if state is None else {name: split.end(part, state[name]) for name, part in ended.items()}
        return split.merged(mixed), last

    def element_bytes(self, accumulated: bool = False) -> int:
        """Bytes of a number in the precision of the weights, or in that of sums over positions."""
        own = next(self.parameters()).element_size()
        return max(own, 4) if accumulated else own


def accumulated(dtype: torch.dtype) -> torch.dtype:
    """The precision in which sums over all positions are kept: float32 at least."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def select_rows(state: State, rows: Tensor) -> State:
    """The states of these rows, any number of times each: what a beam keeps, or the leaves of a tree."""
    return {name: part[rows] for name, part in state.items()}


def row_bytes(state: State) -> int:
    """Bytes that a state holds of one row."""
    return sum(part[0].numel() * part.element_size() for part in state.values())


def checked_width(config: MixerConfig, width: int, parts: int, of: str) -> int:
    """The width of one of ``parts`` equal parts.

    Raises:
        ConfigError: if it is not whole.
    """
    if not parts or width % parts:
        raise ConfigError(f"{config.mixer} layer: width {width} must be a multiple of the {of}, {parts}")
    return width // parts
