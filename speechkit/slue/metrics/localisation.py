"""Named entity localisation metrics: entity times without labels.

Frame F1 counts 10 ms frames, pooled over utterances. For word F1 at rho, a word is detected if predicted spans cover at
least the fraction rho of it: detected entity words are correct, undetected ones missed, other detected words false
alarms.

The corrected definitions use the union of the predicted spans and all words and frames. ``compat=True`` reproduces the
reference toolkit:

- times are truncated to frames with floating-point error (0.29 s is frame 28, not 29);
- the frame array ends with the last predicted span or word: anything an earlier, longer span covers after it is lost;
- words are visited with one cursor over the spans in the given order: a span that ended before the word reduces the
  word's coverage by its distance (a perfect hit can be a miss), overlapping spans count twice, and words after the last
  span are not visited, so missed entities at the end are not counted;
- without predictions, misses come from the entity list; without an alignment, words are not counted, so an empty list
  of predictions has no missed words there.

Source: Shon et al. 2023, SLUE Phase-2, section 4.4 and appendix.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.slue.metrics.measures import DEFAULT_RESAMPLING, Resampling, Statistic, TaskScore, f_scores, task_score

FRAMES_PER_SECOND = 100
RHOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
OFFSETS = tuple(round(step * 0.02 - 0.3, 2) for step in range(31))
ENTITY_MARK = "#"

Span = tuple[str, float, float]
"""Phrase, begin and end in seconds."""
Counts = tuple[float, float, float]
"""Correct, false alarms, missed."""


class AlignedWord(msgspec.Struct, frozen=True, array_like=True):
    """A word with its times in seconds; empty text is silence. ``entity`` is true for words of an entity."""

    text: str
    begin: float
    end: float
    entity: bool = False


class OffsetChoice(msgspec.Struct, frozen=True):
    """The best offset and variant, its frame F1, and the frame F1 of all candidates."""

    offset: float
    variant: str
    frame_f1: float
    tried: list[tuple[str, float, float]]


def read_marked(words: Sequence[Sequence[str | float]]) -> list[AlignedWord]:
    """Words in the toolkit's format: [word, begin, end], with ``#`` before entity words, and "" for silence."""
    return [
        AlignedWord(str(text).removeprefix(ENTITY_MARK), float(begin), float(end), str(text).startswith(ENTITY_MARK))
        for text, begin, end in words
    ]


