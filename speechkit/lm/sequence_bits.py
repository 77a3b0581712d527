"""Bits that a sequence model needs to encode held-out units; fewer is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from speechkit.errors import UserError
from speechkit.lm.ngram_training import estimate
from speechkit.units.sequences import UnitSequence


class SentenceModel(Protocol):
    """The part of `speechkit.lm.ngram.NgramModel` used here: its vocabulary and sentence scores."""

    @property
    def entries(self) -> Mapping[str, Any]:
        """N-grams, among them every word of the vocabulary as a unigram."""

    def sentence(self, words: Sequence[str]) -> float:
        """Natural log-probability of a sentence, including its end."""


class SequenceBits(msgspec.Struct, frozen=True):
    """Coding cost of sequences.

    Attributes:
        sequences: number of non-empty sequences.
        units: number of units or tokens in them.
        perplexity: per unit, with sequence ends counted as units.
        bits_per_unit: all bits, including those of sequence ends, divided by the number of units.
        bits_per_second: all bits divided by the duration.
        unknown: share of units that the model has never seen, 0 to 1.
    """

    sequences: int
    units: int
    perplexity: float
    bits_per_unit: float
    bits_per_second: float
    unknown: float


def unit_words(row: UnitSequence) -> list[str]:
    """The units of a recording as words of a language model."""
    return [str(unit) for unit in row.units]


def sequence_bits(
    model: SentenceModel, items: Iterable[UnitSequence], numbers: int, frames_per_second: float = 50.0
) -> SequenceBits:
    """Coding cost of sequences under a model.

    Unseen units share the probability of ``<unk>`` evenly, so that the probabilities of all units and the end sum to at
    most one.

    Args:
        model: language model whose words are unit numbers.
        items: units or tokens of recordings.
        numbers: number of distinct units or tokens.
        frames_per_second: frame rate of the encoder.

    Raises:
        UserError: if there is no unit, or one is out of range.
    """
    nats, frames, count, sequences, unknown = 0.0, 0, 0, 0, 0
    unseen = sum(str(unit) not in model.entries for unit in range(numbers))
    for row in items:
        if not row.units:
            continue
        if min(row.units) < 0 or max(row.units) >= numbers:
            raise UserError(f"{row.id}: a unit is out of range; there are {numbers}")
        words = unit_words(row)
        new = sum(word not in model.entries for word in words)
        nats += new * math.log(max(unseen, 1)) - model.sentence(words)
        frames += sum(row.durations)
        count, sequences, unknown = count + len(words), sequences + 1, unknown + new
    if not count:
        raise UserError("there are no units to measure; give at least one recording with a frame")
    bits = nats / math.log(2)
    return SequenceBits(
        sequences=sequences,
        units=count,
        perplexity=math.exp(nats / (count + sequences)),
        bits_per_unit=bits / count,
        bits_per_second=bits * frames_per_second / frames,
        unknown=unknown / count,
    )


def ngram_bits(
    train: Sequence[UnitSequence], test: Sequence[UnitSequence], numbers: int, units: int, order: int
) -> tuple[float, ...]:
    """Bits of test tokens under n-grams of order 1 to ``order`` trained on ``train``, per underlying unit.

    Args:
        train: training tokens.
        test: test tokens.
        numbers: number of distinct tokens.
        units: number of units that the test tokens stand for.
        order: highest n-gram order.
    """
    costs = (
        sequence_bits(estimate(map(unit_words, train), longest)[0], test, numbers) for longest in range(1, order + 1)
    )
    return tuple(round(cost.bits_per_unit * cost.units / units, 4) for cost in costs)
