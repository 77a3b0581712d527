"""Named entities: F1 of (tag, phrase) and of the tag alone, over the pooled counts of all utterances.

In one utterance an entity that is said k times must be found k times; order does not matter, and nothing is matched
across utterances. Phrases are compared exactly, letter by letter.

The corrected and the toolkit's definition differ in the macro means alone: corrected, they go over the tags of the
references, one set for all systems; the toolkit's go over the tags of references and predictions. Where there are none
the mean is not a number there and None here in both modes.

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
    """Counts of each tag in one utterance; at level "label" phrases are ignored."""
    if level == "label":
        gold, predicted = [(tag, "") for tag, _ in gold], [(tag, "") for tag, _ in predicted]
    wanted, found = Counter(gold), Counter(predicted)
    both = wanted & found
    tags = sorted({tag for tag, _ in (*wanted, *found)})

    def total(counter: Counter[Entity], tag: str) -> int:
        return sum(count for (name, _), count in counter.items() if name == tag)

    return {tag: ClassScore(total(wanted, tag), total(found, tag), total(both, tag)) for tag in tags}


def score_entities(
    gold: Sequence[Sequence[Entity]],
    predicted: Sequence[Sequence[Entity]],
    *,
    ids: Sequence[str] | None = None,
    tags: TagSet = "combined",
    compat: bool = False,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """F1 (main, micro over the tags), label F1, and their macro means, with the counts of each tag.

    Args:
        gold: the entities of each utterance.
        predicted: as many.
        ids: names of the utterances; their numbers where absent.
        tags: "combined" maps raw tags to the 7 official ones before counting; "raw" takes tags as they are.
        compat: as the reference toolkit; see above.
        resampling: how intervals are drawn.
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
    """F1 of one utterance alone: 1 where nothing was there and nothing was found."""
    if not row:
        return 1.0
    scores = list(row.values())
    return ClassScore(sum(s.gold for s in scores), sum(s.predicted for s in scores), sum(s.correct for s in scores)).f1


def _class(sums: NDArray[np.int64], index: int, tags: int) -> ClassScore:
    return ClassScore(int(sums[index]), int(sums[tags + index]), int(sums[2 * tags + index]))


def _table(rows: Sequence[dict[str, ClassScore]], tags: Sequence[str]) -> NDArray[np.float64]:
    """(utterances, 3 tags): gold of every tag, then predicted, then correct."""
    table = np.zeros((len(rows), 3 * len(tags)))
    for number, row in enumerate(rows):
        for index, tag in enumerate(tags):
            if tag in row:
                found = row[tag]
                table[number, index :: len(tags)] = (found.gold, found.predicted, found.correct)
    return table


def _statistics(prefix: str, columns: slice, averaged: NDArray[np.bool_] | None) -> dict[str, Statistic]:
    """Statistics of one level; macro means go over the ``averaged`` tags (k,), over those that were seen if None."""

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
