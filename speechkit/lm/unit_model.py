"""The unit language model: autoregressive over discrete speech units, with any stack of sequence layers.

It models deduplicated units; an optional head predicts their durations, which the unit predictions never see:
p(frames) = p(units) p(durations | units), and both factors can be reported separately.

Notation used for tensor shapes: B rows, T positions, D width, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.lm.duration_head import DurationHead
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.nn.checkpoints import read_network, write_network
from speechkit.nn.sequence.mixer import State
from speechkit.nn.sequence.stack import Stack, StackConfig


class UnitModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents of ``config.json``.

    Attributes:
        model_type: distinguishes it from other checkpoints.
        vocabulary: its tokens.
        stack: its layers.
        duration_bins: bins of the duration head, 0 for none.
        context: maximum sequence length in training, in tokens.
    """

    model_type: Literal["speechkit-unit-lm"] = "speechkit-unit-lm"
    vocabulary: UnitVocabulary
    stack: StackConfig
    duration_bins: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    context: Annotated[int, msgspec.Meta(ge=2)] = 1024

    def __post_init__(self) -> None:
        if self.duration_bins == 1:
            raise ConfigError("duration_bins is 1; give at least 2, or 0 for no durations")


class UnitModel(nn.Module):
    """Token embeddings, a stack of sequence layers and output heads.

    Args:
        config: see `UnitModelConfig`.
    """

    def __init__(self, config: UnitModelConfig):
        super().__init__()
        self.config = config
        width, size = config.stack.width, config.vocabulary.size
        self.embedding = nn.Embedding(size, width)
        self.stack = Stack(config.stack)
        self.head = nn.Linear(width, size, bias=False)
        self.duration_head = DurationHead(width, config.duration_bins) if config.duration_bins else None
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)

    @property
    def vocabulary(self) -> UnitVocabulary:
        """Vocabulary of the model."""
        return self.config.vocabulary

    @property
    def context(self) -> int:
        """Maximum sequence length in training, in tokens."""
        return self.config.context

    @property
    def reads_prefix(self) -> bool:
        """Whether the layers support bidirectional attention over a prefix."""
        return self.stack.reads_prefix

    def hidden(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        documents: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """(B, T) -> (B, T, D); see `speechkit.nn.sequence.rows.Rows` for the optional arguments."""
        x = self.embedding(tokens)
        out: Tensor = self.stack(x, lengths, documents=documents, tokens=self._compared(tokens), prefix=prefix)
        return out

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """(B, T) -> next-token logits (B, T, V)."""
        logits: Tensor = self.head(self.hidden(tokens, lengths, documents))
        return logits

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V)."""
        logits: Tensor = self.head(hidden)
        return logits

    def start(self, batch: int) -> State:
        """Initial state of a batch of rows."""
        weight = self.embedding.weight
        return self.stack.start(batch, weight.device, weight.dtype)

    def prefill(self, tokens: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Read (B, T) tokens from a state -> hidden vectors (B, T, D) and the state after each row's end."""
        return self.stack.prefill(self.embedding(tokens), state, lengths, tokens=self._compared(tokens))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token per row: (B,) -> (B, D), and the next state."""
        return self.stack.step(self.embedding(tokens), state, tokens=self._compared(tokens))

    @property
    def reads_trees(self) -> bool:
        """Whether `prefill_tree` and `follow` are supported."""
        return self.stack.reads_trees

    def prefill_tree(self, tokens: Tensor, state: State, ancestors: Tensor) -> tuple[Tensor, State]:
        """Read (B, T) nodes of a tree from a state -> (B, T, D), and the state that `follow` takes."""
        return self.stack.prefill_tree(self.embedding(tokens), state, ancestors)

    def follow(self, state: State, nodes: int, path: Tensor) -> State:
        """State after a path of a tree with ``nodes`` nodes."""
        return self.stack.follow(state, nodes, path)

    def _compared(self, tokens: Tensor) -> Tensor | None:
        return tokens if self.stack.compares_tokens else None

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors``, in float16 with ``half``."""
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> UnitModel:
        """Read what `save_pretrained` wrote, from a folder or hub id, in float32.

        Raises:
            UserError: if it is not a unit language model, or weights are missing, damaged or of another architecture.
        """
        return read_network(name, UnitModelConfig, cls, "a unit language model")


def parameter_count(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
