"""Heads that draft the next tokens of a language model from its own hidden vectors (Chimera; Zeng et al. 2024).

The model stays frozen. Head k predicts the token k + 1 positions after the last one that the model has processed, from
the model's hidden vector there and from the output of one small attention layer over all its hidden vectors and the
trigrams of the tokens so far. A drafted token enters the next trigram, so later heads depend on earlier drafts. Drafts
are verified by `speechkit.lm.decoding.draft_tree`, so that the output follows the model's distribution exactly.

Notation used for tensor shapes: B rows, T tokens, D width, V vocabulary, N processed positions, K heads.
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
"""Tokens of one input vector of the layer."""
Size = Annotated[int, msgspec.Meta(ge=1, le=2**16)]


class DraftHeadsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents of ``config.json``.

    Attributes:
        model_type: identifies the kind of checkpoint.
        units: the model's tokens, without the boundary.
        width: D, hidden width of the model.
        embedding_width: width of the model's token embeddings.
        heads: K, maximum number of consecutive drafted tokens.
        attention_heads: attention heads of the layer.
        feed_width: inner width of its feed-forward network.
    """

    model_type: Literal["speechkit-draft-heads"] = "speechkit-draft-heads"
    units: UnitSet
    width: Size
    embedding_width: Size
    heads: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    attention_heads: Size = 4
    feed_width: Size = 256


class _CachedAttention(SoftmaxAttention):
    """Attention whose keys and values, of two kinds of vectors, are computed apart from the queries and cached."""

    def keys_and_values(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, T, E) of vectors (B, T, D) at positions (T,)."""
        return self._rotation(positions, x.dtype)(self._heads(self.key, x)), self._heads(self.value, x)

    def cross_attend(self, x: Tensor, positions: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Attention of vectors (B, T, D) at positions (T,) to cached keys (B, H, C, E) by ``mask`` (B or 1, T, C)."""
        queries = self._rotation(positions, x.dtype)(self._heads(self.query, x))
        return self._attend(queries, keys, values, mask[:, None])


