"""Estimated share of wrong characters in a mined text: what is written against what the emissions say.

The best symbol of every frame spells what the recogniser decided on. The estimate is an edit distance to the text whose
edits count as far as the emissions prefer them: 0 where they do not, 1 from `SURE_NATS` on. Recognisers err more often
than scans do in words that occur elsewhere, so that edits in those count `KNOWN_WEIGHT`.
"""

from __future__ import annotations

import itertools
import unicodedata

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.asr.hypothesis import Emissions
from speechkit.io.arrays import Float
from speechkit.mining.correction import Spellings, corrected, parts, without_lost
from speechkit.mining.records import Document, PairAlignment, SentenceMatch
from speechkit.runtime.compiled import compiled
from speechkit.text import Normalizer

SURE_NATS = 6.0
KNOWN_WEIGHT = 0.3
FLOOR = 1e-4
"""Added to both probabilities of a comparison, since recognisers are surer than they are right."""
EDGE_FRAMES = 1


def with_character_errors(
    alignment: PairAlignment, document: Document, emissions: Emissions, spellings: Spellings, normalizer: Normalizer
) -> PairAlignment:
    """The alignment with the estimate for each sentence that has times from the emissions."""
    text_of = {sentence.id: sentence.text for sentence in document.sentences}
    matches = []
    for match in alignment.matches:
        if match.ctc_mean is not None:
            share = errors_of_match(match, text_of[match.sentence], emissions, spellings, normalizer)
            match = msgspec.structs.replace(match, character_errors=round(share, 4))
        matches.append(match)
    return msgspec.structs.replace(alignment, matches=matches)


def errors_of_match(
    match: SentenceMatch, text: str, emissions: Emissions, spellings: Spellings, normalizer: Normalizer
) -> float:
    """Estimated character errors, 0 to 1, of a sentence as it goes into the set."""
    written = text.split()
    correction_of = {item.word: item.spelling for item in match.corrections}
    known = []
    for number in range(match.lost_before, len(written) - match.lost_after):
        here = parts(written[number])[1].lower()
        for word in correction_of.get(number, written[number]).split():
            body = parts(word)[1].lower()
            known.append(not body or spellings.known_elsewhere(body, here))
    kept = without_lost(corrected(match, text)[0], match)
    key = normalizer.normalize(kept)
    weights = np.ones(len(key.text), np.float32)
    for index, number in enumerate(_words_at(kept)[np.asarray(key.offsets[: len(key.text)], np.int64)].tolist()):
        if number < 0 or known[number]:
            weights[index] = KNOWN_WEIGHT
    hop = emissions.hop_seconds
    first = max(0, round(match.start / hop) - EDGE_FRAMES)
    last = min(len(emissions.log_probs), round(match.end / hop) + EDGE_FRAMES)
    return character_errors(key.text, weights, emissions, first, last)


def _words_at(text: str) -> NDArray[np.int64]:
    """The number of the word (len(text) + 1,) at each character, -1 between words."""
    numbers, number = np.full(len(text) + 1, -1, np.int64), -1
    for index, character in enumerate(text):
        if not character.isspace():
            number += index == 0 or text[index - 1].isspace()
            numbers[index] = number
    return numbers


