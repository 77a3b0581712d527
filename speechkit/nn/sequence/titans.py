"""Titans: a neural memory alone (LMM), as a gate (MAG), as a layer (MAL) or as context (MAC) of attention.

- ``lmm``: the memory alone.
- ``mag``: sliding-window attention, gated by the memory.
- ``mal``: sliding-window attention on the output of the memory.
- ``mac``: attention inside segments over persistent vectors, the memory's output for each position at the start of the
  segment, and the segment; the memory is updated with the attention output, and gates it.

Source: Behrouz et al. 2024 (Titans), section 4. There the memory of ``mac`` may see a whole segment before it is read;
here a position reads the memory after its own update, and only context up to itself, which keeps the layer causal.
Persistent vectors are used by attention only; the memory has a learned initial state.

Notation used for tensor shapes: B rows, T positions, D width, H heads, E width of a head, K positions of a chunk (a
segment of ``mac``), L layers of the memory, W kernel of the short convolutions.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.sequence.chunk_grid import ChunkGrid
from speechkit.nn.sequence.convolution import ShortConvolution
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State, accumulated, checked_width
from speechkit.nn.sequence.neural_memory import Gates, Layers, first_memory, read_memory, update_and_read
from speechkit.nn.sequence.rows import Rows
from speechkit.nn.sequence.softmax_attention import AttentionConfig, SoftmaxAttention

KEPT = ("memory", "momentum", "origin")


class TitansConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="titans"):
    """A neural memory.

    Attributes:
        variant: see the module.
        heads: H, of the memory and of attention.
        chunk: K; part of the model, not a mere setting of the implementation.
        depth: L.
        expansion: inner width of the memory, in head widths.
        kernel: W, of convolutions after queries, keys and values; for ``mac`` after the queries only.
        rate: maximum theta times K.
        window: sliding window of the attention of ``mag`` and ``mal``.
        persistent: number of persistent vectors of attention.
    """

    variant: Literal["lmm", "mag", "mal", "mac"] = "mag"
    heads: int = 4
    chunk: int = 16
    depth: int = 2
    expansion: int = 2
    kernel: int = 4
    rate: float = 1.0
    window: int = 64
    persistent: int = 4


class NeuralMemory(SequenceMixer):
    """The neural memory layer, ``lmm``.

    Raises:
        ConfigError: if a size is 0, or the width is not a multiple of the heads.
    """

    def __init__(self, width: int, config: TitansConfig):
        super().__init__(width)
        self.config = config
        self.head_width = checked_width(config, width, config.heads, "heads")
        sizes = {name: getattr(config, name) for name in ("chunk", "depth", "expansion", "kernel")}
        if not all(sizes.values()):
            raise ConfigError(
                f"titans layer: {', '.join(f'{n} {v}' for n, v in sizes.items())}; give 1 or more of each"
            )
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.local = nn.ModuleDict({name: ShortConvolution(width, config.kernel) for name in self._convolved()})
        self.gates = Gates(width, config.heads, config.rate / config.chunk)
        self.first = first_memory(config.heads, self.head_width, config.depth, config.expansion)
        self.norm = nn.RMSNorm(self.head_width)
        self.out = nn.Linear(width, width)

    def _convolved(self) -> tuple[str, ...]:
        return ("query", "key", "value")

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``memory.0``, ``momentum.0``, ``origin.0`` (B, H, O, I) and so on; ``local.query`` (B, W - 1, D).

        The origin is the memory at the start of the current chunk, of which ``begun`` (B,) positions are done.
        """
        first = [weight.to(device, accumulated(dtype)).expand(batch, *weight.shape) for weight in self.first]
        state = self._stored(first, [torch.zeros_like(weight) for weight in first], first)
        for name, local in self.local.items():
            assert isinstance(local, ShortConvolution)
            state[f"local.{name}"] = local.start(batch, device, dtype)
        return state | {"begun": torch.zeros(batch, dtype=torch.int64, device=device)}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        memory: int = len(KEPT) * sum(weight.numel() for weight in self.first) * self.element_bytes(accumulated=True)
        return memory + len(self.local) * (self.config.kernel - 1) * self.width * self.element_bytes() + 8

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        state = self.start(len(x), x.device, x.dtype) if state is None else state
        after: State = {}
        inputs = [self._heads(name, x, state, after, rows, keep) for name in ("query", "key", "value")]
        memory, momentum, origin = self._loaded(state)
        grid, made = ChunkGrid(state["begun"], x.shape[1], self.config.chunk, rows), []
        for begin, end in grid.pieces:
            query, key, value = (grid.taken(part, begin, end).transpose(1, 2) for part in inputs)
            active = grid.active(begin, end)
            parts = self.gates(grid.taken(x, begin, end), active, key.dtype)
            read, memory, momentum = update_and_read(memory, momentum, origin, key, value, query, parts)
            origin = self._next_origin(grid, end, memory, origin)
            made.append(read.transpose(1, 2))
        mixed = self.out(self.norm(grid.joined(made).to(x.dtype)).flatten(2))
        return mixed, after | self._stored(memory, momentum, origin) | {"begun": grid.begun} if keep else {}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        mixed, state = self.mix(x[:, None], state, Rows(), keep=True)
        return mixed[:, 0], state

    def _heads(self, name: str, x: Tensor, state: State, after: State, rows: Rows, keep: bool) -> Tensor:
        """Queries, keys or values (B, T, H, E), at least float32; the convolution's state is written to ``after``."""
        projected = self.get_submodule(name)(x)
        if name in self.local:
            projected, after[f"local.{name}"] = self.local[name](projected, state[f"local.{name}"], rows, keep)
        heads = F.silu(projected).view(*x.shape[:2], self.config.heads, self.head_width).to(accumulated(x.dtype))
        return heads if name == "value" else F.normalize(heads, dim=-1)

    def _next_origin(self, grid: ChunkGrid, end: int, memory: Layers, origin: Layers) -> Layers:
        """The memory at which gradients after column ``end`` are computed."""
        if not grid.ends_chunk(end):
            return origin
        ended = grid.ended(end)
        if ended is None:
            return memory
        return [torch.where(ended[:, None, None, None], new, old) for new, old in zip(memory, origin, strict=True)]

    def _loaded(self, state: State) -> tuple[Layers, Layers, Layers]:
        memory, momentum, origin = ([state[f"{part}.{layer}"] for layer in range(len(self.first))] for part in KEPT)
        return memory, momentum, origin

    def _stored(self, *parts: Layers) -> State:
        named = zip(KEPT, parts, strict=True)
        return {f"{name}.{layer}": weight for name, layers in named for layer, weight in enumerate(layers)}


