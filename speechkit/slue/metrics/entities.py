"""Named entity metrics: micro F1 of (tag, phrase) and of the tag alone, over the counts of all utterances.

Entities are matched within an utterance as multisets; order does not matter. Phrases must be equal letter by letter.

The corrected and the toolkit's definitions differ only in the macro averages: the corrected ones average over the tags
of the references, the same for all systems; the toolkit's over the tags of references and predictions. Without any tag
the average is NaN in the toolkit and None here, in both modes.

Source: Shon et al. 2022, SLUE, section 4; F1 after Ghannay et al. 2018.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speechkit.slue.metrics.entity_tags import TagSet
from speechkit.slue.metrics.entity_text import Entity, combine_entities
from speechkit.slue.metrics.measures import (
    DEFAULT_RESAMPLING,
    ClassScore,
    Resampling,
    Statistic,
    TaskScore,
    f_scores,
    paired_ids,
    task_score,
)

Level = Literal["phrase", "label"]


def entity_counts(gold: Sequence[Entity], predicted: Sequence[Entity], level: Level) -> dict[str, ClassScore]:
    """Counts of each tag in one utterance; level "label" ignores the phrases."""
    if level == "label":
        gold, predicted = [(tag, "") for tag, _ in gold], [(tag, "") for tag, _ in predicted]
    gold_counts, predicted_counts = Counter(gold), Counter(predicted)
    correct = gold_counts & predicted_counts
    tags = sorted({tag for tag, _ in (*gold_counts, *predicted_counts)})

    def total(counter: Counter[Entity], tag: str) -> int:
        return sum(count for (name, _), count in counter.items() if name == tag)

    return {tag: ClassScore(total(gold_counts, tag), total(predicted_counts, tag), total(correct, tag)) for tag in tags}


def score_entities(
    gold: Sequence[Sequence[Entity]],
    predicted: Sequence[Sequence[Entity]],
    *,
    ids: Sequence[str] | None = None,
    tags: TagSet = "combined",
    compat: bool = False,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """Micro F1 (main), label F1 and their macro averages, with the counts of each tag.

    Args:
        gold: the entities of each utterance.
        predicted: the predicted entities of each utterance.
        ids: of the utterances; default: their indices.
        tags: "combined" maps raw tags to the 7 official ones before counting; "raw" keeps tags unchanged.
        compat: use the reference toolkit's definitions; see above.
        resampling: bootstrap settings of the intervals.
    """
    names = paired_ids("named entities", gold, predicted, ids)
    if tags == "combined":
        gold, predicted = [combine_entities(g) for g in gold], [combine_entities(p) for p in predicted]
    phrase = [entity_counts(g, p, "phrase") for g, p in zip(gold, predicted, strict=True)]
    label = [entity_counts(g, p, "label") for g, p in zip(gold, predicted, strict=True)]
    seen = sorted({tag for row in phrase for tag in row})
    counts = np.concatenate([_table(phrase, seen), _table(label, seen)], axis=1)
    half = 3 * len(seen)
    sums = counts.sum(axis=0).astype(int)
    k = len(seen)
    averaged = None if compat else sums[:k] > 0
    classes = {tag: _class(sums[:half], i, k) for i, tag in enumerate(seen)}
    classes |= {f"{tag} (label)": _class(sums[half:], i, k) for i, tag in enumerate(seen)}
    return task_score(
        "ner",
        "f1",
        counts,
        {**_statistics("", slice(0, half), averaged), **_statistics("label_", slice(half, 2 * half), averaged)},
        resampling,
        ids=names,
        own=[_own_f1(row) for row in phrase],
        class_means=[
            f"{prefix}macro_{measure}" for prefix in ("", "label_") for measure in ("f1", "precision", "recall")
        ],
        compat=compat,
        classes=classes,
        settings={"tags": tags, "macro over": "tags seen" if compat else "tags of the references"},
    )


def _own_f1(row: dict[str, ClassScore]) -> float:
    """F1 of a single utterance; 1 if it has neither gold nor predicted entities."""
    if not row:
        return 1.0
    scores = list(row.values())
    return ClassScore(sum(s.gold for s in scores), sum(s.predicted for s in scores), sum(s.correct for s in scores)).f1


def _class(sums: NDArray[np.int64], index: int, tags: int) -> ClassScore:
    return ClassScore(int(sums[index]), int(sums[tags + index]), int(sums[2 * tags + index]))


def _table(rows: Sequence[dict[str, ClassScore]], tags: Sequence[str]) -> NDArray[np.float64]:
    """(utterances, 3 * tags): gold counts of every tag, then predicted, then correct."""
    table = np.zeros((len(rows), 3 * len(tags)))
    for number, row in enumerate(rows):
        for index, tag in enumerate(tags):
            if tag in row:
                score = row[tag]
                table[number, index :: len(tags)] = (score.gold, score.predicted, score.correct)
    return table


def _statistics(prefix: str, columns: slice, averaged: NDArray[np.bool_] | None) -> dict[str, Statistic]:
    """Statistics of one level; macro averages are over the ``averaged`` tags (k,), or over the seen ones if None."""

    def counts(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        gold, predicted, correct = np.split(sums[:, columns], 3, axis=1)
        return correct, predicted, gold

    def micro(which: int) -> Statistic:
        return lambda sums: f_scores(*(part.sum(axis=1) for part in counts(sums)))[which]

    def macro(which: int) -> Statistic:
        def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            correct, predicted, gold = counts(sums)
            seen = (predicted + gold) > 0 if averaged is None else np.broadcast_to(averaged, gold.shape)
            values = f_scores(correct, predicted, gold)[which]
            number = seen.sum(axis=1)
            means: NDArray[np.float64] = np.full(len(sums), np.nan)
            np.divide((values * seen).sum(axis=1), number, out=means, where=number > 0)
            return means

        return mean

    return {
        f"{prefix}f1": micro(2),
        f"{prefix}precision": micro(0),
        f"{prefix}recall": micro(1),
        f"{prefix}macro_f1": macro(2),
        f"{prefix}macro_precision": macro(0),
        f"{prefix}macro_recall": macro(1),
    }
