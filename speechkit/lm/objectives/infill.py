"""CodeGen2's mixture (Nijkamp et al. 2023): causal sequences, prefix sequences with bidirectional attention, infilling.

In an infilling sequence some spans are replaced by mask tokens and appended after a separator, so that the model learns
to fill gaps by left-to-right prediction. Torch-free.

    ^ u1 <mask 0> u5 u6 <mask 1> u9 ^ <separator> <mask 0> u2 u3 u4 <end> <mask 1> u7 u8 <end>

where ^ is the boundary token, which begins and ends the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np

from speechkit.errors import ConfigError, UserError
from speechkit.lm.vocabulary import UnitVocabulary

Kind = Literal["causal", "prefix", "infill"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
MIN_UNITS = 8
"""Shorter sequences get no spans."""


class MixtureConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mixture of causal, prefix and infilling sequences.

    Attributes:
        prefix: share of sequences with a prefix that is read bidirectionally and not predicted.
        infill: share of sequences with masked spans.
        least_cut: minimum share of a sequence's units in spans.
        most_cut: maximum share of a sequence's units in spans.
        shortest_span: minimum of the mean span length, in units.
        longest_span: maximum of the mean span length, in units.
    """

    prefix: Share = 0.0
    infill: Share = 0.0
    least_cut: Share = 0.05
    most_cut: Share = 0.5
    shortest_span: Annotated[int, msgspec.Meta(ge=1)] = 3
    longest_span: Annotated[int, msgspec.Meta(ge=1)] = 30

    def __post_init__(self) -> None:
        if self.infill + self.prefix > 1:
            raise ConfigError(
                f"infill is {self.infill:g} and prefix {self.prefix:g}, shares of the same sequences; give a sum of at "
                "most 1"
            )
        if self.least_cut > self.most_cut or self.shortest_span > self.longest_span:
            raise ConfigError(
                f"least_cut is {self.least_cut:g} and most_cut {self.most_cut:g}, shortest_span {self.shortest_span} "
                f"and longest_span {self.longest_span}; give each minimum at most its maximum"
            )


def draw_kind(config: MixtureConfig, generator: np.random.Generator) -> Kind:
    """Draw the kind of a sequence."""
    value = generator.random()
    if value < config.infill:
        return "infill"
    return "prefix" if value < config.infill + config.prefix else "causal"


def draw_spans(
    units: int, max_spans: int, config: MixtureConfig, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Spans (begin, end) to mask in a sequence, in order and at least one unit apart; none for short sequences.

    Args:
        units: length of the sequence.
        max_spans: maximum number of spans.
        config: share of masked units and lengths of spans.
        generator: of the share, the mean length, the lengths and the positions.
    """
    if units < MIN_UNITS:
        return []
    masked = max(1, int(units * generator.uniform(config.least_cut, config.most_cut)))
    mean = generator.uniform(config.shortest_span, config.longest_span)
    lengths: list[int] = []
    while len(lengths) < max_spans and sum(lengths) < masked:
        length = min(int(generator.geometric(1 / mean)), masked - sum(lengths))
        # At least one unit must remain between two spans.
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
    """Tokens of an infilling sequence, in the layout shown at the top of the module."""
    tokens, position = [vocabulary.boundary], 0
    for number, (begin, end) in enumerate(spans):
        tokens += [*units[position:begin], vocabulary.mask(number)]
        position = end
    tokens += [*units[position:], vocabulary.boundary]
    if spans:
        tokens.append(vocabulary.separator)
    for number, (begin, end) in enumerate(spans):
        tokens += [vocabulary.mask(number), *units[begin:end], vocabulary.end_of_span]
    return tokens


def infill_prompt(
    units: Sequence[int], spans: Sequence[tuple[int, int]], number: int, vocabulary: UnitVocabulary
) -> list[int]:
    """Prompt from which a model predicts span ``number``; earlier spans are given, later ones left out.

    Raises:
        UserError: if the model has fewer mask tokens than there are spans.
    """
    if len(spans) > vocabulary.spans:
        raise UserError(
            f"there are {len(spans)} spans to fill and the model supports {vocabulary.spans}; train it with more spans"
        )
    tokens = cut_out(units, spans, vocabulary)
    missing = sum(end - begin + 2 for begin, end in spans[number:])
    return [*tokens[: len(tokens) - missing], vocabulary.mask(number)]


def put_back(tokens: Sequence[int], vocabulary: UnitVocabulary) -> list[int]:
    """Inverse of `cut_out`: the units of an infilling sequence.

    Raises:
        UserError: if a mask token has no span, or a span has no end.
    """
    head, has_spans, tail = _partition(list(tokens), vocabulary.separator)
    spans: dict[int, list[int]] = {}
    position = 0
    while has_spans and position < len(tail):
        try:
            end = tail.index(vocabulary.end_of_span, position)
        except ValueError:
            raise UserError("a span has no end token; generate more tokens") from None
        spans[tail[position]] = tail[position + 1 : end]
        position = end + 1
    units: list[int] = []
    for token in head:
        if token < vocabulary.boundary:
            units.append(token)
        elif token > vocabulary.end_of_span:
            if token not in spans:
                raise UserError(f"span {token - vocabulary.mask(0)} is masked and not filled; fill it first")
            units += spans[token]
    return units


def _partition(tokens: list[int], separator: int) -> tuple[list[int], bool, list[int]]:
    if separator not in tokens:
        return tokens, False, []
    position = tokens.index(separator)
    return tokens[:position], True, tokens[position + 1 :]
