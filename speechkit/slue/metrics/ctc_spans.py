"""Times of entities from the frames of a CTC model: end to end from the symbols, or from words that a tagger chose.

Frames are the arg max of each 20 ms, equal neighbours collapsed: symbols with their durations. ``include_blank`` takes
the silence around an entity too: from the entity's symbol to the end of ``]``, or between the word gaps. Without it an
entity begins with its first letter; its end is the gap before ``]`` end to end, and its last letter for words.

Source: Shon et al. 2023, SLUE Phase-2, section 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from speechkit.errors import UserError
from speechkit.slue.metrics.entity_tags import END_SYMBOL, SYMBOLS, TagSet
from speechkit.slue.metrics.localisation import Span, shift_spans

BLANK = "<b>"
GAP = "|"
FRAME_SECONDS = 0.02


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


def spans_of_words(
    symbols: Sequence[str],
    durations: Sequence[float],
    entities: Sequence[tuple[str, int, int, str]],
    *,
    include_blank: bool,
    offset: float = 0.0,
    blank: str = BLANK,
) -> list[Span]:
    """Spans of entities (tag, first word, last word, phrase) that a text model found in the recognised words.

    "'s" is a word of its own, as text models are trained on.

    Raises:
        UserError: if an entity names words that were not recognised.
    """
    words = _words(symbols, durations, blank)
    found = []
    for tag, first, last, phrase in entities:
        if not 0 <= first <= last < len(words):
            raise UserError(f"entity {tag} has words {first} to {last} of {len(words)} recognised ones; mend its span")
        start, stop = words[first], words[last]
        found.append((phrase, start[0], stop[3]) if include_blank else (phrase, start[1], stop[2]))
    return shift_spans(found, offset)


def _timed(symbols: Sequence[str], durations: Sequence[float]) -> list[tuple[str, float, float]]:
    if len(symbols) != len(durations):
        raise UserError(f"{len(symbols)} symbols have {len(durations)} durations; give one for each")
    timed, at = [], 0.0
    for symbol, duration in zip(symbols, durations, strict=True):
        timed.append((symbol, at, at + duration))
        at += duration
    return timed


def _words(symbols: Sequence[str], durations: Sequence[float], blank: str) -> list[tuple[float, float, float, float]]:
    """(end of the gap before, begin of the first letter, end of the last, begin of the gap after) of each word."""
    words = []
    for is_gap, run in groupby(_timed(symbols, durations), key=lambda each: each[0] == GAP):
        stretch = list(run)
        written = [each for each in stretch if each[0] != blank]
        if is_gap or not written:
            continue
        spelled = "".join(symbol for symbol, _, _ in written)
        begin, end = stretch[0][1], stretch[-1][2]
        if spelled.endswith("'s") and len(spelled) > 2:
            clitic = written[-2]
            words.append((begin, written[0][1], written[-3][2], clitic[1]))
            words.append((clitic[1], clitic[1], written[-1][2], end))
        else:
            words.append((begin, written[0][1], written[-1][2], end))
    return words