class WindowedMemory(SequenceMixer):
    """A memory and sliding-window attention: ``mag`` or ``mal``."""

    packs = True  # both parts handle packed documents

    def __init__(self, width: int, config: TitansConfig):
        super().__init__(width)
        if not config.window:
            raise ConfigError("titans layer: window is 0; give 1 or more positions")
        self.config = config
        self.memory = NeuralMemory(width, config)
        self.attention = SoftmaxAttention(
            width, AttentionConfig(heads=config.heads, window=config.window, persistent=config.persistent)
        )
        self.gate = MemoryGate(width) if config.variant == "mag" else None

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """States of both parts, with keys ``memory.…`` and ``attention.…``."""
        return _joined(self.memory.start(batch, device, dtype), self.attention.start(batch, device, dtype))

    def state_bytes(self, positions: int) -> int:
        """Linear in the number of positions up to the window."""
        return self.memory.state_bytes(positions) + self.attention.state_bytes(positions)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        of_memory, of_attention = (None, None) if state is None else _split(state)
        recalled, of_memory = self.memory.read(x, of_memory, rows, keep)
        attended, of_attention = self.attention.read(x if self.gate else recalled, of_attention, rows, keep)
        mixed = attended if self.gate is None else self.gate(attended, recalled)
        return mixed, _joined(of_memory, of_attention)

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        mixed, state = self.mix(x[:, None], state, Rows(), keep=True)
        return mixed[:, 0], state


