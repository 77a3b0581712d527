"""Metrics of spoken commands (intent and slots): F1 of exact (slot, value) pairs, command and intent accuracy.

A command is correct if its intent and all its slots are, without additional slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from speechkit.slue.metrics.measures import (
    DEFAULT_RESAMPLING,
    ClassScore,
    Resampling,
    Statistic,
    TaskScore,
    f_scores,
    paired_ids,
    ratio_of,
    task_score,
)


class Command(msgspec.Struct, frozen=True):
    """An intent (None if the corpus has none) and slot values by slot."""

    intent: str | None
    slots: dict[str, str]


GOLD, PREDICTED, CORRECT, EXACT, INTENT, COUNT = range(6)


def score_commands(
    gold: Sequence[Command],
    predicted: Sequence[Command],
    *,
    ids: Sequence[str] | None = None,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """Micro slot F1 (main), precision, recall, command accuracy and intent accuracy; counts of every slot.

    White space in values is normalised before comparison. There is no reference toolkit, hence a single mode.
    """
    names = paired_ids("slots", gold, predicted, ids)
    counts = np.zeros((len(gold), 6))
    classes: dict[str, list[int]] = {}
    own = []
    for row, (reference, hypothesis) in enumerate(zip(gold, predicted, strict=True)):
        gold_pairs, predicted_pairs = _pairs(reference.slots), _pairs(hypothesis.slots)
        correct = gold_pairs & predicted_pairs
        same_intent = reference.intent is None or reference.intent == hypothesis.intent
        counts[row] = (
            len(gold_pairs),
            len(predicted_pairs),
            len(correct),
            gold_pairs == predicted_pairs and same_intent,
            same_intent,
            1,
        )
        own.append(
            ClassScore(len(gold_pairs), len(predicted_pairs), len(correct)).f1 if gold_pairs or predicted_pairs else 1.0
        )
        for column, pairs in enumerate((gold_pairs, predicted_pairs, correct)):
            for slot, _ in pairs:
                classes.setdefault(slot, [0, 0, 0])[column] += 1
    return task_score(
        "slots",
        "slot_f1",
        counts,
        _statistics(),
        resampling,
        ids=names,
        own=own,
        classes={slot: ClassScore(*totals) for slot, totals in sorted(classes.items())},
    )


def _pairs(slots: Mapping[str, str]) -> set[tuple[str, str]]:
    return {(slot, tidy) for slot, value in slots.items() if (tidy := " ".join(value.split()))}


def _statistics() -> dict[str, Statistic]:
    def slot(which: int) -> Statistic:
        return lambda sums: f_scores(sums[:, CORRECT], sums[:, PREDICTED], sums[:, GOLD])[which]

    return {
        "slot_f1": slot(2),
        "slot_precision": slot(0),
        "slot_recall": slot(1),
        "command_accuracy": ratio_of(EXACT, COUNT),
        "intent_accuracy": ratio_of(INTENT, COUNT),
    }
