"""From the frames of a CTC model with entity symbols to words, entities and their times; broken symbols are mended.

Times come from the arg max of each 20 ms frame, equal neighbours collapsed: symbols with their durations.
``include_blank`` takes the silence around an entity too: from its symbol to the end of ``]``. Without it an entity
begins with its first letter and ends with the gap before ``]``.

Mending: a symbol glued to a word becomes a token of its own; a start inside an open entity ends the open one before it;
an end without a start, and an entity without words, lose their symbols; one that is open at the end is ended there.

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


class Mended(msgspec.Struct, frozen=True):
    """A transcript whose symbols are well formed, and how often each kind of damage was mended."""

    transcript: str
    glued: int = 0
    overlapping: int = 0
    unopened: int = 0
    empty: int = 0
    unclosed: int = 0

    @property
    def repairs(self) -> int:
        """All of them."""
        return self.glued + self.overlapping + self.unopened + self.empty + self.unclosed


def mend_symbols(line: str, symbols: TagSet = "raw") -> Mended:
    """A transcript as it should have been written, as far as can be told."""
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
    opened: int | None = None  # where the open entity's symbol stands

    def close(place: int) -> int:
        if place == len(written) - 1:
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
    return Mended(" ".join(written), glued, overlapping, unopened, empty, unclosed)


def read_transcript(line: str, symbols: TagSet = "raw") -> tuple[str, list[Entity], Mended]:
    """Words, entities and the mended transcript."""
    mended = mend_symbols(line, symbols)
    return (
        plain_text(mended.transcript, symbols=symbols),
        parse_entities(mended.transcript, symbols=symbols),
        mended,
    )


def entity_times(
    log_probs: NDArray[np.float32],
    vocabulary: Sequence[str],
    *,
    symbols: TagSet = "raw",
    include_blank: bool = False,
    offset: float = 0.0,
) -> list[Span]:
    """Entities with begin and end in seconds from log-probabilities (T, V) a frame of 20 ms; symbol 0 is the blank."""
    written = {0: BLANK} | {place: GAP for place, symbol in enumerate(vocabulary) if symbol == " "}
    frames = [written.get(best, vocabulary[best]) for best in log_probs.argmax(axis=1).tolist()]
    found, durations = collapse(frames)
    return spans_of_symbols(found, durations, include_blank=include_blank, offset=offset, table=symbols)


def collapse(frames: Sequence[str], frame_seconds: float = FRAME_SECONDS) -> tuple[list[str], list[float]]:
    """Runs of equal symbols and their lengths in seconds."""
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
    """Spans of an end-to-end model's entities in seconds, moved by ``offset``.

    A start inside an open entity drops the open one; an end without a start and an entity without letters are none.
    """
    starts = set(SYMBOLS[table].values())
    found: list[Span] = []
    inside: list[tuple[str, float, float]] | None = None
    began = 0.0
    for symbol, begin, end in _timed(symbols, durations):
        if symbol in starts:
            inside, began = [], begin
        elif symbol == END_SYMBOL:
            said = inside or []
            written = [each for each in said if each[0] not in (blank, GAP)]
            if written:
                gaps = [each[1] for each in said if each[0] == GAP and each[1] >= written[-1][2]]
                phrase = " ".join("".join(s for s, _, _ in said if s != blank).replace(GAP, " ").split())
                if include_blank:
                    found.append((phrase, began, end))
                else:
                    found.append((phrase, written[0][1], gaps[-1] if gaps else written[-1][2]))
            inside = None
        elif inside is not None:
            inside.append((symbol, begin, end))
    return shift_spans(found, offset)


def _timed(symbols: Sequence[str], durations: Sequence[float]) -> list[tuple[str, float, float]]:
    if len(symbols) != len(durations):
        raise UserError(f"{len(symbols)} symbols have {len(durations)} durations; give one for each")
    timed, at = [], 0.0
    for symbol, duration in zip(symbols, durations, strict=True):
        timed.append((symbol, at, at + duration))
        at += duration
    return timed
