"""How many bits a model of sequences needs for units that it has not seen: less, the better it foresees them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from speechkit.errors import UserError
from speechkit.lm.ngram_training import estimate
from speechkit.units.sequences import UnitSequence


class SentenceModel(Protocol):
    """What `speechkit.lm.ngram.NgramModel` offers: the words that it knows, and what it thinks of a sentence."""

    @property
    def entries(self) -> Mapping[str, Any]:
        """Among them all words that it knows."""

    def sentence(self, words: Sequence[str]) -> float:
        """Natural log-probability of a sentence with its end."""


class SequenceBits(msgspec.Struct, frozen=True):
    """What sequences cost.

    Attributes:
        sequences: that have a unit.
        units: or tokens in them.
        perplexity: of a unit, the ends of sequences counted as units.
        bits_per_unit: all bits, those of the ends among them, over the units.
        bits_per_second: and over the time.
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
    """What a model needs to write sequences down.

    Units that it does not know share the probability of ``<unk>`` evenly, so that the probabilities of all units and of
    the end sum to no more than one.

    Args:
        model: whose words are the units' numbers.
        items: units or tokens of recordings.
        numbers: how many units or tokens there are.
        frames_per_second: of the encoder.

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
    """Bits of test tokens by n-grams of order 1 to ``order`` of the training tokens, over the units they stand for.

    Args:
        train: tokens.
        test: tokens.
        numbers: how many tokens there are.
        units: that the test tokens stand for.
        order: of the longest n-gram.
    """
    costs = (
        sequence_bits(estimate(map(unit_words, train), longest)[0], test, numbers) for longest in range(1, order + 1)
    )
    return tuple(round(cost.bits_per_unit * cost.units / units, 4) for cost in costs)
