"""CodeGen2's mixture (Nijkamp et al. 2023): plain sequences, sequences with a prefix read both ways, and infilling.

A sequence to infill has some stretches cut out, each behind a mark, and ends with what was cut: it is learnt from left
to right like any other, and the model then fills gaps as it continues. Torch-free.

    ^ u1 <mask 0> u5 u6 <mask 1> u9 ^ <separator> <mask 0> u2 u3 u4 <end> <mask 1> u7 u8 <end>

with ^ for the boundary, which both begins and ends the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.lm.vocabulary import UnitVocabulary

Kind = Literal["causal", "prefix", "infill"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
LEAST_UNITS = 8
"""Shorter sequences stay whole."""


class MixtureConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mixture of plain, prefix and infilling sequences.

    Attributes:
        prefix: share of sequences whose beginning is read in both directions, and not learnt.
        infill: share of sequences with stretches cut out.
        least_cut: of a sequence's units, at least.
        most_cut: of a sequence's units, at most.
        shortest_span: units, the least mean length of a stretch.
        longest_span: units, the largest mean length of a stretch.
    """

    prefix: Share = 0.0
    infill: Share = 0.0
    least_cut: Share = 0.05
    most_cut: Share = 0.5
    shortest_span: Annotated[int, msgspec.Meta(ge=1)] = 3
    longest_span: Annotated[int, msgspec.Meta(ge=1)] = 30


def draw_kind(config: MixtureConfig, generator: np.random.Generator) -> Kind:
    """What becomes of a sequence."""
    place = generator.random()
    if place < config.infill:
        return "infill"
    return "prefix" if place < config.infill + config.prefix else "causal"


def draw_spans(units: int, most: int, config: MixtureConfig, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Stretches (begin, end) to cut out of so many units, in order, at least one unit apart; none of short sequences.

    Args:
        units: of the sequence.
        most: stretches.
        config: how much is cut, and how long stretches are.
        generator: draws share, mean length, lengths and places.
    """
    if units < LEAST_UNITS:
        return []
    wanted = max(1, int(units * generator.uniform(config.least_cut, config.most_cut)))
    mean = generator.uniform(config.shortest_span, config.longest_span)
    lengths: list[int] = []
    while len(lengths) < most and sum(lengths) < wanted:
        length = min(int(generator.geometric(1 / mean)), wanted - sum(lengths))
        # What is kept must part the stretches.
        if sum(lengths) + length + len(lengths) > units:
            break
        lengths.append(length)
    kept = units - sum(lengths) - max(0, len(lengths) - 1)
    gaps = np.sort(generator.integers(0, kept + 1, len(lengths)))
    spans, taken = [], 0
    for number, (gap, length) in enumerate(zip(gaps.tolist(), lengths, strict=True)):
        begin = gap + taken + number
        spans.append((begin, begin + length))
        taken += length
    return spans


def cut_out(units: Sequence[int], spans: Sequence[tuple[int, int]], vocabulary: UnitVocabulary) -> list[int]:
    """The tokens of a sequence with stretches cut out, and of what was cut, as the module shows them."""
    tokens, place = [vocabulary.boundary], 0
    for number, (begin, end) in enumerate(spans):
        tokens += [*units[place:begin], vocabulary.mask(number)]
        place = end
    tokens += [*units[place:], vocabulary.boundary]
    if spans:
        tokens.append(vocabulary.separator)
    for number, (begin, end) in enumerate(spans):
        tokens += [vocabulary.mask(number), *units[begin:end], vocabulary.end_of_span]
    return tokens


def infill_prompt(
    units: Sequence[int], spans: Sequence[tuple[int, int]], number: int, vocabulary: UnitVocabulary
) -> list[int]:
    """What a model reads before it fills stretch ``number``, those before it being filled by what stands there.

    Raises:
        UserError: if the model does not infill, or has fewer marks than there are stretches.
    """
    if len(spans) > vocabulary.spans:
        raise UserError(
            f"{len(spans)} stretches are to be filled and the model knows {vocabulary.spans}; train it with more spans"
        )
    tokens = cut_out(units, spans, vocabulary)
    filled = sum(end - begin + 2 for begin, end in spans[number:])
    return [*tokens[: len(tokens) - filled], vocabulary.mask(number)]


def put_back(tokens: Sequence[int], vocabulary: UnitVocabulary) -> list[int]:
    """The units that `cut_out` was given.

    Raises:
        UserError: if a mark has no stretch, or stands where none can.
    """
    head, mark, tail = _parted(list(tokens), vocabulary.separator)
    stretches: dict[int, list[int]] = {}
    place = 0
    while mark and place < len(tail):
        try:
            end = tail.index(vocabulary.end_of_span, place)
        except ValueError:
            raise UserError("a stretch has no end; the model stopped before it") from None
        stretches[tail[place]] = tail[place + 1 : end]
        place = end + 1
    units: list[int] = []
    for token in head:
        if token < vocabulary.boundary:
            units.append(token)
        elif token > vocabulary.end_of_span:
            if token not in stretches:
                raise UserError(f"stretch {token - vocabulary.mask(0)} is cut out and not filled; fill it first")
            units += stretches[token]
    return units


def _parted(tokens: list[int], mark: int) -> tuple[list[int], bool, list[int]]:
    if mark not in tokens:
        return tokens, False, []
    place = tokens.index(mark)
    return tokens[:place], True, tokens[place + 1 :]
