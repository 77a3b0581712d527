"""The unit language model: units of speech, each foreseen from those before it, over any stack of sequence layers.

Deduplicated units are its words; how long each lasts, a head may tell, which the units themselves do not see:
p(frames) = p(units) p(durations | units), and both can be given apart.

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
    """What ``config.json`` holds.

    Attributes:
        model_type: tells it from other checkpoints.
        vocabulary: its tokens.
        stack: its layers.
        duration_bins: of the head of durations, 0 for none.
        context: most tokens that it was trained on at once.
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
    """Embeddings, a stack and what reads the next unit of it.

    Args:
        config: see there.
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
        """Its tokens."""
        return self.config.vocabulary

    @property
    def context(self) -> int:
        """Most tokens that it was trained on at once."""
        return self.config.context

    @property
    def reads_prefix(self) -> bool:
        """Whether a prefix can be read in both directions."""
        return self.stack.reads_prefix

    def hidden(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        documents: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """(B, T) -> (B, T, D); see `speechkit.nn.sequence.rows.Rows` for what can be said of rows."""
        x = self.embedding(tokens)
        out: Tensor = self.stack(x, lengths, documents=documents, tokens=self._compared(tokens), prefix=prefix)
        return out

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """(B, T) -> logits of the token behind each (B, T, V)."""
        logits: Tensor = self.head(self.hidden(tokens, lengths, documents))
        return logits

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V)."""
        logits: Tensor = self.head(hidden)
        return logits

    def start(self, batch: int) -> State:
        """The state of rows that nothing has been read of."""
        weight = self.embedding.weight
        return self.stack.start(batch, weight.device, weight.dtype)

    def prefill(self, tokens: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """(B, T) behind a state -> (B, T, D) and the state behind each row's end."""
        return self.stack.prefill(self.embedding(tokens), state, lengths, tokens=self._compared(tokens))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One token of each row: (B,) -> (B, D), and the state behind it."""
        return self.stack.step(self.embedding(tokens), state, tokens=self._compared(tokens))

    @property
    def reads_trees(self) -> bool:
        """Whether `prefill_tree` and `follow` can be asked for."""
        return self.stack.reads_trees

    def prefill_tree(self, tokens: Tensor, state: State, ancestors: Tensor) -> tuple[Tensor, State]:
        """(B, T) nodes of a tree behind a state -> (B, T, D), and all that they leave for `follow`."""
        return self.stack.prefill_tree(self.embedding(tokens), state, ancestors)

    def follow(self, state: State, nodes: int, path: Tensor) -> State:
        """The state behind a path of the tree of so many nodes."""
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
            UserError: if it is no unit language model, or weights are missing, damaged or of another stack.
        """
        return read_network(name, UnitModelConfig, cls, "a unit language model")


def parameter_count(model: nn.Module) -> int:
    """Weights that learn."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
