"""Heads that draft the next tokens of a language model from its own hidden vectors (Chimera; Zeng et al. 2024).

The model itself stays as it is. What it thought behind the last token that it has read, and what one small layer makes
of all its thoughts and of the tokens since, in threes, give the law of each token to come, one head a token; a token
that is drawn becomes part of the next three, so that heads depend on one another. Drafts go through the one verifier,
`speechkit.lm.decoding.draft_tree`: whatever the heads say, what comes out has the model's law.

Notation used for tensor shapes: B rows, T tokens, D width, V vocabulary, N positions that were read, K heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError, UserError
from speechkit.lm.decoding.draft_tree import DraftTree
from speechkit.lm.decoding.sampling import SamplingConfig
from speechkit.lm.interface import State, Tokens
from speechkit.nn.checkpoints import read_network, write_network
from speechkit.nn.sequence.growing import append_columns
from speechkit.nn.sequence.softmax_attention import AttentionConfig, SoftmaxAttention
from speechkit.nn.sequence.stack import GatedFeedForward
from speechkit.units.quantizers import UnitSet

if TYPE_CHECKING:
    from speechkit.lm.decoding.speculative import DraftConfig
    from speechkit.lm.networks import UnitNetwork

GRAM = 3
"""Tokens that are read together."""
Size = Annotated[int, msgspec.Meta(ge=1, le=2**16)]


class DraftHeadsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``config.json`` holds.

    Attributes:
        model_type: tells it from other checkpoints.
        units: the model's tokens, the boundary apart.
        width: D, of the model.
        embedding_width: of the model's table of tokens.
        heads: K, tokens that can be drafted one behind another.
        attention_heads: of the layer.
        feed_width: inside of its feed-forward.
    """

    model_type: Literal["speechkit-draft-heads"] = "speechkit-draft-heads"
    units: UnitSet
    width: Size
    embedding_width: Size
    heads: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    attention_heads: Size = 4
    feed_width: Size = 256


