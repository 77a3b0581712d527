"""Summaries: ROUGE-1, ROUGE-2, ROUGE-L and METEOR, own implementations that say what they are.

Words are runs of a-z and 0-9 in lower case, without stemming, as in rouge-score with ``use_stemmer=False``; figures
with a stemmer are higher by some points and cannot be compared. ROUGE-L is the longest common subsequence of the whole
texts. METEOR matches words exactly (no stems, no synonyms), with the parameters of the 2007 paper; published METEOR
figures mostly match stems and synonyms too. The corpus figure of each is the mean over texts. Both modes are the same.

BERTScore needs a text encoder: `speechkit.slue.bert_score` makes the function that is given here.

Source: Lin 2004, ROUGE; Banerjee and Lavie 2005 and Lavie and Agarwal 2007, METEOR.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.slue.metrics.measures import (
    DEFAULT_RESAMPLING,
    Resampling,
    TaskScore,
    harmonic,
    paired_ids,
    ratio_of,
    task_score,
)

WORD = re.compile(r"[a-z0-9]+")
METEOR_ALPHA, METEOR_BETA, METEOR_GAMMA = 0.9, 3.0, 0.5


class Similarity(msgspec.Struct, frozen=True):
    """Precision, recall and F1 of texts, (texts, 3); what they were made with, and what people should know."""

    scores: NDArray[np.float64]
    made_with: str
    warnings: list[str]


CompareTexts = Callable[[Sequence[str], Sequence[str]], Similarity]
"""References and as many summaries to how alike they are."""


def words_of(text: str) -> list[str]:
    """Runs of a-z and 0-9 in lower case."""
    return WORD.findall(text.lower())


def rouge_n(reference: Sequence[str], summary: Sequence[str], n: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of n-grams, each counted as often as it stands."""
    wanted, found = (
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (reference, summary)
    )
    both = (wanted & found).total()
    return _prf(both, found.total(), wanted.total())


def rouge_l(reference: Sequence[str], summary: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the longest common subsequence."""
    return _prf(longest_common_subsequence(reference, summary), len(summary), len(reference))


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length, by one bit vector a word of ``first``: memory of the size of ``first``. Source: Hyyro 2004."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    mask = (1 << len(first)) - 1
    row = mask
    for word in second:
        shared = row & places.get(word, 0)
        row = ((row + shared) | (row - shared)) & mask
    return len(first) - row.bit_count()


def meteor(reference: Sequence[str], summary: Sequence[str]) -> float:
    """F of exact word matches, weighted to recall, less a penalty for how scattered the matches are.

    Matches are taken as the longest common runs first, so that they lie in few chunks.
    """
    matches, chunks = _chunks(reference, summary)
    if not matches:
        return 0.0
    precision, recall = matches / len(summary), matches / len(reference)
    mean = precision * recall / (METEOR_ALPHA * precision + (1 - METEOR_ALPHA) * recall)
    penalty: float = METEOR_GAMMA * (chunks / matches) ** METEOR_BETA
    return mean * (1 - penalty)


def score_summaries(
    gold: Sequence[str],
    predicted: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    compat: bool = False,
    bert_score: CompareTexts | None = None,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """ROUGE-L F1 (main), ROUGE-1 and ROUGE-2 F1, METEOR, and BERTScore where it is given: means over the texts."""
    names = paired_ids("summarisation", gold, predicted, ids)
    rows = []
    empty = 0
    for said, made in zip(gold, predicted, strict=True):
        reference, summary = words_of(said), words_of(made)
        empty += not summary
        rows.append(
            (
                rouge_l(reference, summary)[2],
                rouge_n(reference, summary, 1)[2],
                rouge_n(reference, summary, 2)[2],
                meteor(reference, summary),
                1.0,
            )
        )
    table = np.array(rows)
    measures = {name: ratio_of(column, 4) for column, name in enumerate(("rouge_l", "rouge_1", "rouge_2", "meteor"))}
    settings = {"rouge": "speechkit, no stemmer", "meteor": "speechkit, exact matches, alpha 0.9 beta 3 gamma 0.5"}
    warnings = [f"{empty} summaries are empty and count 0"] if empty else []
    if bert_score is not None:
        similarity = bert_score(gold, predicted)
        table = np.concatenate([table, similarity.scores], axis=1)
        measures |= {
            f"bertscore_{name}": ratio_of(column, 4) for column, name in ((7, "f1"), (5, "precision"), (6, "recall"))
        }
        settings["bertscore"] = similarity.made_with
        warnings += similarity.warnings
    return task_score(
        "summarisation",
        "rouge_l",
        table,
        measures,
        resampling,
        ids=names,
        own=table[:, 0].tolist(),
        compat=compat,
        settings=settings,
        warnings=warnings,
    )


def _prf(both: int, found: int, wanted: int) -> tuple[float, float, float]:
    precision = both / found if found else 0.0
    recall = both / wanted if wanted else 0.0
    return precision, recall, harmonic(precision, recall)


def _chunks(first: Sequence[str], second: Sequence[str]) -> tuple[int, int]:
    """How many words match one to one, and in how many chunks that lie together on both sides."""
    free_first, free_second = [True] * len(first), [True] * len(second)
    partner: dict[int, int] = {}
    while True:
        best = (0, 0, 0)
        ends = [0] * (len(second) + 1)
        for i, word in enumerate(first):
            row = [0] * (len(second) + 1)
            for j, other in enumerate(second):
                if free_first[i] and free_second[j] and word == other:
                    row[j + 1] = ends[j] + 1
                    if row[j + 1] > best[0]:
                        best = (row[j + 1], i, j)
            ends = row
        length, i, j = best
        if not length:
            break
        for back in range(length):
            partner[i - back] = j - back
            free_first[i - back] = free_second[j - back] = False
    chunks = sum(partner.get(i - 1, -2) + 1 != j for i, j in partner.items())
    return len(partner), chunks
