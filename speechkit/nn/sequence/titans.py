"""Titans: a neural memory alone, beside attention, before it, or as its context.

- ``lmm``: the memory alone.
- ``mag``: the memory gates what a window of attention gives.
- ``mal``: a window of attention over what the memory gives.
- ``mac``: attention inside segments, over learnt vectors, what the memory knew of each position when the segment began,
  and the segment; the memory learns from what comes out, and gates it.

Source: Behrouz et al. 2024 (Titans), section 4. There the memory of ``mac`` may see a whole segment before it is read;
here each position reads what those up to it have written, and sees of the context the positions up to it, so that none
sees a later one. Learnt vectors are seen by attention alone: the memory begins as learnt.

Notation used for tensor shapes: B rows, T positions, D width, H heads, E width of a head, K positions of a chunk, which
is a segment of ``mac``, L layers of the memory, W positions of short convolutions.
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
        chunk: K; another length is another model.
        depth: L.
        expansion: width inside of the memory's layers, in widths of a head.
        kernel: W, behind queries, keys and values; ``mac`` has none behind what it makes of attention's output.
        rate: the largest theta times K.
        window: positions that attention of ``mag`` and ``mal`` sees.
        persistent: learnt vectors that attention sees.
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
    """The memory alone, ``lmm``.

    Raises:
        ConfigError: if a size is 0 or the width of a head is not whole.
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
        """``memory.0`` and so on, and ``momentum.0`` and ``origin.0`` (B, H, O, I); ``local.query`` (B, W - 1, D).

        The origin is the memory at the begin of the chunk, of which a row has had ``begun`` (B,) positions.
        """
        first = [weight.to(device, accumulated(dtype)).expand(batch, *weight.shape) for weight in self.first]
        state = self._stored(first, [torch.zeros_like(weight) for weight in first], first)
        for name, local in self.local.items():
            assert isinstance(local, ShortConvolution)
            state[f"local.{name}"] = local.start(batch, device, dtype)
        return state | {"begun": torch.zeros(batch, dtype=torch.int64, device=device)}

    def state_bytes(self, positions: int) -> int:
        """The same after any number of positions."""
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
        """Queries, keys or values (B, T, H, E), float32 at least; what a convolution has read goes into ``after``."""
        projected = self.get_submodule(name)(x)
        if name in self.local:
            projected, after[f"local.{name}"] = self.local[name](projected, state[f"local.{name}"], rows, keep)
        heads = F.silu(projected).view(*x.shape[:2], self.config.heads, self.head_width).to(accumulated(x.dtype))
        return heads if name == "value" else F.normalize(heads, dim=-1)

    def _next_origin(self, grid: ChunkGrid, end: int, memory: Layers, origin: Layers) -> Layers:
        """At which memory the gradients behind a column are taken."""
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
    """A memory and a window of attention: ``mag`` or ``mal``."""

    packs = True  # each of the two keeps documents apart as it can

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
        """Those of both, named ``memory.…`` and ``attention.…``."""
        return _joined(self.memory.start(batch, device, dtype), self.attention.start(batch, device, dtype))

    def state_bytes(self, positions: int) -> int:
        """Grows up to the window."""
        return self.memory.state_bytes(positions) + self.attention.state_bytes(positions)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        of_memory, of_attention = (None, None) if state is None else _apart(state)
        recalled, of_memory = self.memory.read(x, of_memory, rows, keep)
        attended, of_attention = self.attention.read(x if self.gate else recalled, of_attention, rows, keep)
        mixed = attended if self.gate is None else self.gate(attended, recalled)
        return mixed, _joined(of_memory, of_attention)

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        mixed, state = self.mix(x[:, None], state, Rows(), keep=True)
        return mixed[:, 0], state


class MemoryAsContext(NeuralMemory):
    """Attention inside segments over what the memory knows: ``mac``."""

    def __init__(self, width: int, config: TitansConfig):
        super().__init__(width, config)
        if self.head_width % 2:
            raise ConfigError(f"titans layer: a head is {self.head_width} wide; rotary positions need an even width")
        self.attention = SoftmaxAttention(width, AttentionConfig(heads=config.heads, persistent=config.persistent))
        self.ask = nn.Linear(width, width, bias=False)
        self.gate = MemoryGate(width)

    def _convolved(self) -> tuple[str, ...]:
        return ("query",)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """As of the memory; also ``segment`` (B, 2 K, D): what the memory gave of the segment, and the segment."""
        segment = torch.zeros(batch, 2 * self.config.chunk, self.width, device=device, dtype=dtype)
        return super().start(batch, device, dtype) | {"segment": segment}

    def state_bytes(self, positions: int) -> int:
        """The same after any number of positions."""
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
            heads = [self._made(part, attended) for part in (self.ask, self.key, self.value)]
            asked, key = (F.normalize(part, dim=-1) for part in heads[:2])
            parts = self.gates(attended, active, key.dtype)
            read, memory, momentum = update_and_read(memory, momentum, origin, key, heads[2], asked, parts)
            origin = self._next_origin(grid, end, memory, origin)
            recalled = self.norm(read.transpose(1, 2).to(x.dtype)).flatten(2)
            made.append(self.gate(attended, self.out(recalled)))
        after |= self._stored(memory, momentum, origin)
        after |= {"segment": torch.cat([context, segment], 1), "begun": grid.begun}
        return grid.joined(made), after if keep else {}

    def _made(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """(B, C, D) to (B, H, C, E), float32 at least."""
        heads = F.silu(projection(x)).view(*x.shape[:2], self.config.heads, self.head_width)
        return heads.transpose(1, 2).to(accumulated(x.dtype))

    def _attended(self, context: Tensor, segment: Tensor, begin: int, end: int) -> Tensor:
        """Places ``begin`` to ``end`` of a segment, each over the context and the segment up to it: (B, C, D)."""
        places = torch.arange(end, device=segment.device)
        seen = places[None] <= places[begin:, None]  # (C, end)
        read = torch.cat([context[:, :end], segment[:, :end]], 1)
        return self.attention.attend(segment[:, begin:end], read, places[begin:], places.repeat(2), seen.repeat(1, 2))


class MemoryGate(nn.Module):
    """What attention gives, normalised, times the SiLU of what memory gives, normalised: (B, T, D) both."""

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
    """A segment (B, K, D) with a piece (B, C, D) from a place on, where that is of a position (B, C)."""
    old = segment[:, first : first + piece.shape[1]]
    new = piece if active is None else torch.where(active[..., None], piece, old)
    return torch.cat([segment[:, :first], new, segment[:, first + piece.shape[1] :]], 1)


def _joined(of_memory: State, of_attention: State) -> State:
    named = {f"memory.{name}": part for name, part in of_memory.items()}
    return named | {f"attention.{name}": part for name, part in of_attention.items()}


def _apart(state: State) -> tuple[State, State]:
    parts: tuple[State, State] = ({}, {})
    for name, part in state.items():
        owner, own = name.split(".", 1)
        parts[owner == "attention"][own] = part
    return parts