def character_errors(text: str, weights: Float, emissions: Emissions, first: int, last: int) -> float:
    """Weighted edits between a text and the emissions of frames ``first`` to ``last`` per character, 0 to 1.

    Compared are letters, digits and the spaces between words, without regard to case.

    Args:
        text: the text in the form that the recogniser writes.
        weights: (len(text),) weight of an edit at each character, 0 to 1; added characters take the larger of both
            sides.
        emissions: of the recording.
        first: first frame of the sentence.
        last: one past its last frame.
    """
    compared = [index for index, character in enumerate(text) if _is_compared(character)]
    written = [text[index].lower() for index in compared]
    weight = weights[compared].astype(np.float32)
    if not written:
        return 0.0
    probability = np.exp(np.asarray(emissions.log_probs[first:last], np.float32))
    runs = _runs(probability, emissions)
    symbols = sorted({*written, *(character for character, _, _ in runs)})
    of_symbol = _posteriors(probability, emissions, symbols)
    column = {symbol: index for index, symbol in enumerate(symbols)}
    targets = np.array([column[character] for character in written], np.int64)
    spoken = np.array([column[character] for character, _, _ in runs], np.int64)
    # A frame more on either side: the recogniser's peaks are narrow, and its second thoughts beside them.
    inside = [of_symbol[max(0, begin - 1) : end + 1].max(axis=0) for _, begin, end in runs]
    # Not here, or a doubled letter would be taken for its neighbour.
    edges = [0, *(edge for _, begin, end in runs for edge in (begin, end)), len(probability)]
    between = [of_symbol[begin:end].max(axis=0, initial=0) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
    in_run = np.array(inside, np.float32).reshape(len(runs), len(symbols))
    in_gap = np.array(between, np.float32)[:, targets].T
    best = in_run[np.arange(len(runs)), spoken]
    substitution = np.where(targets[:, None] == spoken, 0, _preference(best[None], in_run[:, targets].T))
    around = np.maximum(np.concatenate([weight[:1], weight]), np.concatenate([weight, weight[-1:]]))
    edits = weighted_edits(
        np.ascontiguousarray(substitution * weight[:, None], np.float32),
        np.ascontiguousarray(around[:, None] * _preference(best, 1 - best)[None], np.float32),
        np.ascontiguousarray(_preference(1 - in_gap, in_gap) * weight[:, None], np.float32),
    )
    return min(1.0, float(edits) / len(written))


def _is_compared(character: str) -> bool:
    return character.isalnum() or character == " " or unicodedata.category(character).startswith("M")


def _preference(other: Float, written: Float) -> Float:
    """How far the emissions prefer something else to what is written: 0 where they do not, 1 from `SURE_NATS` on."""
    return np.clip(np.log((other + FLOOR) / (written + FLOOR)) / SURE_NATS, 0, 1).astype(np.float32)


def _runs(probability: Float, emissions: Emissions) -> list[tuple[str, int, int]]:
    """Characters that the best symbols spell, each with the frames (begin, end) of its symbol; no space at the ends."""
    if not len(probability):
        return []
    best = probability.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1)).tolist()
    runs = [
        (character.lower(), begin, end)
        for begin, end in itertools.pairwise(edges)
        if best[begin] != emissions.blank
        for character in emissions.vocabulary[best[begin]]
        if _is_compared(character)
    ]
    while runs and runs[0][0] == " ":
        runs.pop(0)
    while runs and runs[-1][0] == " ":
        runs.pop()
    return runs


def _posteriors(probability: Float, emissions: Emissions, symbols: list[str]) -> Float:
    """Probability (T, n) of the likeliest symbol of the vocabulary that contains each character."""
    containing: dict[str, list[int]] = {symbol: [] for symbol in symbols}
    for index, symbol in enumerate(emissions.vocabulary):
        if index != emissions.blank:
            for character in set(symbol.lower()) & containing.keys():
                containing[character].append(index)
    posteriors = np.zeros((len(probability), len(symbols)), np.float32)
    for index, symbol in enumerate(symbols):
        if containing[symbol]:
            posteriors[:, index] = probability[:, containing[symbol]].max(axis=1)
    return posteriors


@compiled
def weighted_edits(substitution: Float, insertion: Float, deletion: Float) -> float:
    """Least sum of edits that turn n characters into m others.

    Shapes: substitution (n, m); insertion (n + 1, m), of each of the m behind the first i of the n; deletion
    (n, m + 1), of each of the n behind the first j of the m.
    """
    count, others = substitution.shape
    row = np.zeros(others + 1)
    for j in range(others):
        row[j + 1] = row[j] + insertion[0, j]
    for i in range(count):
        diagonal = row[0]
        row[0] += deletion[i, 0]
        for j in range(others):
            above = row[j + 1]
            value = diagonal + substitution[i, j]
            if above + deletion[i, j + 1] < value:
                value = above + deletion[i, j + 1]
            if row[j] + insertion[i + 1, j] < value:
                value = row[j] + insertion[i + 1, j]
            row[j + 1] = value
            diagonal = above
    return float(row[others])
