"""A binary source of which tokens tell more than symbols do, and what models of either need for it.

A symbol differs from the one ``lag`` before with probability p. With lag 1 neighbours tell all there is; with a longer
one a model has to look back, and one that does not, sits at ln 2 a symbol, while even a unigram over tokens longer than
the lag comes near the entropy.

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
    """The sources, the tokens and the models.

    Attributes:
        lags: of the sources.
        switch: p.
        vocabularies: tokens, the two symbols among them; 2 is no merge.
        learnt: symbols that merges are learnt from.
        symbols: of training.
        judged: fresh ones.
        width: of the network.
        layers: of it.
        context: tokens of a row.
        rows: of a batch.
        looks: at the test, evenly over the steps.
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
            raise ConfigError(f"judged is {self.judged}; give many times the longest lag, {max(self.lags)}")


class MarkovCell(msgspec.Struct, frozen=True):
    """Cost of held-out symbols under a model.

    Attributes:
        lag: of the source.
        vocabulary: tokens that merges made.
        model: unigram of tokens, or transformer.
        nats: a source symbol.
        ratio: of these to what the source itself needs for the same symbols.
        switch: p of the source.
        symbols_per_token: on fresh symbols.
        steps: of training.
        symbols_seen: in training.
        step_seconds: of the processor a step.
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
    """Nats a symbol of the source, whatever its lag."""
    return -switch * math.log(switch) - (1 - switch) * math.log(1 - switch)


def draw_source(number: int, lag: int, switch: float, random: np.random.Generator) -> Symbols:
    """(T,) of 0 and 1: the first ``lag`` at random, each other one as that ``lag`` before unless it switches."""
    switched = random.random(number) < switch
    switched[:lag] = random.random(min(lag, number)) < 0.5
    padded = np.zeros(-(-number // lag) * lag, np.int64)
    padded[:number] = switched
    # Symbols of one remainder by the lag are a chain of their own.
    chains = padded.reshape(-1, lag).cumsum(0) % 2
    return chains.reshape(-1)[:number].astype(np.int64)


def source_nats(symbols: Symbols, lag: int, switch: float) -> float:
    """What symbols cost by the source that they were drawn from, a symbol: near `entropy`, as far as chance goes."""
    switches = int((symbols[lag:] != symbols[:-lag]).sum())
    stays = len(symbols) - lag - switches
    return (lag * math.log(2) - switches * math.log(switch) - stays * math.log(1 - switch)) / len(symbols)


def encode_stream(symbols: Symbols, bpe: AcousticBpe) -> Symbols:
    """`AcousticBpe.encode` of one long row, a merge at a time over all of it."""
    tokens: Symbols = symbols.copy()
    for number, (left, right) in enumerate(bpe.merges):
        hits = np.flatnonzero((tokens[:-1] == left) & (tokens[1:] == right))
        if left == right and len(hits):
            # Of hits that overlap, from left to right, every other one counts.
            begins = np.concatenate([[True], np.diff(hits) > 1])
            within = np.arange(len(hits)) - np.maximum.accumulate(np.where(begins, np.arange(len(hits)), 0))
            hits = hits[within % 2 == 0]
        tokens[hits] = bpe.base + number
        tokens = np.delete(tokens, hits + 1)
    return tokens


def unigram_nats(train: Symbols, test: Symbols, vocabulary: int) -> float:
    """What test tokens cost in all by the frequencies of training tokens, with half a count for each."""
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
    """A unigram of tokens and a small transformer, as often as it is looked at; None if it was stopped before."""
    random = np.random.default_rng([seed, lag])
    stream = draw_source(config.symbols, lag, config.switch, random)
    fresh = draw_source(config.judged, lag, config.switch, random)
    bpe = learn_bpe([stream[: config.learnt]], 2, vocabulary, CODEBOOK)
    train, test = encode_stream(stream, bpe), encode_stream(fresh, bpe)
    sizes = np.array(bpe.sizes())
    per_token = len(fresh) / len(test)

    def cell(model: str, nats: float, **more: float) -> MarkovCell:
        ratio = nats / source_nats(fresh, lag, config.switch)
        return msgspec.convert(
            {"lag": lag, "vocabulary": bpe.num_tokens, "model": model, "nats": nats, "ratio": ratio}
            | {"switch": config.switch, "symbols_per_token": per_token, **more},
            MarkovCell,
        )

    cells = [cell("unigram of tokens", unigram_nats(train, test, bpe.num_tokens) / len(fresh))]
    looks = _trained(train, test, sizes, bpe.num_tokens, config, folder, seed, device, should_stop)
    if looks is None:
        return None
    seen = config.rows * config.context * len(stream) / len(train)
    cells += [
        cell("transformer", nats, steps=steps, symbols_seen=round(steps * seen), step_seconds=seconds)
        for steps, nats, seconds in looks
    ]
    return cells


def _trained(
    train: Symbols,
    test: Symbols,
    sizes: Symbols,
    vocabulary: int,
    config: MarkovConfig,
    folder: Path,
    seed: int,
    device: str,
    should_stop: Callable[[], bool],
) -> list[tuple[int, float, float]] | None:
    """Steps, nats a symbol and CPU seconds a step, at every look."""
    import time

    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's name for it

    from speechkit.lm.synthetic.comparison import SmallModel, next_token_loss
    from speechkit.nn.sequence.softmax_attention import AttentionConfig
    from speechkit.nn.sequence.stack import StackConfig
    from speechkit.training.loop import train as run
    from speechkit.training.objective import Objective, Turn

    length = min(config.context, len(train), len(test) - 1) + 1

    def batch(number: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.default_rng([seed, 1, number])
        begins = random.integers(len(train) - length + 1, size=config.rows)
        rows = torch.from_numpy(train[begins[:, None] + np.arange(length)])
        return rows, torch.full((config.rows,), length), torch.ones(rows.shape, dtype=torch.bool)

    whole = len(test) // length
    judged = torch.from_numpy(test[: whole * length].reshape(whole, length))
    symbols = int(sizes[judged[:, 1:]].sum())

    @torch.no_grad()
    def look(network: torch.nn.Module) -> dict[str, float]:
        place = next(network.parameters()).device
        nats = 0.0
        for rows in torch.split(judged, 64):
            logits = network(rows.to(place), torch.full((len(rows),), length, device=place))[:, :-1]
            nats += float(
                F.cross_entropy(logits.flatten(0, 1).double(), rows[:, 1:].flatten().to(place), reduction="sum")
            )
        return {"nats": nats / symbols}

    torch.manual_seed(seed)
    layers = (AttentionConfig(heads=4),) * config.layers
    model = SmallModel(StackConfig(layers=layers, width=config.width, feed_width=2 * config.width), vocabulary)
    objective = Objective(model, [Turn(next_token_loss, [list(model.parameters())])], batch, evaluate=look)
    every = max(1, config.training.steps // config.looks)
    settings = msgspec.structs.replace(config.training, evaluate_every=every, seed=seed)
    began = time.process_time()
    if not run(objective, settings, folder, should_stop=should_stop, device=device, log=lambda line: None):
        return None
    seconds = (time.process_time() - began) / config.training.steps
    rows = [msgspec.json.decode(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    return [(row["step"], row["nats"], seconds) for row in rows if "nats" in row]
