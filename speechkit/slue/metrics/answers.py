"""Question answering metrics: answers as time spans in a spoken document, or as text.

Frame F1 of a question is 2 * overlap / (predicted length + gold length), AOS (audio overlapping score) the overlap over
the union; both are 0 for disjoint spans and for an empty or reversed prediction. Text answers are scored by word F1 and
exact match after lower-casing and removing punctuation and the articles a, an and the. Corpus scores are means over
questions. With several gold answers, each measure takes its best one. Both modes are the same.

Source: Lin et al. 2022, DUAL, section 4; Chuang et al. 2020, SpeechBERT (AOS); Rajpurkar et al. 2016, SQuAD, section
6.1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.slue.metrics.measures import DEFAULT_RESAMPLING, Resampling, TaskScore, paired_ids, ratio_of, task_score

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
Interval = tuple[float, float]
"""Begin and end in seconds."""


class Answer(msgspec.Struct, frozen=True):
    """The gold spans of one question, at least one."""

    spans: tuple[Interval, ...]


def frame_overlap(predicted: Interval, gold: Interval) -> tuple[float, float]:
    """Frame F1 and AOS of two time spans."""
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
    """Frame F1 (main) and AOS; a prediction of None scores 0.

    Raises:
        UserError: if a gold span is empty or reversed, or a question has no gold span.
    """
    names = paired_ids("question answering", gold, predicted, ids)
    table = np.zeros((len(gold), 4))
    reversed_spans = unanswered = 0
    for row, (name, answer, span) in enumerate(zip(names, gold, predicted, strict=True)):
        if not answer.spans:
            raise UserError(f"{name}: no gold answer span; add one or remove the question")
        for begin, end in answer.spans:
            if not end > begin >= 0:
                raise UserError(f"{name}: the gold answer from {begin} to {end} s is empty or reversed; fix it")
        if span is None:
            unanswered += 1
            scores = (0.0, 0.0)
        else:
            reversed_spans += span[1] < span[0]
            pairs = [frame_overlap(span, gold_span) for gold_span in answer.spans]
            scores = (max(f1 for f1, _ in pairs), max(aos for _, aos in pairs))
        table[row] = (*scores, 1.0, scores[1] >= 0.5)
    warnings = []
    if reversed_spans:
        warnings.append(f"{reversed_spans} predicted spans end before they begin and score 0")
    if unanswered:
        warnings.append(f"{unanswered} questions have no predicted answer and score 0")
    several = sum(len(answer.spans) > 1 for answer in gold)
    return task_score(
        "question_answering",
        "frame_f1",
        table,
        {"frame_f1": ratio_of(0, 2), "aos": ratio_of(1, 2), "aos_at_half": ratio_of(3, 2)},
        resampling,
        ids=names,
        own=table[:, 0].tolist(),
        compat=compat,
        settings={"several gold spans": f"best one ({several} questions)"},
        warnings=warnings,
    )


def answer_words(text: str) -> list[str]:
    """The normalised words that are compared."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def word_overlap(predicted: str, gold: str) -> tuple[float, float]:
    """F1 of the bags of words, and exact match (1.0 or 0.0)."""
    guess, truth = answer_words(predicted), answer_words(gold)
    if not guess or not truth:
        return (float(guess == truth),) * 2
    both = sum((Counter(guess) & Counter(truth)).values())
    return 2 * both / (len(guess) + len(truth)), float(guess == truth)


def score_answer_texts(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    compat: bool = False,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """Word F1 (main) and exact match; an empty prediction scores 0. Both modes are the same.

    Raises:
        UserError: if a question has no gold answer.
    """
    names = paired_ids("answers as text", gold, predicted, ids)
    table = np.zeros((len(gold), 3))
    for row, (name, answers, guess) in enumerate(zip(names, gold, predicted, strict=True)):
        if not answers:
            raise UserError(f"{name}: no gold answer; add one or remove the question")
        pairs = [word_overlap(guess, answer) for answer in answers]
        table[row] = (max(f1 for f1, _ in pairs), max(same for _, same in pairs), 1.0)
    empty = sum(not guess.strip() for guess in predicted)
    return task_score(
        "answer_texts",
        "word_f1",
        table,
        {"word_f1": ratio_of(0, 2), "exact_match": ratio_of(1, 2)},
        resampling,
        ids=names,
        own=table[:, 0].tolist(),
        compat=compat,
        settings={"several gold answers": "best one", "words": "lower case, no punctuation, no articles"},
        warnings=[f"{empty} questions have no predicted answer and score 0"] if empty else [],
    )