def score_localisation(
    alignments: Mapping[str, Sequence[AlignedWord]],
    predicted: Mapping[str, Sequence[Span]],
    entities: Mapping[str, Sequence[Span]],
    *,
    rhos: Sequence[float] = RHOS,
    compat: bool = False,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """Frame F1 (main) and word F1 at every rho, each with precision and recall.

    Args:
        alignments: the words of each utterance in order.
        predicted: predicted spans by utterance; missing utterances have none.
        entities: gold spans; used for utterances without an alignment, and by ``compat``.
        rhos: covered fractions of a word, in (0, 1].
        compat: use the reference toolkit's definitions; see above.
        resampling: bootstrap settings of the intervals; groups are in the sorted order of utterance ids.

    Raises:
        UserError: if there are no utterances, a word ends before it begins, or rho is out of range.
    """
    ids = sorted({*alignments, *predicted, *entities})
    if not ids:
        raise UserError("entity localisation: the split is empty; there is nothing to score")
    for rho in rhos:
        if not 0 < rho <= 1:
            raise UserError(f"rho is {rho}; give a fraction above 0 and at most 1")
    reversed_spans = overlapping = 0
    table = np.zeros((len(ids), 3 * (1 + len(rhos))))
    for row, name in enumerate(ids):
        words, gold = list(alignments.get(name, ())), list(entities.get(name, ()))
        spans = list(predicted.get(name, ()))
        # The toolkit counts missed words in utterances with an alignment or without a prediction entry; an empty list
        # is an entry.
        missed = [] if name in predicted and name not in alignments else gold
        for word in words:
            if word.end < word.begin or word.begin < 0:
                raise UserError(f"{name}: the word {word.text!r} ends before it begins; fix the alignment")
        reversed_spans += sum(end <= begin for _, begin, end in spans)
        overlapping += _overlaps(spans)
        frames = _frames_compat(words, spans, gold) if compat else _frames(words, spans, gold)
        covers = None if compat else _covers(words, spans)
        cells = list(frames)
        for rho in rhos:
            cells += _words_compat(words, spans, missed, rho) if compat else _words(words, covers, gold, rho)
        table[row] = cells
    named = ["frame", *(f"word_{rho:g}" for rho in rhos)]
    statistics: dict[str, Statistic] = {}
    for number, name in enumerate(named):
        for which, part in enumerate(("precision", "recall", "f1")):
            statistics[f"{name}_{part}"] = _statistic(3 * number, which)
    warnings = []
    if reversed_spans:
        warnings.append(f"{reversed_spans} predicted spans are empty or end before they begin and cover nothing")
    if overlapping:
        counted = "counts twice in word F1" if compat else "counts once"
        warnings.append(f"{overlapping} predicted spans overlap another; the common part {counted}")
    alone = table[:, 0] + table[:, 1] + table[:, 2]
    own = np.where(alone > 0, 2 * table[:, 0] / np.maximum(1, alone + table[:, 0]), 1.0)
    return task_score(
        "entity_localisation",
        "frame_f1",
        table,
        statistics,
        resampling,
        ids=ids,
        own=own.tolist(),
        compat=compat,
        settings={"frame": "10 ms", "rho": ", ".join(f"{rho:g}" for rho in rhos)},
        warnings=warnings,
    )


def shift_spans(spans: Sequence[Span], offset: float) -> list[Span]:
    """Spans moved by ``offset`` seconds, with edges rounded to 10 ms and clipped at 0."""
    return [
        (phrase, max(0.0, round(round(begin, 2) + offset, 2)), max(0.0, round(round(end, 2) + offset, 2)))
        for phrase, begin, end in spans
    ]


def tune_offset(
    alignments: Mapping[str, Sequence[AlignedWord]],
    variants: Mapping[str, Mapping[str, Sequence[Span]]],
    entities: Mapping[str, Sequence[Span]],
    *,
    offsets: Sequence[float] = OFFSETS,
    compat: bool = False,
) -> OffsetChoice:
    """The offset and variant (spans with or without blanks, say) with the best frame F1; tune on dev, apply to test.

    Ties are resolved in favour of the smaller shift, then of the earlier variant.

    Raises:
        UserError: if there is no variant or no offset.
    """
    if not variants or not offsets:
        raise UserError("no variants or no offsets to tune; give at least one of each")
    tried = []
    for name, predicted in variants.items():
        for offset in offsets:
            moved = {key: shift_spans(spans, offset) for key, spans in predicted.items()}
            score = score_localisation(
                alignments, moved, entities, rhos=(), compat=compat, resampling=Resampling(resamples=0)
            )
            tried.append((name, offset, score.value or 0.0))
    best = max(tried, key=lambda trial: (trial[2], -abs(trial[1])))
    return OffsetChoice(best[1], best[0], best[2], tried)


def _statistic(first: int, which: int) -> Statistic:
    def value(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        correct, false_alarms, missed = (sums[:, first + part] for part in range(3))
        return f_scores(correct, correct + false_alarms, correct + missed)[which]

    return value


def _overlaps(spans: Sequence[Span]) -> int:
    ordered = sorted((begin, end) for _, begin, end in spans if end > begin)
    return sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(ordered))


def frame_of(seconds: float) -> int:
    """The frame that contains a time, robust to floating-point error."""
    return math.floor(seconds * FRAMES_PER_SECOND + 1e-6)


def _frame_compat(seconds: float) -> int:
    return int(seconds * 1 / 0.01)


def _frames(words: Sequence[AlignedWord], spans: Sequence[Span], gold: Sequence[Span]) -> Counts:
    reference = [(w.begin, w.end) for w in words if w.entity] if words else [(b, e) for _, b, e in gold]
    predicted = [(begin, end) for _, begin, end in spans]
    length = max([frame_of(end) for _, end in (*reference, *predicted)], default=0)
    truth, guess = np.zeros(length, bool), np.zeros(length, bool)
    for array, intervals in ((truth, reference), (guess, predicted)):
        for begin, end in intervals:
            array[frame_of(begin) : frame_of(end)] = True
    return float((truth & guess).sum()), float((~truth & guess).sum()), float((truth & ~guess).sum())


def _frames_compat(words: Sequence[AlignedWord], spans: Sequence[Span], gold: Sequence[Span]) -> Counts:
    if not spans:
        return 0.0, 0.0, float(sum(_frame_compat(end) - _frame_compat(begin) for _, begin, end in gold))
    if not words:
        return 0.0, float(sum(_frame_compat(end) - _frame_compat(begin) for _, begin, end in spans)), 0.0
    length = _frame_compat(max(spans[-1][2], words[-1].end))
    truth, guess = np.zeros(length, bool), np.zeros(length, bool)
    for word in words:
        if word.entity:
            truth[_frame_compat(word.begin) : _frame_compat(word.end)] = True
    for _, begin, end in spans:
        guess[_frame_compat(begin) : _frame_compat(end)] = True
    return float((truth & guess).sum()), float((~truth & guess).sum()), float((truth & ~guess).sum())


def interval_union(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The union of time intervals as sorted, disjoint intervals; empty and reversed ones are dropped."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(pair for pair in intervals if pair[1] > pair[0]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def _covers(words: Sequence[AlignedWord], spans: Sequence[Span]) -> list[float]:
    """Fraction of each word covered by the union of the spans; 1 for a word of zero length inside a span."""
    union = interval_union([(begin, end) for _, begin, end in spans])
    shares = []
    for word in words:
        both = sum(max(0.0, min(end, word.end) - max(begin, word.begin)) for begin, end in union)
        inside = any(begin <= word.begin <= end for begin, end in union)
        shares.append(both / (word.end - word.begin) if word.end > word.begin else float(inside))
    return shares


def _words(words: Sequence[AlignedWord], covers: Sequence[float] | None, gold: Sequence[Span], rho: float) -> Counts:
    if not words:
        return 0.0, 0.0, float(sum(len(phrase.split()) for phrase, _, _ in gold))
    correct = false_alarms = missed = 0
    for word, cover in zip(words, covers or [0.0] * len(words), strict=True):
        if not word.text:
            continue
        detected = cover >= rho - 1e-9  # rounding: 0.3 / 0.3 of decimal times may be slightly below 1
        correct += word.entity and detected
        missed += word.entity and not detected
        false_alarms += detected and not word.entity
    return float(correct), float(false_alarms), float(missed)


def _words_compat(words: Sequence[AlignedWord], spans: Sequence[Span], gold: Sequence[Span], rho: float) -> Counts:
    if not spans:
        return 0.0, 0.0, float(sum(len(phrase.split(" ")) for phrase, _, _ in gold))
    correct = false_alarms = missed = 0
    cursor = 0
    for word in words:
        if cursor == len(spans):
            break
        if not word.text:
            cursor += spans[cursor][2] <= word.end
            continue
        if spans[cursor][1] >= word.end:
            missed += word.entity
            continue
        cover = _signed_overlap(spans[cursor], word)
        while spans[cursor][2] <= word.end:
            cursor += 1
            if cursor == len(spans):
                break
            if spans[cursor][1] < word.end:
                cover += _signed_overlap(spans[cursor], word)
        detected = not cover / (word.end - word.begin) < rho if word.end > word.begin else True
        correct += word.entity and detected
        missed += word.entity and not detected
        false_alarms += detected and not word.entity
    return float(correct), float(false_alarms), float(missed)


def _signed_overlap(span: Span, word: AlignedWord) -> float:
    """Overlap in seconds; negative if the span ended before the word, as in the toolkit."""
    return min(span[2], word.end) - max(span[1], word.begin)
