"""Layers side by side on tasks with known answers: one small model of equal size for each, trained alike.

Notation used for tensor shapes: B rows, T positions, D width, V vocabulary.
"""

from __future__ import annotations

import time
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
from speechkit.lm.synthetic.recall import asked, long_recall_row, recall_row
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
from speechkit.training.loop import train
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
"""Layers by name; feed-forwards are as wide as makes all of them of one size."""


class SmallModel(nn.Module):
    """Tokens (B, T) to logits of the next ones (B, T, V)."""

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
    """A model of these layers whose feed-forwards bring it as near as can be to so many parameters.

    Raises:
        ConfigError: if it has more without any.
    """
    return SmallModel(equal_stack(layers, width, parameters, lambda stack: SmallModel(stack, vocabulary)), vocabulary)


def equal_stack(
    layers: tuple[LayerConfig, ...], width: int, parameters: int, build: Callable[[StackConfig], nn.Module]
) -> StackConfig:
    """The stack of these layers whose feed-forwards bring what is built of it near so many parameters.

    Raises:
        ConfigError: if it has more without any.
    """

    def sized(feed_width: int) -> int:
        stack = StackConfig(layers=layers, width=width, feed_width=feed_width)
        return sum(weight.numel() for weight in build(stack).parameters())

    one, two = sized(1), sized(2)
    feed_width = 1 + round((parameters - one) / (two - one))
    if feed_width < 1:
        raise ConfigError(
            f"{layers[0].mixer} layers {width} wide have {one:,} parameters; allow more than {parameters:,}"
        )
    return StackConfig(layers=layers, width=width, feed_width=feed_width)


def state_kilobytes(stack: Stack) -> tuple[float, float]:
    """Of a row behind `STATE_POSITIONS`."""
    return (stack.state_bytes(STATE_POSITIONS[0]) / 1e3, stack.state_bytes(STATE_POSITIONS[1]) / 1e3)


def padded(rows: list[tuple[NDArray[np.int64], NDArray[np.bool_]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of tokens and of scored positions as a batch: tokens (B, T), lengths (B,), scored (B, T)."""
    longest = max(len(tokens) for tokens, _ in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    scored = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, (own, marked) in enumerate(rows):
        tokens[index, : len(own)] = torch.from_numpy(own)
        scored[index, : len(own)] = torch.from_numpy(marked)
    return tokens, torch.tensor([len(own) for own, _ in rows]), scored


def next_token_loss(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Nats a scored position."""
    tokens, lengths, scored = batch
    logits = network(tokens, lengths)[:, :-1]
    return F.cross_entropy(logits[scored[:, :-1]], tokens[:, 1:][scored[:, :-1]]), {}


class Judge:
    """The test of a task, and batches that have nothing of it.

    Args:
        task: which.
        config: sizes.
        seed: of the test; training draws from seeds of its own.
        bank: units of speech that ``long_recall`` puts between, and how many units there are; None: drawn ones.
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
        """A row and where it asks."""
        config = self.config
        if self.task == "long_recall":
            return long_recall_row(random, config.span, config.gap, self.vocabulary, self._bank)
        return recall_row(random, config.pairs, config.keys, config.keys), asked(config.pairs)

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """A micro-batch by its number: tokens (B, T), lengths (B,), scored (B, T)."""
        random = np.random.default_rng([self._seed, 1, number])
        rows = []
        for _ in range(self.config.rows):
            if self.task == "languages":
                own = instance(random_automaton(random, self._taken), random, self.config.strings, self.config.longest)
                rows.append((own.tokens, own.scored))
            else:
                rows.append(self._recall(random))
        return padded(rows)

    def cell(self, system: str, chances: Callable[[NDArray[np.int64]], NDArray[np.float64]], **more: object) -> Cell:
        """What (T,) tokens to chances (T, V) get right."""
        right, apart, number = [], [], []
        for each in self.instances:
            correct, distance = distances(each, chances(each.tokens))
            right.append(int(correct.sum()))
            apart.append(float(distance.sum()))
            number.append(len(correct))
        for tokens, asking in self.recalled:
            marked = np.flatnonzero(asking)
            right.append(int((chances(tokens)[marked].argmax(1) == tokens[marked + 1]).sum()))
            number.append(len(marked))
        facts = {"accuracy": sum(right) / sum(number), "accuracy_interval": bootstrap_ratio(right, number)}
        if apart:
            facts |= {"distance": sum(apart) / sum(number), "distance_interval": bootstrap_ratio(apart, number)}
        return msgspec.convert({"task": self.task, "system": system, **facts, **more}, Cell)

    def untrained(self) -> list[Cell]:
        """What needs no training: the true chances, n-grams of the instance, and every symbol as likely."""
        if self.task != "languages":
            return []
        oracle = {each.tokens.tobytes(): each.following for each in self.instances}
        ngrams = {f"{order}-gram of the instance": partial(context_ngram, order=order) for order in (1, 2, 3, 4)}
        return [
            self.cell("oracle", lambda tokens: oracle[tokens.tobytes()]),
            *(self.cell(name, chances) for name, chances in ngrams.items()),
        ]


def judged_system(
    judge: Judge, system: System, folder: Path, seed: int, device: str, should_stop: Callable[[], bool]
) -> Cell | None:
    """Train a system and judge it; None if it was stopped before."""
    config = judge.config
    torch.manual_seed(seed)
    model = equal_model(SYSTEMS[system], config.width, config.parameters, judge.vocabulary)
    objective = Objective(model, [Turn(next_token_loss, [list(model.parameters())])], judge.batch)
    began = time.process_time()
    if not train(objective, config.training, folder, should_stop=should_stop, device=device, log=lambda line: None):
        return None
    seconds = (time.process_time() - began) / config.training.steps
    model.eval()
    place = model.head.weight.device

    @torch.no_grad()
    def chances(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = model(torch.from_numpy(tokens)[None].to(place), torch.tensor([len(tokens)]))
        found: NDArray[np.float64] = logits[0].double().softmax(-1).cpu().numpy()
        return found

    parameters = sum(weight.numel() for weight in model.parameters())
    return judge.cell(
        system,
        chances,
        parameters=parameters,
        step_seconds=seconds,
        steps=config.training.steps,
        state_kilobytes=state_kilobytes(model.stack),
    )
