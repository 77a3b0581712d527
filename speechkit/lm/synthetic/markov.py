"""A binary Markov source on which tokenization helps, and the cost of models over its symbols or tokens.

A symbol differs from the one ``lag`` before with probability p. A model that ignores the symbol at that lag costs ln 2
nats per symbol, while even a unigram over tokens longer than the lag comes close to the entropy.

Source: Rajaraman, Jiao and Ramchandran 2024 (arXiv 2404.08335).

Notation used for shapes: T tokens, V vocabulary, B rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError
from speechkit.training.config import TrainingConfig
from speechkit.units.acoustic_bpe import AcousticBpe, learn_bpe

if TYPE_CHECKING:
    from torch import Tensor

Symbols = NDArray[np.int64]
Positive = Annotated[int, msgspec.Meta(ge=1)]
CODEBOOK = "binary source"


class MarkovConfig(msgspec.Struct, frozen=True):
    """Settings of the sources, the tokens and the models.

    Attributes:
        lags: lag of each source.
        switch: p, probability of a switch.
        vocabularies: numbers of tokens, including the two symbols; 2 is no merge.
        learnt: number of symbols to learn merges from.
        symbols: number of training symbols.
        judged: number of test symbols.
        width: of the network.
        layers: of the network.
        context: tokens of a row.
        rows: rows per batch.
        looks: number of evaluations, equally spaced over the steps.
        training: of the network.
    """

    lags: tuple[Positive, ...] = (1, 4)
    switch: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    vocabularies: tuple[Annotated[int, msgspec.Meta(ge=2)], ...] = (2, 16, 64, 256)
    learnt: Positive = 100_000
    symbols: Positive = 2_000_000
    judged: Positive = 60_000
    width: Positive = 64
    layers: Positive = 2
    context: Positive = 128
    rows: Positive = 8
    looks: Positive = 3
    training: TrainingConfig = TrainingConfig(
        steps=300, warmup_steps=10, learning_rates=(1e-3,), average_decay=0.9, evaluate_every=100, save_every=10**6
    )

    def __post_init__(self) -> None:
        if self.judged < 8 * max(self.lags):
            raise ConfigError(f"judged is {self.judged}; give at least 8 times the longest lag, {max(self.lags)}")


class MarkovCell(msgspec.Struct, frozen=True):
    """Cost of held-out symbols under a model.

    Attributes:
        lag: of the source.
        vocabulary: number of tokens.
        model: unigram of tokens, or transformer.
        nats: per source symbol.
        ratio: to the cost under the source itself.
        switch: p of the source.
        symbols_per_token: on test symbols.
        steps: training steps.
        symbols_seen: number of training symbols processed.
        step_seconds: CPU seconds per step.
    """

    lag: int
    vocabulary: int
    model: str
    nats: float
    ratio: float
    switch: float
    symbols_per_token: float
    steps: int = 0
    symbols_seen: int = 0
    step_seconds: float | None = None


def entropy(switch: float) -> float:
    """Entropy rate of the source in nats per symbol, for any lag."""
    return -switch * math.log(switch) - (1 - switch) * math.log(1 - switch)


def draw_source(number: int, lag: int, switch: float, random: np.random.Generator) -> Symbols:
    """Sample (T,) of 0 and 1: the first ``lag`` uniformly, each other equal to that ``lag`` before or switched."""
    switched = random.random(number) < switch
    switched[:lag] = random.random(min(lag, number)) < 0.5
    padded = np.zeros(-(-number // lag) * lag, np.int64)
    padded[:number] = switched
    # Symbols at the same index modulo the lag form an independent chain.
    chains = padded.reshape(-1, lag).cumsum(0) % 2
    return chains.reshape(-1)[:number].astype(np.int64)


def source_nats(symbols: Symbols, lag: int, switch: float) -> float:
    """Cost of symbols under their own source in nats per symbol; `entropy` in expectation."""
    switches = int((symbols[lag:] != symbols[:-lag]).sum())
    stays = len(symbols) - lag - switches
    return (lag * math.log(2) - switches * math.log(switch) - stays * math.log(1 - switch)) / len(symbols)


def encode_stream(symbols: Symbols, bpe: AcousticBpe) -> Symbols:
    """`AcousticBpe.encode` for one long sequence, vectorised over each merge."""
    tokens: Symbols = symbols.copy()
    for number, (left, right) in enumerate(bpe.merges):
        hits = np.flatnonzero((tokens[:-1] == left) & (tokens[1:] == right))
        if left == right and len(hits):
            # Of overlapping matches, every other one from the left is merged.
            begins = np.concatenate([[True], np.diff(hits) > 1])
            within = np.arange(len(hits)) - np.maximum.accumulate(np.where(begins, np.arange(len(hits)), 0))
            hits = hits[within % 2 == 0]
        tokens[hits] = bpe.base + number
        tokens = np.delete(tokens, hits + 1)
    return tokens


def unigram_nats(train: Symbols, test: Symbols, vocabulary: int) -> float:
    """Total cost of test tokens under the unigram frequencies of training tokens, with add-half smoothing."""
    counts = np.bincount(train, minlength=vocabulary) + 0.5
    return float(-np.log(counts / counts.sum())[test].sum())


def markov_cells(
    lag: int,
    vocabulary: int,
    config: MarkovConfig,
    folder: Path,
    seed: int,
    device: str,
    should_stop: Callable[[], bool],
) -> list[MarkovCell] | None:
    """Costs of a token unigram and of a small transformer at each evaluation; None if stopped before the end."""
    random = np.random.default_rng([seed, lag])
    train_symbols = draw_source(config.symbols, lag, config.switch, random)
    test_symbols = draw_source(config.judged, lag, config.switch, random)
    bpe = learn_bpe([train_symbols[: config.learnt]], 2, vocabulary, CODEBOOK)
    train, test = encode_stream(train_symbols, bpe), encode_stream(test_symbols, bpe)
    sizes = np.array(bpe.sizes())
    per_token = len(test_symbols) / len(test)

    def cell(model: str, nats: float, **training: float | None) -> MarkovCell:
        ratio = nats / source_nats(test_symbols, lag, config.switch)
        return msgspec.convert(
            {"lag": lag, "vocabulary": bpe.num_tokens, "model": model, "nats": nats, "ratio": ratio}
            | {"switch": config.switch, "symbols_per_token": per_token, **training},
            MarkovCell,
        )

    cells = [cell("unigram of tokens", unigram_nats(train, test, bpe.num_tokens) / len(test_symbols))]
    evaluations = _train_transformer(train, test, sizes, bpe.num_tokens, config, folder, seed, device, should_stop)
    if evaluations is None:
        return None
    symbols_per_step = config.rows * config.context * len(train_symbols) / len(train)
    cells += [
        cell("transformer", nats, steps=steps, symbols_seen=round(steps * symbols_per_step), step_seconds=seconds)
        for steps, nats, seconds in evaluations
    ]
    return cells


def _train_transformer(
    train: Symbols,
    test: Symbols,
    sizes: Symbols,
    vocabulary: int,
    config: MarkovConfig,
    folder: Path,
    seed: int,
    device: str,
    should_stop: Callable[[], bool],
) -> list[tuple[int, float, float | None]] | None:
    """(steps, nats per symbol, CPU seconds per step) at each evaluation."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's name for it

    from speechkit.lm.synthetic.comparison import SmallModel, next_token_loss
    from speechkit.nn.sequence.softmax_attention import AttentionConfig
    from speechkit.nn.sequence.stack import StackConfig
    from speechkit.training.loop import train_measured
    from speechkit.training.objective import Objective, Turn

    length = min(config.context, len(train), len(test) - 1) + 1

    def batch(number: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.default_rng([seed, 1, number])
        begins = random.integers(len(train) - length + 1, size=config.rows)
        rows = torch.from_numpy(train[begins[:, None] + np.arange(length)])
        return rows, torch.full((config.rows,), length), torch.ones(rows.shape, dtype=torch.bool)

    count = len(test) // length
    test_rows = torch.from_numpy(test[: count * length].reshape(count, length))
    symbols = int(sizes[test_rows[:, 1:]].sum())

    @torch.no_grad()
    def evaluate(network: torch.nn.Module) -> dict[str, float]:
        where = next(network.parameters()).device
        nats = 0.0
        for rows in torch.split(test_rows, 64):
            logits = network(rows.to(where), torch.full((len(rows),), length, device=where))[:, :-1]
            nats += float(
                F.cross_entropy(logits.flatten(0, 1).double(), rows[:, 1:].flatten().to(where), reduction="sum")
            )
        return {"nats": nats / symbols}

    torch.manual_seed(seed)
    layers = (AttentionConfig(heads=4),) * config.layers
    model = SmallModel(StackConfig(layers=layers, width=config.width, feed_width=2 * config.width), vocabulary)
    objective = Objective(model, [Turn(next_token_loss, [list(model.parameters())])], batch, evaluate=evaluate)
    interval = max(1, config.training.steps // config.looks)
    settings = msgspec.structs.replace(config.training, evaluate_every=interval, seed=seed)
    complete, seconds = train_measured(objective, settings, folder, should_stop=should_stop, device=device)
    if not complete:
        return None
    rows = [msgspec.json.decode(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    return [(row["step"], row["nats"], seconds) for row in rows if "nats" in row]
