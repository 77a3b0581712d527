"""Comparison of sequence layers on synthetic tasks: small models with equal numbers of parameters, trained alike.

Notation used for tensor shapes: B rows, T positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.lm.synthetic.automata import (
    VOCABULARY,
    Edges,
    Instance,
    context_ngram,
    distances,
    instance,
    random_automaton,
)
from speechkit.lm.synthetic.recall import long_recall_row, query_mask, recall_row
from speechkit.lm.synthetic.records import STATE_POSITIONS, Cell, ComparisonConfig, System, Task
from speechkit.metrics.bootstrap import bootstrap_ratio
from speechkit.nn.sequence.aaren import AarenConfig
from speechkit.nn.sequence.convolution import ConvolutionConfig
from speechkit.nn.sequence.gated_recurrent import RecurrentConfig
from speechkit.nn.sequence.linear_attention import JrtConfig
from speechkit.nn.sequence.ngram_head import NgramConfig
from speechkit.nn.sequence.s4d import S4DConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import LayerConfig, Stack, StackConfig
from speechkit.nn.sequence.titans import TitansConfig
from speechkit.training.loop import train_measured
from speechkit.training.objective import Objective, Turn

NGRAMS = tuple(NgramConfig(order=order) for order in (1, 2, 3))
SYSTEMS: dict[System, tuple[LayerConfig, ...]] = {
    "attention": (AttentionConfig(),) * 2,
    "attention, n-gram heads": (AttentionConfig(), *NGRAMS, AttentionConfig()),
    "window": (AttentionConfig(window=16),) * 2,
    "lstm": (RecurrentConfig(),) * 2,
    "lstm, n-gram heads": (RecurrentConfig(), *NGRAMS, RecurrentConfig()),
    "gru": (RecurrentConfig(kind="gru"),) * 2,
    "s4d": (S4DConfig(),) * 2,
    "aaren": (AarenConfig(),) * 2,
    "jrt": (JrtConfig(),) * 2,
    "based": (ConvolutionConfig(), JrtConfig(), AttentionConfig(window=16)),
    "titans": (TitansConfig(variant="mag", window=16),) * 2,
}
"""Layers by name; the widths of the feed-forward networks equalise the numbers of parameters."""


class SmallModel(nn.Module):
    """Language model from tokens (B, T) to next-token logits (B, T, V)."""

    def __init__(self, config: StackConfig, vocabulary: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.stack = Stack(config)
        self.head = nn.Linear(config.width, vocabulary)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T), (B,) -> (B, T, V)."""
        logits: Tensor = self.head(self.stack(self.embedding(tokens), lengths, tokens=tokens))
        return logits


def equal_model(layers: tuple[LayerConfig, ...], width: int, parameters: int, vocabulary: int) -> SmallModel:
    """A model of these layers with about ``parameters`` parameters, by the width of its feed-forward networks.

    Raises:
        ConfigError: if the layers alone have more.
    """
    return SmallModel(equal_stack(layers, width, parameters, lambda stack: SmallModel(stack, vocabulary)), vocabulary)


def equal_stack(
    layers: tuple[LayerConfig, ...], width: int, parameters: int, build: Callable[[StackConfig], nn.Module]
) -> StackConfig:
    """The stack with the feed-forward width for which the module built from it has about ``parameters`` parameters.

    Raises:
        ConfigError: if the layers alone have more.
    """

    def count_parameters(feed_width: int) -> int:
        stack = StackConfig(layers=layers, width=width, feed_width=feed_width)
        return sum(weight.numel() for weight in build(stack).parameters())

    one, two = count_parameters(1), count_parameters(2)
    feed_width = 1 + round((parameters - one) / (two - one))
    if feed_width < 1:
        raise ConfigError(
            f"{layers[0].mixer} layers of width {width} have {one:,} parameters, more than parameters={parameters:,}; "
            "raise it or reduce the width"
        )
    return StackConfig(layers=layers, width=width, feed_width=feed_width)


def state_kilobytes(stack: Stack) -> tuple[float, float]:
    """Size of a row's state after `STATE_POSITIONS` positions."""
    return (stack.state_bytes(STATE_POSITIONS[0]) / 1e3, stack.state_bytes(STATE_POSITIONS[1]) / 1e3)


