"""Decoding of a CTC model with entity symbols: words, entities and their times, and repair of malformed symbols.

Times come from the greedy symbols of 20 ms frames, merged into runs with durations. With ``include_blank`` an entity
extends from its start symbol to the end of ``]``, including silence; without, from its first letter to the gap before
``]``.

Repairs: a symbol attached to a word becomes a separate token; a start symbol inside an open entity closes the open one;
an end symbol without a start, and the symbols of an entity without words, are removed; an entity open at the end is
closed there.

Source of the times: Shon et al. 2023, SLUE Phase-2, section 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.slue.metrics.entity_tags import END_SYMBOL, SYMBOLS, TagSet
from speechkit.slue.metrics.entity_text import Entity, parse_entities, plain_text
from speechkit.slue.metrics.localisation import Span, shift_spans

BLANK = "<b>"
GAP = "|"
FRAME_SECONDS = 0.02


class RepairedTranscript(msgspec.Struct, frozen=True):
    """A transcript with well-formed symbols, and the number of repairs of each kind."""

    transcript: str
    glued: int = 0
    overlapping: int = 0
    unopened: int = 0
    empty: int = 0
    unclosed: int = 0

    @property
    def repairs(self) -> int:
        """Total number of repairs."""
        return self.glued + self.overlapping + self.unopened + self.empty + self.unclosed


def repair_symbols(line: str, symbols: TagSet = "raw") -> RepairedTranscript:
    """Repair malformed entity symbols of a transcript."""
    starts = set(SYMBOLS[symbols].values())
    marks = starts | {END_SYMBOL}
    tokens: list[str] = []
    glued = 0
    for token in line.split():
        if len(token) > 1 and any(character in marks for character in token):
            glued += 1
            for is_mark, run in groupby(token, key=lambda character: character in marks):
                characters = list(run)
                tokens += characters if is_mark else ["".join(characters)]
        else:
            tokens.append(token)
    overlapping = unopened = empty = unclosed = 0
    written: list[str] = []
    opened: int | None = None  # index of the open entity's symbol in written

    def close(start: int) -> int:
        if start == len(written) - 1:
            written.pop()
            return 1
        written.append(END_SYMBOL)
        return 0

    for token in tokens:
        if token in starts:
            if opened is not None:
                overlapping += 1
                empty += close(opened)
            opened = len(written)
            written.append(token)
        elif token == END_SYMBOL:
            if opened is None:
                unopened += 1
            else:
                empty += close(opened)
                opened = None
        else:
            written.append(token)
    if opened is not None:
        unclosed += 1
        empty += close(opened)
    return RepairedTranscript(" ".join(written), glued, overlapping, unopened, empty, unclosed)


def read_transcript(line: str, symbols: TagSet = "raw") -> tuple[str, list[Entity], RepairedTranscript]:
    """Words and entities of a transcript, with the repaired transcript."""
    repaired = repair_symbols(line, symbols)
    return (
        plain_text(repaired.transcript, symbols=symbols),
        parse_entities(repaired.transcript, symbols=symbols),
        repaired,
    )


def entity_times(
    log_probs: NDArray[np.float32],
    vocabulary: Sequence[str],
    *,
    symbols: TagSet = "raw",
    include_blank: bool = False,
    offset: float = 0.0,
) -> list[Span]:
    """Entities with times in seconds from log-probabilities (T, V) of 20 ms frames; symbol 0 is the blank."""
    special = {0: BLANK} | {index: GAP for index, symbol in enumerate(vocabulary) if symbol == " "}
    frames = [special.get(best, vocabulary[best]) for best in log_probs.argmax(axis=1).tolist()]
    runs, durations = collapse(frames)
    return spans_of_symbols(runs, durations, include_blank=include_blank, offset=offset, table=symbols)


def collapse(frames: Sequence[str], frame_seconds: float = FRAME_SECONDS) -> tuple[list[str], list[float]]:
    """Runs of equal symbols and their durations in seconds."""
    runs = [(symbol, len(list(run))) for symbol, run in groupby(frames)]
    return [symbol for symbol, _ in runs], [count * frame_seconds for _, count in runs]


def spans_of_symbols(
    symbols: Sequence[str],
    durations: Sequence[float],
    *,
    include_blank: bool,
    offset: float = 0.0,
    table: TagSet = "raw",
    blank: str = BLANK,
) -> list[Span]:
    """Entity spans in seconds, shifted by ``offset``, from symbols with durations.

    A start symbol inside an open entity discards the open one; an end symbol without a start and an entity without
    letters are ignored.
    """
    starts = set(SYMBOLS[table].values())
    spans: list[Span] = []
    inside: list[tuple[str, float, float]] | None = None
    entity_begin = 0.0
    for symbol, begin, end in _timed(symbols, durations):
        if symbol in starts:
            inside, entity_begin = [], begin
        elif symbol == END_SYMBOL:
            content = inside or []
            letters = [item for item in content if item[0] not in (blank, GAP)]
            if letters:
                gaps = [item[1] for item in content if item[0] == GAP and item[1] >= letters[-1][2]]
                phrase = " ".join("".join(s for s, _, _ in content if s != blank).replace(GAP, " ").split())
                if include_blank:
                    spans.append((phrase, entity_begin, end))
                else:
                    spans.append((phrase, letters[0][1], gaps[-1] if gaps else letters[-1][2]))
            inside = None
        elif inside is not None:
            inside.append((symbol, begin, end))
    return shift_spans(spans, offset)


def _timed(symbols: Sequence[str], durations: Sequence[float]) -> list[tuple[str, float, float]]:
    if len(symbols) != len(durations):
        raise UserError(f"{len(symbols)} symbols but {len(durations)} durations; give one duration per symbol")
    timed, begin = [], 0.0
    for symbol, duration in zip(symbols, durations, strict=True):
        timed.append((symbol, begin, begin + duration))
        begin += duration
    return timed
