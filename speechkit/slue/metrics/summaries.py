"""Summarisation metrics: ROUGE-1, ROUGE-2, ROUGE-L and METEOR.

Words are runs of a-z and 0-9 in lower case, without stemming, as in rouge-score with ``use_stemmer=False``; scores with
a stemmer are some points higher and not comparable. ROUGE-L uses the longest common subsequence of the whole texts.
METEOR matches words exactly (no stems or synonyms) with the parameters of the 2007 paper; published METEOR scores
mostly match stems and synonyms as well. Corpus scores are means over texts. Both modes are the same.

BERTScore needs a text encoder; `speechkit.slue.bert_score` provides the function to pass.

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
    """Precision, recall and F1 of each text, (texts, 3), with the settings used and warnings."""

    scores: NDArray[np.float64]
    made_with: str
    warnings: list[str]


CompareTexts = Callable[[Sequence[str], Sequence[str]], Similarity]
"""A function of references and summaries, equally many, to their similarity."""


def words_of(text: str) -> list[str]:
    """Runs of a-z and 0-9 in lower case."""
    return WORD.findall(text.lower())


def rouge_n(reference: Sequence[str], summary: Sequence[str], n: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of n-grams, as multisets."""
    reference_counts, summary_counts = (
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (reference, summary)
    )
    matches = (reference_counts & summary_counts).total()
    return _prf(matches, summary_counts.total(), reference_counts.total())


def rouge_l(reference: Sequence[str], summary: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the longest common subsequence."""
    return _prf(longest_common_subsequence(reference, summary), len(summary), len(reference))


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bit-parallel dynamic programming. Source: Hyyrö 2004."""
    positions: dict[str, int] = {}
    for index, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << index
    mask = (1 << len(first)) - 1
    row = mask
    for word in second:
        shared = row & positions.get(word, 0)
        row = ((row + shared) | (row - shared)) & mask
    return len(first) - row.bit_count()


def meteor(reference: Sequence[str], summary: Sequence[str]) -> float:
    """METEOR with exact word matches: recall-weighted F times a fragmentation penalty.

    Longest common runs are matched first, which keeps the number of chunks small.
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
    """ROUGE-L F1 (main), ROUGE-1 and ROUGE-2 F1, METEOR, and optionally BERTScore, as means over texts."""
    names = paired_ids("summarisation", gold, predicted, ids)
    rows = []
    empty = 0
    for gold_text, predicted_text in zip(gold, predicted, strict=True):
        reference, summary = words_of(gold_text), words_of(predicted_text)
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


def _prf(matches: int, predicted: int, gold: int) -> tuple[float, float, float]:
    precision = matches / predicted if predicted else 0.0
    recall = matches / gold if gold else 0.0
    return precision, recall, harmonic(precision, recall)


def _chunks(first: Sequence[str], second: Sequence[str]) -> tuple[int, int]:
    """Number of one-to-one word matches, and of chunks contiguous in both texts."""
    unmatched_first, unmatched_second = [True] * len(first), [True] * len(second)
    partner: dict[int, int] = {}
    while True:
        best = (0, 0, 0)
        ends = [0] * (len(second) + 1)
        for i, word in enumerate(first):
            row = [0] * (len(second) + 1)
            for j, other in enumerate(second):
                if unmatched_first[i] and unmatched_second[j] and word == other:
                    row[j + 1] = ends[j] + 1
                    if row[j + 1] > best[0]:
                        best = (row[j + 1], i, j)
            ends = row
        length, i, j = best
        if not length:
            break
        for back in range(length):
            partner[i - back] = j - back
            unmatched_first[i - back] = unmatched_second[j - back] = False
    chunks = sum(partner.get(i - 1, -2) + 1 != j for i, j in partner.items())
    return len(partner), chunks