def padded(rows: list[tuple[NDArray[np.int64], NDArray[np.bool_]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Batch rows of tokens and scored positions: tokens (B, T), lengths (B,), scored (B, T)."""
    longest = max(len(tokens) for tokens, _ in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    scored = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, (row, mask) in enumerate(rows):
        tokens[index, : len(row)] = torch.from_numpy(row)
        scored[index, : len(row)] = torch.from_numpy(mask)
    return tokens, torch.tensor([len(row) for row, _ in rows]), scored


def next_token_loss(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Mean loss of scored positions in nats."""
    tokens, lengths, scored = batch
    logits = network(tokens, lengths)[:, :-1]
    return F.cross_entropy(logits[scored[:, :-1]], tokens[:, 1:][scored[:, :-1]]), {}


class SyntheticTask:
    """Test set of a task, and training batches disjoint from it.

    Args:
        task: name of the task.
        config: sizes.
        seed: of the test set; training batches have seeds derived from it.
        bank: units of speech for the gaps of ``long_recall``, and the vocabulary size; None: uniform units.
    """

    def __init__(
        self, task: Task, config: ComparisonConfig, seed: int, bank: tuple[NDArray[np.int64], int] | None = None
    ):
        self.task, self.config, self._seed = task, config, seed
        random = np.random.default_rng([seed, 0])
        self._bank: NDArray[np.int64] | None
        self._bank, units = (None, 100) if bank is None else bank
        self.vocabulary = {"languages": VOCABULARY, "recall": 2 * config.keys, "long_recall": units}[task]
        self.instances: list[Instance] = []
        self.recalled: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []
        self._taken: set[Edges] = set()
        if task == "languages":
            while len(self._taken) < config.judged:
                self._taken.add(random_automaton(random, self._taken))
            for edges in sorted(self._taken):
                self.instances.append(instance(edges, random, config.strings, config.longest))
        else:
            self.recalled = [self._recall(random) for _ in range(config.judged)]

    def _recall(self, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """A row and the mask of its scored positions."""
        config = self.config
        if self.task == "long_recall":
            return long_recall_row(random, config.span, config.gap, self.vocabulary, self._bank)
        return recall_row(random, config.pairs, config.keys, config.keys), query_mask(config.pairs)

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Training batch ``number``: tokens (B, T), lengths (B,), scored (B, T)."""
        random = np.random.default_rng([self._seed, 1, number])
        rows = []
        for _ in range(self.config.rows):
            if self.task == "languages":
                edges = random_automaton(random, self._taken)
                drawn = instance(edges, random, self.config.strings, self.config.longest)
                rows.append((drawn.tokens, drawn.scored))
            else:
                rows.append(self._recall(random))
        return padded(rows)

    def cell(self, system: str, model: Callable[[NDArray[np.int64]], NDArray[np.float64]], **facts: object) -> Cell:
        """Evaluate a model from tokens (T,) to next-token probabilities (T, V) on the test set."""
        correct, variation, count = [], [], []
        for test in self.instances:
            possible, distance = distances(test, model(test.tokens))
            correct.append(int(possible.sum()))
            variation.append(float(distance.sum()))
            count.append(len(possible))
        for tokens, mask in self.recalled:
            queries = np.flatnonzero(mask)
            correct.append(int((model(tokens)[queries].argmax(1) == tokens[queries + 1]).sum()))
            count.append(len(queries))
        scores = {"accuracy": sum(correct) / sum(count), "accuracy_interval": bootstrap_ratio(correct, count)}
        if variation:
            scores |= {
                "distance": sum(variation) / sum(count),
                "distance_interval": bootstrap_ratio(variation, count),
            }
        return msgspec.convert({"task": self.task, "system": system, **scores, **facts}, Cell)

    def untrained(self) -> list[Cell]:
        """Systems without training: the true probabilities and n-grams of the instance; order 1 is a unigram."""
        if self.task != "languages":
            return []
        oracle = {test.tokens.tobytes(): test.following for test in self.instances}
        ngrams = {f"{order}-gram of the instance": partial(context_ngram, order=order) for order in (1, 2, 3, 4)}
        return [
            self.cell("oracle", lambda tokens: oracle[tokens.tobytes()]),
            *(self.cell(name, ngram) for name, ngram in ngrams.items()),
        ]


def evaluate_system(
    task: SyntheticTask, system: System, folder: Path, seed: int, device: str, should_stop: Callable[[], bool]
) -> Cell | None:
    """Train and evaluate a system; None if stopped before the end."""
    config = task.config
    torch.manual_seed(seed)
    model = equal_model(SYSTEMS[system], config.width, config.parameters, task.vocabulary)
    objective = Objective(model, [Turn(next_token_loss, [list(model.parameters())])], task.batch)
    complete, seconds = train_measured(objective, config.training, folder, should_stop=should_stop, device=device)
    if not complete:
        return None
    model.eval()
    where = model.head.weight.device

    @torch.no_grad()
    def predict(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = model(torch.from_numpy(tokens)[None].to(where), torch.tensor([len(tokens)], device=where))
        probabilities: NDArray[np.float64] = logits[0].double().softmax(-1).cpu().numpy()
        return probabilities

    parameters = sum(weight.numel() for weight in model.parameters())
    return task.cell(
        system,
        predict,
        parameters=parameters,
        step_seconds=seconds,
        steps=config.training.steps,
        state_kilobytes=state_kilobytes(model.stack),
    )
