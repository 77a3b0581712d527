"""What acoustic BPE saves a model of units at equal compute: bits a second against the number of tokens. Torch-free.

Merges lose nothing, so that bits a second of all vocabularies are bits of the same units. Compute is equal in
positions: every network reads as many rows of as many tokens. Longer tokens are more speech in each, which is what
merges are for; tables of embeddings grow with the vocabulary, which the numbers of weights show.
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
    """Which vocabularies, and the model of each.

    Attributes:
        vocabularies: tokens that acoustic BPE makes; 0 is the units as they are.
        ngram_order: of the n-gram of tokens beside each network.
        unit_model: the network, without durations, because tokens of another vocabulary last otherwise.
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
    """One vocabulary and one model.

    Attributes:
        vocabulary: tokens.
        model: ``network`` or its n-gram.
        costs: of the test's units, in tokens.
        tokens_per_second: of the test.
        steps: of training.
        step_seconds: of the processor a step.
        seconds_seen: of speech in training, repetitions counted.
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
    """The n-gram and the network of one vocabulary; None if it was stopped before."""
    import time

    import torch

    from speechkit.lm.ngram_training import estimate
    from speechkit.lm.sequence_bits import unit_words
    from speechkit.lm.table_model import NgramTable
    from speechkit.lm.unit_batches import UnitBatches
    from speechkit.lm.unit_costs import network_costs
    from speechkit.lm.unit_training import new_network, unit_objective
    from speechkit.training.loop import train as run

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
    began = time.process_time()
    if not run(objective, settings.loop, folder, should_stop=should_stop, device=device, log=lambda line: None):
        return None
    seconds = (time.process_time() - began) / settings.loop.steps
    costs = list(network_costs(network, test))
    weights = sum(each.numel() for each in network.parameters())
    # What a batch holds on average: rows are full but for their ends.
    batches = UnitBatches(train, network.vocabulary, settings.context, settings.rows, settings.mixture)
    several = [batches[number] for number in range(8)]
    foreseen = sum(int((each["targets"] >= 0).sum()) for each in several) / len(several)
    spoken = sum(sum(row.durations) for row in train) / units.frames_per_second
    cells.append(
        TokenizationCell(
            tokens.clusters, "network", summarize("network", costs, speakers, weights), rate, settings.loop.steps,
            seconds, settings.loop.steps * foreseen / batches.tokens * spoken,
        )
    )  # fmt: skip
    return cells
