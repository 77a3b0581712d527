"""Answers of questions as text: the F1 of shared words and exact match, as for written question answering.

Texts are lower-cased, their punctuation and the articles a, an and the removed, before words are compared. A question
with several gold answers takes the best of them, of each measure on its own; the corpus figure is the mean over
questions.

Source: Rajpurkar et al. 2016, SQuAD, section 6.1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from speechkit.errors import UserError
from speechkit.slue.metrics.measures import DEFAULT_RESAMPLING, Resampling, TaskScore, check_pairs, measured, safe_ratio

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_words(text: str) -> list[str]:
    """The words that are compared."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def word_overlap(predicted: str, gold: str) -> tuple[float, float]:
    """F1 of the words, each as often as it stands there, and whether both are the same (1.0 or 0.0)."""
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
    """Word F1 (main) and exact match; an empty prediction counts 0. Both modes are the same.

    Raises:
        UserError: if a question has no gold answer.
    """
    check_pairs("answers as text", gold, predicted)
    names = list(ids) if ids is not None else [str(index) for index in range(len(gold))]
    table = np.zeros((len(gold), 3))
    for row, (name, answers, guess) in enumerate(zip(names, gold, predicted, strict=True)):
        if not answers:
            raise UserError(f"{name}: has no gold answer; leave the question out or give it one")
        pairs = [word_overlap(guess, answer) for answer in answers]
        table[row] = (max(f1 for f1, _ in pairs), max(same for _, same in pairs), 1.0)
    result = measured(
        table,
        {
            "word_f1": lambda sums: safe_ratio(sums[:, 0], sums[:, 2]),
            "exact_match": lambda sums: safe_ratio(sums[:, 1], sums[:, 2]),
        },
        resampling,
        "word_f1",
    )
    empty = sum(not guess.strip() for guess in predicted)
    if empty:
        result.warnings.append(f"{empty} questions have no predicted answer and count 0")
    return TaskScore(
        "answer_texts",
        "compat" if compat else "corrected",
        "word_f1",
        result.measures,
        {},
        result.units,
        dict(zip(names, table[:, 0].tolist(), strict=True)),
        {"several gold answers": "best one", "words": "lower case, no punctuation, no articles"},
        result.warnings,
        result.draws,
    )
