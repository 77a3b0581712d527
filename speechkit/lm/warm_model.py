"""Unit models initialised from text models (TWIST, Hassid et al. 2023): any attention decoder of transformers.

The text model's layers are kept and its token embeddings are replaced by unit embeddings. The saved checkpoint keeps
the original architecture, so that transformers, vLLM and others load it.

Notation used for tensor shapes: B rows, T positions, C positions of the cache, D width, V vocabulary.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn

from speechkit.encoders.checkpoint import load_whole
from speechkit.errors import ConfigError, UserError
from speechkit.lm.duration_head import DurationHead
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.nn.checkpoints import CONFIG, checkpoint_folder, read_weights, readable, write_weights
from speechkit.nn.masks import length_mask
from speechkit.nn.sequence.mixer import State
from speechkit.nn.sequence.rows import Rows

DESCRIBED = ("a causal language model", "config.json and model.safetensors")
KEY = "speechkit"
"""Key of the unit fields in a checkpoint's configuration."""
DURATIONS = "durations.safetensors"
"""Weights of the duration head, stored beside those of the text model's architecture."""


class WarmSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fields added to a text model's configuration for units.

    Attributes:
        vocabulary: its tokens.
        context: maximum sequence length in training, in tokens.
        duration_bins: bins of the duration head, 0 for none.
    """

    vocabulary: UnitVocabulary
    context: Annotated[int, msgspec.Meta(ge=2)]
    duration_bins: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0

    def __post_init__(self) -> None:
        if self.duration_bins == 1:
            raise ConfigError("duration_bins is 1; give at least 2, or 0 for no durations")


class WarmModel(nn.Module):
    """A causal language model of transformers over units, with the methods of `speechkit.lm.unit_model.UnitModel`.

    Args:
        decoder: a transformers model with as many tokens as the vocabulary.
        spec: see `WarmSpec`.
        name: for error messages.

    Raises:
        UserError: if it does not accept positions or a cache, or its logits are not just its output layer's.
    """

    reads_prefix = True
    reads_trees = True

    def __init__(self, decoder: Any, spec: WarmSpec, name: str):
        super().__init__()
        self.decoder = decoder
        self.spec = spec
        given = inspect.signature(decoder.base_model.forward).parameters
        self._cache = "cache" if "cache" in given else "past_key_values"
        if not {"position_ids", "attention_mask", self._cache} <= given.keys():
            raise UserError(
                f"{name}: {type(decoder).__name__} takes no positions and no cache of keys; give a decoder with "
                "attention, such as Llama, Qwen, OPT or GPT-2"
            )
        self._positions: int | None = getattr(decoder.config, "max_position_embeddings", None)
        if self._positions is not None and self._positions < spec.context:
            raise UserError(f"{name}: has {self._positions} positions; choose a context of no more than that")
        probe = torch.zeros(1, 2, dtype=torch.int64, device=next(decoder.parameters()).device)
        with torch.no_grad():
            hidden = self.hidden(probe)
            apart = self.logits(hidden) - decoder.eval()(probe).logits
        if not float(apart.abs().max()) < 1e-3:
            raise UserError(
                f"{name}: {type(decoder).__name__} does more to its logits than its head; give a decoder such as "
                "Llama, Qwen, OPT or GPT-2"
            )
        self.duration_head: DurationHead | None = None
        if spec.duration_bins:
            self.duration_head = DurationHead(hidden.shape[-1], spec.duration_bins).to(hidden.device)

    @property
    def vocabulary(self) -> UnitVocabulary:
        """Vocabulary of the model."""
        return self.spec.vocabulary

    @property
    def context(self) -> int:
        """Maximum sequence length in training, in tokens."""
        return self.spec.context

    def hidden(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        documents: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """(B, T) -> (B, T, D); see `speechkit.nn.sequence.rows.Rows` for the optional arguments."""
        batch, longest = tokens.shape
        steps = torch.arange(longest, device=tokens.device)
        seen = (steps <= steps[:, None]).expand(batch, longest, longest)
        positions = steps.expand(batch, longest)
        if prefix is not None:
            seen = seen | (prefix[:, :, None] & prefix[:, None])
        if documents is not None:
            seen = seen & (documents[:, :, None] == documents[:, None])
            positions = Rows(documents=documents).since_border
        # Padding follows the tokens, where causal attention does not see it.
        return self._run(tokens, seen, positions)[0]

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """(B, T) -> next-token logits (B, T, V)."""
        return self.logits(self.hidden(tokens, lengths, documents))

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V)."""
        logits: Tensor = self.decoder.get_output_embeddings()(hidden)
        return logits

    def start(self, batch: int) -> State:
        """Initial state of a batch of rows: ``seen`` (B, C), true at real cache columns, ``count`` (B,)."""
        device = next(self.parameters()).device
        return {
            "seen": torch.zeros(batch, 0, dtype=torch.bool, device=device),
            "count": torch.zeros(batch, dtype=torch.int64, device=device),
        }

    def prefill(self, tokens: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Read (B, T) tokens from a state -> hidden vectors (B, T, D) and the state after each row's end."""
        batch, longest = tokens.shape
        steps = torch.arange(longest, device=tokens.device)
        lengths = torch.full((batch,), longest, device=tokens.device) if lengths is None else lengths
        columns = torch.cat([state["seen"], length_mask(lengths, longest)], 1)  # (B, C + T)
        past = state["seen"][:, None].expand(-1, longest, -1)
        seen = torch.cat([past, (steps <= steps[:, None]).expand(batch, -1, -1)], 2)
        hidden, parts = self._run(tokens, seen, state["count"][:, None] + steps, state)
        return hidden, {**parts, "seen": columns, "count": state["count"] + lengths}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token per row: (B,) -> (B, D), and the next state."""
        hidden, state = self.prefill(tokens[:, None], state)
        return hidden[:, 0], state

    def prefill_tree(self, tokens: Tensor, state: State, ancestors: Tensor) -> tuple[Tensor, State]:
        """Read (B, T) nodes of a tree from a state -> (B, T, D), and the state that `follow` takes."""
        batch, nodes = tokens.shape
        past = state["seen"][:, None].expand(-1, nodes, -1)
        seen = torch.cat([past, ancestors.expand(batch, -1, -1)], 2)
        hidden, parts = self._run(tokens, seen, state["count"][:, None] + ancestors.sum(1) - 1, state)
        return hidden, {**parts, "seen": state["seen"], "count": state["count"]}

    def follow(self, state: State, nodes: int, path: Tensor) -> State:
        """State after a path of a tree with ``nodes`` nodes."""
        cached = state["seen"].shape[1]
        columns = torch.cat([torch.arange(cached, device=path.device), cached + path])
        parts = {name: part[:, :, columns] for name, part in state.items() if name.endswith(("keys", "values"))}
        seen = torch.nn.functional.pad(state["seen"], (0, len(path)), value=True)
        return {**parts, "seen": seen, "count": state["count"] + len(path)}

    def _run(self, tokens: Tensor, seen: Tensor, positions: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(B, T), (B, T, C + T) true where a column is visible, (B, T) -> (B, T, D), and the keys and values.

        Raises:
            UserError: if a generated sequence leaves the positions that the text model has.
        """
        from transformers import DynamicCache

        # In training no row exceeds the context, which the constructor checks.
        if state is not None and self._positions is not None and int(positions.max()) >= self._positions:
            raise UserError(
                f"the sequence needs more than the {self._positions} positions of {type(self.decoder).__name__}; "
                "give a shorter prompt, or ask for fewer units"
            )

        dtype = next(self.decoder.parameters()).dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
        cache = None
        if state is not None:
            cache = DynamicCache()
            for layer in range(sum(name.endswith(".keys") for name in state)):
                cache.update(state[f"{layer}.keys"], state[f"{layer}.values"], layer)
        options = {} if cache is None else {self._cache: cache}
        answer = self.decoder.base_model(
            tokens, attention_mask=mask[:, None], position_ids=positions, use_cache=cache is not None, **options
        )
        kept = {} if cache is None else enumerate(cache.layers)
        parts = {f"{n}.{kind}": getattr(layer, kind) for n, layer in kept for kind in ("keys", "values")}
        hidden: Tensor = answer.last_hidden_state
        return hidden, parts

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write a checkpoint of the original architecture and the duration head beside it, in float16 with ``half``."""
        import copy

        decoder = copy.deepcopy(self.decoder).half() if half else self.decoder
        setattr(decoder.config, KEY, msgspec.to_builtins(self.spec))
        decoder.save_pretrained(str(folder), safe_serialization=True)
        if self.duration_head is not None:
            write_weights(Path(folder) / DURATIONS, self.duration_head, half=half)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> WarmModel:
        """Read what `save_pretrained` wrote, in float32.

        Raises:
            UserError: if it is not such a checkpoint.
        """
        folder = checkpoint_folder(name)
        with readable(name, DESCRIBED):
            raw = msgspec.json.decode((folder / CONFIG).read_bytes())
            spec = msgspec.convert(raw.get(KEY), WarmSpec)
        decoder = _load(str(name))
        if decoder.config.vocab_size != spec.vocabulary.size:
            raise UserError(
                f"{name}: has {decoder.config.vocab_size} tokens where its units and marks are {spec.vocabulary.size}; "
                "get the files of one checkpoint"
            )
        made = cls(decoder.eval(), spec, str(name))
        if made.duration_head is not None:
            with readable(name, DESCRIBED):
                read_weights(folder / DURATIONS, made.duration_head)
        return made.eval()


def warm_start(name: str, vocabulary: UnitVocabulary, context: int, duration_bins: int = 0) -> WarmModel:
    """Turn a text model into a unit model: its layers, with new random unit embeddings and duration head.

    Args:
        name: folder or hub id of any causal language model of transformers with attention.
        vocabulary: its new tokens.
        context: maximum sequence length in training, in tokens.
        duration_bins: bins of the duration head, 0 for none.

    Raises:
        UserError: if it cannot be loaded, or is not such a model.
    """
    decoder = _load(name)
    decoder.resize_token_embeddings(vocabulary.size, mean_resizing=False)
    spread = float(getattr(decoder.config, "initializer_range", 0.02) or 0.02)
    for table in {decoder.get_input_embeddings(), decoder.get_output_embeddings()}:
        nn.init.normal_(table.weight, std=spread)
    decoder.config.bos_token_id = decoder.config.eos_token_id = vocabulary.boundary
    decoder.config.pad_token_id = None
    if decoder.generation_config is not None:
        decoder.generation_config.bos_token_id = decoder.generation_config.eos_token_id = vocabulary.boundary
        decoder.generation_config.pad_token_id = None
    return WarmModel(decoder, WarmSpec(vocabulary, context, duration_bins), name)


def _load(name: str) -> Any:
    from transformers import AutoModelForCausalLM

    return load_whole(AutoModelForCausalLM, name, described=DESCRIBED)[0]
