"""Spoken question answering: an answer is a stretch of time in the document.

Frame F1 of a question is 2 * overlap / (predicted length + gold length), AOS (audio overlapping score) the overlap over
the union; both are 0 where the two do not meet or the prediction is empty or reversed. The corpus figure is the mean
over questions. A question with several gold spans takes the best of them, of each measure on its own. Both modes are
the same.

Source: Lin et al. 2022, DUAL, section 4; Chuang et al. 2020, SpeechBERT (AOS).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.slue.metrics.measures import DEFAULT_RESAMPLING, Resampling, TaskScore, check_pairs, measured, safe_ratio

Interval = tuple[float, float]
"""Begin and end in seconds."""


class Answer(msgspec.Struct, frozen=True):
    """The gold spans of one question, at least one."""

    spans: tuple[Interval, ...]


def frame_overlap(predicted: Interval, gold: Interval) -> tuple[float, float]:
    """Frame F1 and AOS of two stretches of time."""
    length, wanted = predicted[1] - predicted[0], gold[1] - gold[0]
    both = min(predicted[1], gold[1]) - max(predicted[0], gold[0])
    if length <= 0 or wanted <= 0 or both <= 0:
        return 0.0, 0.0
    return 2 * both / (length + wanted), both / (length + wanted - both)


def score_answers(
    gold: Sequence[Answer],
    predicted: Sequence[Interval | None],
    *,
    ids: Sequence[str] | None = None,
    compat: bool = False,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """Frame F1 (main) and AOS; None is a question without an answer and counts 0.

    Raises:
        UserError: if a gold span is empty or reversed, or a question has none.
    """
    check_pairs("question answering", gold, predicted)
    names = list(ids) if ids is not None else [str(index) for index in range(len(gold))]
    table = np.zeros((len(gold), 4))
    reversed_spans = unanswered = 0
    for row, (name, answer, guess) in enumerate(zip(names, gold, predicted, strict=True)):
        if not answer.spans:
            raise UserError(f"{name}: has no gold answer span; leave the question out or give it one")
        for begin, end in answer.spans:
            if not end > begin >= 0:
                raise UserError(f"{name}: the gold answer from {begin} to {end} s is empty or reversed; mend it")
        if guess is None:
            unanswered += 1
            found = (0.0, 0.0)
        else:
            reversed_spans += guess[1] < guess[0]
            pairs = [frame_overlap(guess, span) for span in answer.spans]
            found = (max(f1 for f1, _ in pairs), max(aos for _, aos in pairs))
        table[row] = (*found, 1.0, found[1] >= 0.5)
    result = measured(
        table,
        {
            "frame_f1": lambda sums: safe_ratio(sums[:, 0], sums[:, 2]),
            "aos": lambda sums: safe_ratio(sums[:, 1], sums[:, 2]),
            "aos_at_half": lambda sums: safe_ratio(sums[:, 3], sums[:, 2]),
        },
        resampling,
        "frame_f1",
    )
    if reversed_spans:
        result.warnings.append(f"{reversed_spans} predicted spans end before they begin and count 0")
    if unanswered:
        result.warnings.append(f"{unanswered} questions have no predicted answer and count 0")
    several = sum(len(answer.spans) > 1 for answer in gold)
    return TaskScore(
        "question_answering",
        "compat" if compat else "corrected",
        "frame_f1",
        result.measures,
        {},
        result.units,
        dict(zip(names, table[:, 0].tolist(), strict=True)),
        {"several gold spans": f"best one ({several} questions)"},
        result.warnings,
        result.draws,
    )


def text_span_to_time(words: Sequence[tuple[str, float, float]], first: int, last: int) -> Interval:
    """From the first to the last word (both included) of ``words`` (word, begin, end in seconds).

    Raises:
        UserError: if the words are not there or in the wrong order.
    """
    if not 0 <= first <= last < len(words):
        raise UserError(f"words {first} to {last} are no span of {len(words)} words; mend the answer")
    return words[first][1], words[last][2]