class MemoryAsContext(NeuralMemory):
    """Attention inside segments with the memory's output as context: ``mac``."""

    def __init__(self, width: int, config: TitansConfig):
        super().__init__(width, config)
        if self.head_width % 2:
            raise ConfigError(f"titans layer: a head is {self.head_width} wide; rotary positions need an even width")
        self.attention = SoftmaxAttention(width, AttentionConfig(heads=config.heads, persistent=config.persistent))
        self.memory_query = nn.Linear(width, width, bias=False)
        self.gate = MemoryGate(width)

    def _convolved(self) -> tuple[str, ...]:
        return ("query",)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """The memory's state, and ``segment`` (B, 2 K, D): the memory's output for the segment, and the segment."""
        segment = torch.zeros(batch, 2 * self.config.chunk, self.width, device=device, dtype=dtype)
        return super().start(batch, device, dtype) | {"segment": segment}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        return super().state_bytes(positions) + 2 * self.config.chunk * self.width * self.element_bytes()

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        state = self.start(len(x), x.device, x.dtype) if state is None else state
        after: State = {}
        queries = self._heads("query", x, state, after, rows, keep)
        memory, momentum, origin = self._loaded(state)
        context, segment = state["segment"].chunk(2, 1)  # (B, K, D) each
        grid, made = ChunkGrid(state["begun"], x.shape[1], self.config.chunk, rows), []
        for begin, end in grid.pieces:
            active, first = grid.active(begin, end), begin % self.config.chunk
            known = read_memory(origin, grid.taken(queries, begin, end).transpose(1, 2)).transpose(1, 2)
            context = _placed(context, self.norm(known.to(x.dtype)).flatten(2), first, active)
            segment = _placed(segment, grid.taken(x, begin, end), first, active)
            attended = self._attended(context, segment, first, first + end - begin)  # (B, C, D)
            heads = [self._project(part, attended) for part in (self.memory_query, self.key, self.value)]
            asked, key = (F.normalize(part, dim=-1) for part in heads[:2])
            parts = self.gates(attended, active, key.dtype)
            read, memory, momentum = update_and_read(memory, momentum, origin, key, heads[2], asked, parts)
            origin = self._next_origin(grid, end, memory, origin)
            recalled = self.norm(read.transpose(1, 2).to(x.dtype)).flatten(2)
            made.append(self.gate(attended, self.out(recalled)))
        after |= self._stored(memory, momentum, origin)
        after |= {"segment": torch.cat([context, segment], 1), "begun": grid.begun}
        return grid.joined(made), after if keep else {}

    def _project(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """(B, C, D) to (B, H, C, E), at least float32."""
        heads = F.silu(projection(x)).view(*x.shape[:2], self.config.heads, self.head_width)
        return heads.transpose(1, 2).to(accumulated(x.dtype))

    def _attended(self, context: Tensor, segment: Tensor, begin: int, end: int) -> Tensor:
        """Causal attention of positions ``begin`` to ``end`` of a segment to context and segment: (B, C, D)."""
        positions = torch.arange(end, device=segment.device)
        mask = positions[None] <= positions[begin:, None]  # (C, end)
        sources = torch.cat([context[:, :end], segment[:, :end]], 1)
        return self.attention.attend(
            segment[:, begin:end], sources, positions[begin:], positions.repeat(2), mask.repeat(1, 2)
        )


class MemoryGate(nn.Module):
    """Normalised attention output times the SiLU of the normalised memory output."""

    def __init__(self, width: int):
        super().__init__()
        self.attended, self.recalled = nn.RMSNorm(width), nn.RMSNorm(width)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, attended: Tensor, recalled: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D)."""
        gated: Tensor = self.out(self.attended(attended) * F.silu(self.recalled(recalled)))
        return gated


def new_titans(width: int, config: TitansConfig) -> SequenceMixer:
    """The mixer of a variant."""
    if config.variant == "lmm":
        return NeuralMemory(width, config)
    return (MemoryAsContext if config.variant == "mac" else WindowedMemory)(width, config)


def _placed(segment: Tensor, piece: Tensor, first: int, active: Tensor | None) -> Tensor:
    """Write a piece (B, C, D) into a segment (B, K, D) at column ``first``, where active (B, C)."""
    old = segment[:, first : first + piece.shape[1]]
    new = piece if active is None else torch.where(active[..., None], piece, old)
    return torch.cat([segment[:, :first], new, segment[:, first + piece.shape[1] :]], 1)


def _joined(of_memory: State, of_attention: State) -> State:
    named = {f"memory.{name}": part for name, part in of_memory.items()}
    return named | {f"attention.{name}": part for name, part in of_attention.items()}


def _split(state: State) -> tuple[State, State]:
    parts: tuple[State, State] = ({}, {})
    for name, part in state.items():
        owner, own = name.split(".", 1)
        parts[owner == "attention"][own] = part
    return parts