class _Remembering(SoftmaxAttention):
    """Attention whose keys and values come from two kinds of vectors and are kept."""

    def remember(self, read: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, T, E) of vectors (B, T, D) at positions (T,)."""
        return self._turn(at, read.dtype)(self._heads(self.key, read)), self._heads(self.value, read)

    def ask(self, asking: Tensor, at: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """What vectors (B, T, D) at positions (T,) get of kept ones (B, H, C, E), where ``seen`` (B or 1, T, C)."""
        return self._attended(
            self._turn(at, asking.dtype)(self._heads(self.query, asking)), keys, values, seen[:, None]
        )


class DraftHeads(nn.Module):
    """The layer and the heads.

    Args:
        config: see there.

    Raises:
        ConfigError: if the width cannot be shared by the attention heads.
    """

    embedding: Tensor

    def __init__(self, config: DraftHeadsConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("embedding", torch.zeros(config.units.clusters + 1, config.embedding_width))
        gram = GRAM * config.embedding_width
        self.mix = nn.Linear(gram, gram)
        self.enter = nn.Linear(gram, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(4))
        self.attention = _Remembering(width, AttentionConfig(heads=config.attention_heads))
        self.feed = GatedFeedForward(width, config.feed_width)
        self.heads = nn.ModuleList(
            nn.Linear(2 * width, config.units.clusters + 1, bias=False) for _ in range(config.heads)
        )
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    @property
    def boundary(self) -> int:
        """The token that begins and ends a sequence."""
        return self.config.units.clusters

    def linear_heads(self) -> list[nn.Linear]:
        """The heads, the next token's first."""
        return [head for head in self.heads if isinstance(head, nn.Linear)]

    def grams(self, tokens: Tensor) -> Tensor:
        """Tokens in threes, (B, T, 3) with the newest last, to vectors (B, T, D)."""
        joined = self.embedding[tokens].flatten(-2)
        vectors: Tensor = self.enter(joined + F.silu(self.mix(joined)))
        return vectors

    def remember(self, vectors: Tensor, at: Tensor, grams: bool) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, T, E) of what the model thought, or of grams, (B, T, D)."""
        return self.attention.remember(self.norms[int(grams)](vectors), at)

    def guess(self, grams: Tensor, at: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """What the model would think behind tokens of which it knows the grams (B, T, D): (B, T, D)."""
        x = grams + self.attention.ask(self.norms[1](grams), at, keys, values, seen)
        x = x + self.feed(self.norms[2](x))
        guessed: Tensor = self.norms[3](x)
        return guessed

    def logits(self, head: int, thought: Tensor, guess: Tensor) -> Tensor:
        """The law of a head's token, from the last thought (…, D) and the guess of a later one (…, D): (…, V)."""
        logits: Tensor = self.heads[head](torch.cat([thought, guess], -1))
        return logits

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors``, in float16 with ``half``."""
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> DraftHeads:
        """Read what `save_pretrained` wrote, from a folder or hub id, in float32.

        Raises:
            UserError: if it holds no draft heads, or weights are missing, damaged or of other sizes.
        """
        return read_network(name, DraftHeadsConfig, cls, "draft heads")


def new_heads(network: UnitNetwork, heads: int = 4) -> DraftHeads:
    """Heads of a model that begin as its own head, over its own table of tokens; the layer is drawn.

    Raises:
        ConfigError: if the model's width is odd.
    """
    from speechkit.lm.unit_model import UnitModel

    tables: list[Any] = (
        [network.embedding, network.head]
        if isinstance(network, UnitModel)
        else [network.decoder.get_input_embeddings(), network.decoder.get_output_embeddings()]
    )
    table, last = (each.weight.detach() for each in tables)
    width = last.shape[1]
    shared = next((count for count in (4, 3, 2, 1) if width % (2 * count) == 0), 0)
    if not shared:
        raise ConfigError(f"the model is {width} wide; draft heads need an even width")
    made = DraftHeads(
        DraftHeadsConfig(
            units=network.vocabulary.units,
            width=width,
            embedding_width=table.shape[1],
            heads=heads,
            attention_heads=shared,
            feed_width=2 * width,
        )
    ).to(table.device)
    with torch.no_grad():
        made.embedding.copy_(table[: made.boundary + 1])
        for head in made.linear_heads():
            # Half each: where the guess is right, the two together are the model's own head.
            head.weight.copy_(torch.cat([last, last], 1)[: made.boundary + 1] / 2)
    return made


@dataclass(frozen=True)
class _Memory:
    """What the heads know of B paths behind one sequence.

    Attributes:
        thought: (D,) of the model, behind the last token that it has read.
        keys: (B, H, C, E) of all its thoughts, and of the grams of all tokens.
        values: the same.
        last: (B, 2) the newest tokens.
        newest: (B, D) the gram of the newest one.
        position: of the next token.
        head: that has given the law of the next token.
    """

    thought: Tensor
    keys: Tensor
    values: Tensor
    last: Tensor
    newest: Tensor
    position: int
    head: int


class HeadsDrafter:
    """`speechkit.lm.decoding.speculative.Drafter` over draft heads.

    Args:
        heads: go to inference.
        network: the model itself.

    Raises:
        UserError: if the heads are not those of a model of this size and codebook.
    """

    def __init__(self, heads: DraftHeads, network: UnitNetwork):
        units, theirs = heads.config.units, network.vocabulary.units
        if units.digest != theirs.digest or units.clusters != theirs.clusters:
            raise UserError(
                f"the draft heads are of the codebook {units.digest[:12]} and the model of {theirs.digest[:12]}; give "
                "heads that were trained for this model (speechkit lm heads)"
            )
        parameter = next(network.parameters())
        self._heads = heads.to(parameter.device, parameter.dtype).eval()
        self._network = network
        self.vocabulary, self.boundary = units.clusters + 1, units.clusters

    def check(self, depth: int) -> None:
        """Refuse trees deeper than there are heads.

        Raises:
            ConfigError: naming both.
        """
        if depth > self._heads.config.heads:
            raise ConfigError(
                f"a tree of {depth} levels needs as many draft heads, and there are {self._heads.config.heads}; draft "
                "fewer levels, or train more heads"
            )

    @torch.inference_mode()
    def begin(self, prompt: Sequence[int]) -> State:
        """Behind a prompt: nothing can be drafted before the model has drawn a token."""
        tokens = torch.tensor([prompt], device=next(self._heads.parameters()).device)
        hidden = self._network.hidden(tokens)  # (1, N, D)
        if hidden.shape[2] != self._heads.config.width:
            raise UserError(
                f"the draft heads are of a model {self._heads.config.width} wide and this one is {hidden.shape[2]} "
                "wide; give heads that were trained for this model (speechkit lm heads)"
            )
        empty = self._heads.attention.start(1, tokens.device, hidden.dtype)
        start = torch.full((1, GRAM - 1), self.boundary, device=tokens.device)
        memory = _Memory(hidden[0, -1], empty["keys"], empty["values"], start, hidden[:, -1], 0, -1)
        return State(np.zeros((1, self.vocabulary)), self._read(self._thought(memory, hidden, 0), tokens))

    @torch.inference_mode()
    def grow(
        self, state: State, sampling: SamplingConfig, config: DraftConfig, generator: np.random.Generator
    ) -> DraftTree:
        """A tree behind the last token, by the heads' laws; an empty one where the model has read that token."""
        from speechkit.lm.decoding.speculative import draft_tree

        if state.memory.head < 0:
            none = np.zeros(0, np.int64)
            return DraftTree(none, none, np.zeros((1, self.vocabulary)))
        return draft_tree(self, state, sampling, config, generator)

    @torch.inference_mode()
    def follow(self, state: State, tokens: Sequence[int], hidden: Tensor | None) -> State:
        """Behind new tokens (P,), all but the last of which the model has now read, and the one before them.

        Args:
            state: that the tree grew from.
            tokens: that were accepted, and the one that the model drew.
            hidden: (R, D) what the model thought behind each that it has read.
        """
        memory: _Memory = state.memory
        if hidden is not None and len(hidden):
            memory = self._thought(memory, hidden[None], memory.position - 1)
        new = torch.tensor([list(tokens)], device=memory.thought.device)
        memory = self._read(memory, new)
        return self._law(memory, 0)

    @torch.inference_mode()
    def step(self, state: State, tokens: Tokens) -> State:
        """One more token (B,) of each path, by the next head."""
        memory: _Memory = state.memory
        read = self._read(memory, torch.from_numpy(np.ascontiguousarray(tokens)).to(memory.thought.device)[:, None])
        return self._law(read, memory.head + 1)

    @torch.inference_mode()
    def select(self, state: State, rows: Tokens) -> State:
        """State of the given rows."""
        memory: _Memory = state.memory
        index = torch.from_numpy(np.ascontiguousarray(rows)).to(memory.thought.device)
        chosen = _Memory(
            memory.thought,
            memory.keys[index],
            memory.values[index],
            memory.last[index],
            memory.newest[index],
            memory.position,
            memory.head,
        )
        return State(state.logp[rows], chosen)

    def _thought(self, memory: _Memory, hidden: Tensor, begin: int) -> _Memory:
        """With what the model thought behind tokens (1, R, D) from a position on."""
        at = torch.arange(begin, begin + hidden.shape[1], device=hidden.device)
        keys, values = self._heads.remember(hidden, at, grams=False)
        joined = append_columns(memory.keys, keys), append_columns(memory.values, values)
        return replace(memory, thought=hidden[0, -1], keys=joined[0], values=joined[1])

    def _read(self, memory: _Memory, tokens: Tensor) -> _Memory:
        """With tokens (B, T), each a gram with the two before it."""
        line = torch.cat([memory.last, tokens], 1)
        grams = self._heads.grams(line.unfold(1, GRAM, 1))
        at = torch.arange(memory.position, memory.position + tokens.shape[1], device=tokens.device)
        keys, values = self._heads.remember(grams, at, grams=True)
        joined = append_columns(memory.keys, keys), append_columns(memory.values, values)
        position = memory.position + tokens.shape[1]
        return _Memory(memory.thought, *joined, line[:, 1 - GRAM :], grams[:, -1], position, -1)

    def _law(self, memory: _Memory, head: int) -> State:
        """Next-token distribution of a head after each path."""
        at = torch.tensor([memory.position - 1], device=memory.thought.device)
        seen = torch.ones(1, 1, memory.keys.shape[2], dtype=torch.bool, device=memory.thought.device)
        guess = self._heads.guess(memory.newest[:, None], at, memory.keys, memory.values, seen)[:, 0]  # (B, D)
        logits = self._heads.logits(head, memory.thought.expand_as(guess), guess)
        return State(logits.cpu().double().log_softmax(-1).numpy(), replace(memory, head=head))
