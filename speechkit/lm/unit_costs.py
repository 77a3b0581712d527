"""Coding cost of speech units under a model in bits per second of audio, which is comparable between codebooks.

Protocol: costs are summed over all units, each given all preceding units of its recording, and over the end of every
recording; the first unit follows the boundary. A network sees at least half its context before a unit. Bits per second
are relative to the duration of the frames that the units cover. With durations, p(durations | units) is added: only
then does the code describe the frame-level units completely.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.lm.duration_table import DurationTable
from speechkit.lm.interface import SequenceModel, read_prompts
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.metrics.bootstrap import Interval, bootstrap_ratio
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork


class SequenceCost(msgspec.Struct, frozen=True, omit_defaults=True):
    """Cost of one recording.

    Attributes:
        id: of the recording.
        units: number of units.
        seconds: duration.
        unit_nats: cost of the units.
        end_nats: cost of the end.
        duration_nats: cost of the durations; None where the model has none.
    """

    id: str
    units: int
    seconds: float
    unit_nats: float
    end_nats: float
    duration_nats: float | None = None


class CostSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """Total cost of recordings under one model.

    Attributes:
        system: name of the model.
        recordings: number of recordings.
        units: number of units.
        seconds: total duration.
        perplexity: per unit, with ends counted as units.
        bits_per_unit: including ends.
        bits_per_second: of units and ends.
        interval: confidence interval of bits per second, over speakers or recordings.
        full_bits_per_second: including durations; None where the model has none.
        full_interval: its confidence interval.
        parameters: number of learned weights, or of n-grams.
    """

    system: str
    recordings: int
    units: int
    seconds: float
    perplexity: float
    bits_per_unit: float
    bits_per_second: float
    interval: Interval
    full_bits_per_second: float | None = None
    full_interval: Interval | None = None
    parameters: int | None = None


def table_costs(
    model: SequenceModel, rows: Iterable[UnitSequence], units: UnitSet, durations: DurationTable | None = None
) -> Iterator[SequenceCost]:
    """Costs of recordings under any sequence model, with durations under a count table.

    Raises:
        UserError: if a recording has units of another set, naming it.
    """
    vocabulary = UnitVocabulary(units)
    for row in rows:
        vocabulary.check(row.id, row.units, row.codebook)
        # Token by token: the distributions after all tokens of an hour would not fit into memory.
        state = read_prompts(model, [[model.boundary]])
        nats = []
        for unit in row.units:
            nats.append(-float(state.logp[0, unit]))
            state = model.step(state, np.array([unit]))
        lasting = None if durations is None else durations.nats(row.units, row.durations)
        yield _cost(row, math.fsum(nats), -float(state.logp[0, model.boundary]), lasting, units)


def network_costs(network: UnitNetwork, rows: Iterable[UnitSequence]) -> Iterator[SequenceCost]:
    """Costs of recordings under a network, in windows of its context that overlap by half.

    Raises:
        UserError: if a recording has units of another set than the network's, naming it.
    """
    import torch

    from speechkit.lm.packing import IGNORED
    from speechkit.lm.unit_batches import sequence_windows

    vocabulary, device = network.vocabulary, next(network.parameters()).device
    network.eval()
    for row in rows:
        vocabulary.check(row.id, row.units, row.codebook)
        nats: list[float] = []
        lasting = 0.0
        with torch.inference_mode():
            for batch in sequence_windows(row, vocabulary, network.context, network.context // 2):
                hidden = network.hidden(batch["tokens"].to(device))
                new = batch["targets"] != IGNORED
                # Infilling marks never occur in plain speech.
                logits = network.logits(hidden[new.to(device)])[:, : vocabulary.boundary + 1]
                logp = logits.cpu().double().log_softmax(-1)
                nats += (-logp.gather(1, batch["targets"][new][:, None])[:, 0]).tolist()
                if network.duration_head is not None:
                    chosen = batch["durations"] > 0
                    lasting += float(
                        network.duration_head.nats(
                            hidden[chosen.to(device)],
                            batch["durations_before"][chosen].to(device),
                            batch["durations"][chosen].to(device),
                        ).sum()
                    )
        known = None if network.duration_head is None else lasting
        yield _cost(row, sum(nats[:-1]), nats[-1], known, vocabulary.units)


def _cost(row: UnitSequence, nats: float, end: float, lasting: float | None, units: UnitSet) -> SequenceCost:
    seconds = sum(row.durations) / units.frames_per_second
    return SequenceCost(row.id, len(row.units), seconds, nats, end, lasting)


def summarize(
    system: str, costs: Sequence[SequenceCost], speakers: Sequence[str] | None = None, parameters: int | None = None
) -> CostSummary:
    """Totals, with confidence intervals over speakers where they are known, else over recordings.

    Raises:
        UserError: if there is no recording.
    """
    if not costs:
        raise UserError("there are no units to measure; give at least one recording")
    seconds = np.array([each.seconds for each in costs])
    units = sum(each.units for each in costs)
    bits = np.array([each.unit_nats + each.end_nats for each in costs]) / math.log(2)
    full = None
    if all(each.duration_nats is not None for each in costs):
        full = bits + np.array([each.duration_nats for each in costs], np.float64) / math.log(2)
    return CostSummary(
        system=system,
        recordings=len(costs),
        units=units,
        seconds=float(seconds.sum()),
        perplexity=float(2 ** (bits.sum() / (units + len(costs)))),
        bits_per_unit=float(bits.sum() / units),
        bits_per_second=float(bits.sum() / seconds.sum()),
        interval=bootstrap_ratio(bits, seconds, groups=speakers),
        full_bits_per_second=None if full is None else float(full.sum() / seconds.sum()),
        full_interval=None if full is None else bootstrap_ratio(full, seconds, groups=speakers),
        parameters=parameters,
    )


def saving(
    costs: Sequence[SequenceCost], others: Sequence[SequenceCost], speakers: Sequence[str] | None = None
) -> tuple[float, Interval]:
    """Share of the other model's bits that this one saves on the same recordings, with a paired confidence interval."""
    if [each.id for each in costs] != [each.id for each in others]:
        raise ValueError("the costs are of other recordings")
    ours = np.array([each.unit_nats + each.end_nats for each in costs])
    theirs = np.array([each.unit_nats + each.end_nats for each in others])
    return float(1 - ours.sum() / theirs.sum()), bootstrap_ratio(theirs - ours, theirs, groups=speakers)