class DraftHeads(nn.Module):
    """The attention layer and the heads.

    Args:
        config: sizes of the layer and the heads.

    Raises:
        ConfigError: if the width is not a multiple of twice the number of attention heads.
    """

    embedding: Tensor

    def __init__(self, config: DraftHeadsConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("embedding", torch.zeros(config.units.clusters + 1, config.embedding_width))
        gram = GRAM * config.embedding_width
        self.mix = nn.Linear(gram, gram)
        self.input_proj = nn.Linear(gram, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(4))
        self.attention = _CachedAttention(width, AttentionConfig(heads=config.attention_heads))
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
        """The heads; the first predicts the next token."""
        return [head for head in self.heads if isinstance(head, nn.Linear)]

    def grams(self, tokens: Tensor) -> Tensor:
        """Vectors (B, T, D) of trigrams (B, T, 3), the newest token last."""
        joined = self.embedding[tokens].flatten(-2)
        vectors: Tensor = self.input_proj(joined + F.silu(self.mix(joined)))
        return vectors

    def keys_and_values(self, vectors: Tensor, positions: Tensor, grams: bool) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, T, E) of the model's hidden vectors (B, T, D), or with ``grams`` of trigrams."""
        return self.attention.keys_and_values(self.norms[int(grams)](vectors), positions)

    def estimate(self, grams: Tensor, positions: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Estimates (B, T, D) of the model's hidden vectors after the tokens whose trigrams (B, T, D) are given."""
        x = grams + self.attention.cross_attend(self.norms[1](grams), positions, keys, values, mask)
        x = x + self.feed(self.norms[2](x))
        estimated: Tensor = self.norms[3](x)
        return estimated

    def logits(self, head: int, hidden: Tensor, estimate: Tensor) -> Tensor:
        """Logits (…, V) of a head from the model's last hidden vector (…, D) and an estimated later one (…, D)."""
        logits: Tensor = self.heads[head](torch.cat([hidden, estimate], -1))
        return logits

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors``, in float16 with ``half``."""
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> DraftHeads:
        """Read what `save_pretrained` wrote, from a folder or hub id, in float32.

        Raises:
            UserError: if there are no draft heads, or weights are missing, damaged or of the wrong shape.
        """
        return read_network(name, DraftHeadsConfig, cls, "draft heads")


def new_heads(network: UnitNetwork, heads: int = 4) -> DraftHeads:
    """Draft heads initialised from the model's output layer and token embeddings; the attention layer is random.

    Raises:
        ConfigError: if the model's width is odd.
    """
    from speechkit.lm.unit_model import UnitModel

    tables: list[Any] = (
        [network.embedding, network.head]
        if isinstance(network, UnitModel)
        else [network.decoder.get_input_embeddings(), network.decoder.get_output_embeddings()]
    )
    table, output = (layer.weight.detach() for layer in tables)
    width = output.shape[1]
    shared = next((count for count in (4, 3, 2, 1) if width % (2 * count) == 0), 0)
    if not shared:
        raise ConfigError(f"the model has width {width}; draft heads need a model of even width")
    draft_heads = DraftHeads(
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
        draft_heads.embedding.copy_(table[: draft_heads.boundary + 1])
        for head in draft_heads.linear_heads():
            # Half of the weight for each: where the estimate is exact, the two add up to the model's own logits.
            head.weight.copy_(torch.cat([output, output], 1)[: draft_heads.boundary + 1] / 2)
    return draft_heads


@dataclass(frozen=True)
class _Memory:
    """State of the heads for B continuations of one sequence.

    Attributes:
        hidden: (D,) the model's hidden vector after the last token that it has processed.
        keys: (B, H, C, E) of all its hidden vectors, and of the trigrams of all tokens.
        values: the same.
        last_tokens: (B, 2) the newest tokens.
        last_gram: (B, D) vector of the newest trigram.
        position: of the next token.
        head: index of the head that predicted the next token; -1 if none has.
    """

    hidden: Tensor
    keys: Tensor
    values: Tensor
    last_tokens: Tensor
    last_gram: Tensor
    position: int
    head: int


class HeadsDrafter:
    """`speechkit.lm.decoding.speculative.Drafter` over draft heads.

    Args:
        heads: moved to the model's device and put in inference mode.
        network: the target model.

    Raises:
        UserError: if the heads were trained for a model of another codebook.
    """

    def __init__(self, heads: DraftHeads, network: UnitNetwork):
        units, target = heads.config.units, network.vocabulary.units
        if units.digest != target.digest or units.clusters != target.clusters:
            raise UserError(
                f"the draft heads use the codebook {units.digest[:12]} and the model {target.digest[:12]}; give "
                "heads that were trained for this model (speechkit lm heads)"
            )
        parameter = next(network.parameters())
        self._heads = heads.to(parameter.device, parameter.dtype).eval()
        self._network = network
        self.vocabulary, self.boundary = units.clusters + 1, units.clusters

    def check(self, depth: int) -> None:
        """Check that there is a head for each level of the draft tree.

        Raises:
            ConfigError: if the tree is deeper than there are heads.
        """
        if depth > self._heads.config.heads:
            raise ConfigError(
                f"a draft tree of depth {depth} needs {depth} draft heads and there are {self._heads.config.heads}; "
                "reduce the depth or train more heads"
            )

    @torch.inference_mode()
    def begin(self, prompt: Sequence[int]) -> State:
        """State after a prompt; nothing can be drafted before the model has sampled a token."""
        tokens = torch.tensor([prompt], device=next(self._heads.parameters()).device)
        hidden = self._network.hidden(tokens)  # (1, N, D)
        if hidden.shape[2] != self._heads.config.width:
            raise UserError(
                f"the draft heads expect a model of width {self._heads.config.width} and this one has width "
                f"{hidden.shape[2]}; give heads that were trained for this model (speechkit lm heads)"
            )
        empty = self._heads.attention.start(1, tokens.device, hidden.dtype)
        start = torch.full((1, GRAM - 1), self.boundary, device=tokens.device)
        memory = _Memory(hidden[0, -1], empty["keys"], empty["values"], start, hidden[:, -1], 0, -1)
        return State(
            np.zeros((1, self.vocabulary)), self._append_tokens(self._append_hidden(memory, hidden, 0), tokens)
        )

    @torch.inference_mode()
    def grow(
        self, state: State, sampling: SamplingConfig, config: DraftConfig, generator: np.random.Generator
    ) -> DraftTree:
        """A tree after the last token, by the heads' distributions; empty if the model has processed that token."""
        from speechkit.lm.decoding.speculative import draft_tree

        if state.memory.head < 0:
            none = np.zeros(0, np.int64)
            return DraftTree(none, none, np.zeros((1, self.vocabulary)))
        return draft_tree(self, state, sampling, config, generator)

    @torch.inference_mode()
    def follow(self, state: State, tokens: Sequence[int], hidden: Tensor | None) -> State:
        """State after new tokens (P,); the model has processed all but the last, and the token before them.

        Args:
            state: the root state of the tree.
            tokens: the accepted tokens and the one that the model sampled.
            hidden: (R, D) the model's hidden vectors after the tokens that it has processed.
        """
        memory: _Memory = state.memory
        if hidden is not None and len(hidden):
            memory = self._append_hidden(memory, hidden[None], memory.position - 1)
        new = torch.tensor([list(tokens)], device=memory.hidden.device)
        memory = self._append_tokens(memory, new)
        return self._predict(memory, 0)

    @torch.inference_mode()
    def step(self, state: State, tokens: Tokens) -> State:
        """Append one token (B,) to each path and predict the next with the next head."""
        memory: _Memory = state.memory
        new = torch.from_numpy(np.ascontiguousarray(tokens)).to(memory.hidden.device)[:, None]
        return self._predict(self._append_tokens(memory, new), memory.head + 1)

    @torch.inference_mode()
    def select(self, state: State, rows: Tokens) -> State:
        """State of the given rows."""
        memory: _Memory = state.memory
        index = torch.from_numpy(np.ascontiguousarray(rows)).to(memory.hidden.device)
        chosen = _Memory(
            memory.hidden,
            memory.keys[index],
            memory.values[index],
            memory.last_tokens[index],
            memory.last_gram[index],
            memory.position,
            memory.head,
        )
        return State(state.logp[rows], chosen)

    def _append_hidden(self, memory: _Memory, hidden: Tensor, begin: int) -> _Memory:
        """Append the model's hidden vectors (1, R, D) from position ``begin`` on."""
        positions = torch.arange(begin, begin + hidden.shape[1], device=hidden.device)
        keys, values = self._heads.keys_and_values(hidden, positions, grams=False)
        joined = append_columns(memory.keys, keys), append_columns(memory.values, values)
        return replace(memory, hidden=hidden[0, -1], keys=joined[0], values=joined[1])

    def _append_tokens(self, memory: _Memory, tokens: Tensor) -> _Memory:
        """Append tokens (B, T), each as a trigram with the two before it."""
        line = torch.cat([memory.last_tokens, tokens], 1)
        grams = self._heads.grams(line.unfold(1, GRAM, 1))
        positions = torch.arange(memory.position, memory.position + tokens.shape[1], device=tokens.device)
        keys, values = self._heads.keys_and_values(grams, positions, grams=True)
        joined = append_columns(memory.keys, keys), append_columns(memory.values, values)
        position = memory.position + tokens.shape[1]
        return _Memory(memory.hidden, *joined, line[:, 1 - GRAM :], grams[:, -1], position, -1)

    def _predict(self, memory: _Memory, head: int) -> State:
        """Next-token distribution of a head after each path."""
        positions = torch.tensor([memory.position - 1], device=memory.hidden.device)
        mask = torch.ones(1, 1, memory.keys.shape[2], dtype=torch.bool, device=memory.hidden.device)
        estimate = self._heads.estimate(memory.last_gram[:, None], positions, memory.keys, memory.values, mask)[:, 0]
        logits = self._heads.logits(head, memory.hidden.expand_as(estimate), estimate)
        return State(logits.cpu().double().log_softmax(-1).numpy(), replace(memory, head=head))
