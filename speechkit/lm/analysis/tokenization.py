"""Effect of acoustic BPE on unit models at equal compute: bits per second by vocabulary size. Torch-free.

Merges are lossless, so bits per second of all vocabularies refer to the same units. Compute is equal in positions: all
networks process the same number of rows of the same number of tokens. Longer tokens cover more speech per position;
embedding tables grow with the vocabulary, as the numbers of parameters show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from speechkit.lm.unit_costs import CostSummary, summarize, table_costs
from speechkit.lm.unit_training import UnitTraining
from speechkit.training.config import TrainingConfig
from speechkit.units.acoustic_bpe import learn_bpe
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence
from speechkit.units.token_sequences import encode_sequence

Count = Annotated[int, msgspec.Meta(ge=0)]


class TokenizationConfig(msgspec.Struct, frozen=True):
    """Vocabularies and the models trained for each.

    Attributes:
        vocabularies: sizes of acoustic BPE vocabularies; 0 uses the units as tokens.
        ngram_order: of the token n-gram for comparison.
        unit_model: the network, without durations, which are not comparable between vocabularies.
    """

    vocabularies: tuple[Count, ...] = (0, 200, 500, 1000)
    ngram_order: Annotated[int, msgspec.Meta(ge=1, le=6)] = 3
    unit_model: UnitTraining = UnitTraining(
        duration_bins=0,
        loop=TrainingConfig(
            steps=1000, learning_rates=(2e-3,), warmup_steps=100, weight_decay=0.1, clip_norm=0.5, average_decay=0.99,
            evaluate_every=50, save_every=50,
        ),
    )  # fmt: skip


class TokenizationCell(msgspec.Struct, frozen=True):
    """Results of one model with one vocabulary.

    Attributes:
        vocabulary: number of tokens.
        model: ``network`` or the name of the n-gram.
        costs: of the test set.
        tokens_per_second: of the test set.
        steps: training steps.
        step_seconds: CPU seconds per step.
        seconds_seen: seconds of training speech processed, repetitions included.
    """

    vocabulary: int
    model: str
    costs: CostSummary
    tokens_per_second: float
    steps: int = 0
    step_seconds: float | None = None
    seconds_seen: float | None = None


def tokenization_cells(
    vocabulary: int,
    config: TokenizationConfig,
    units: UnitSet,
    train: Sequence[UnitSequence],
    dev: Sequence[UnitSequence],
    test: Sequence[UnitSequence],
    speakers: Sequence[str],
    folder: Path,
    device: str,
    should_stop: Callable[[], bool],
) -> list[TokenizationCell] | None:
    """Train and evaluate the n-gram and the network of one vocabulary; None if stopped before the end."""
    import torch

    from speechkit.lm.ngram_training import estimate
    from speechkit.lm.sequence_bits import unit_words
    from speechkit.lm.table_model import NgramTable
    from speechkit.lm.unit_batches import UnitBatches
    from speechkit.lm.unit_costs import network_costs
    from speechkit.lm.unit_training import new_network, unit_objective
    from speechkit.training.loop import train_measured

    tokens = units
    if vocabulary:
        merges = learn_bpe((row.units for row in train), units.clusters, vocabulary, units.digest)
        tokens = UnitSet(merges.digest, merges.num_tokens, units.frames_per_second)
        train, dev, test = ([encode_sequence(row, merges) for row in rows] for rows in (train, dev, test))
    rate = sum(len(row.units) for row in test) * units.frames_per_second / sum(sum(row.durations) for row in test)
    model = estimate(map(unit_words, train), config.ngram_order)[0]
    table = list(table_costs(NgramTable(model, tokens.clusters), test, tokens))
    order = f"{config.ngram_order}-gram"
    cells = [
        TokenizationCell(tokens.clusters, order, summarize(order, table, speakers, len(model.entries)), rate)
    ]  # fmt: skip
    settings = config.unit_model
    torch.manual_seed(settings.loop.seed)
    network = new_network(settings, tokens)
    objective = unit_objective(network, train, dev, settings)
    complete, seconds = train_measured(objective, settings.loop, folder, should_stop=should_stop, device=device)
    if not complete:
        return None
    costs = list(network_costs(network, test))
    weights = sum(weight.numel() for weight in network.parameters())
    # Mean number of targets of a batch; rows are not completely full.
    batches = UnitBatches(train, network.vocabulary, settings.context, settings.rows, settings.mixture)
    first_batches = [batches[number] for number in range(8)]
    targets = sum(int((batch["targets"] >= 0).sum()) for batch in first_batches) / len(first_batches)
    train_seconds = sum(sum(row.durations) for row in train) / units.frames_per_second
    cells.append(
        TokenizationCell(
            tokens.clusters, "network", summarize("network", costs, speakers, weights), rate, settings.loop.steps,
            seconds, settings.loop.steps * targets / batches.tokens * train_seconds,
        )
    )  # fmt: skip
    return cells
