"""Commands: an intent and slots with values. Slot F1 counts exact (slot, value) pairs; a command is right as a whole.

Command accuracy is what a user of a voice assistant meets: the intent and every slot right, none too many.
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
    """An intent (None where the corpus has none) and the values of slots."""

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
    """Slot F1 (main, pooled), precision, recall, command accuracy and intent accuracy; counts of every slot.

    Blanks in values are tidied before they are compared. Both modes are the same: there is no reference toolkit.
    """
    names = paired_ids("slots", gold, predicted, ids)
    counts = np.zeros((len(gold), 6))
    classes: dict[str, list[int]] = {}
    own = []
    for row, (wanted, found) in enumerate(zip(gold, predicted, strict=True)):
        pairs, said = _pairs(wanted.slots), _pairs(found.slots)
        both = pairs & said
        same_intent = wanted.intent is None or wanted.intent == found.intent
        counts[row] = len(pairs), len(said), len(both), pairs == said and same_intent, same_intent, 1
        own.append(ClassScore(len(pairs), len(said), len(both)).f1 if pairs or said else 1.0)
        for column, some in enumerate((pairs, said, both)):
            for slot, _ in some:
                classes.setdefault(slot, [0, 0, 0])[column] += 1
    return task_score(
        "slots",
        "slot_f1",
        counts,
        _statistics(),
        resampling,
        ids=names,
        own=own,
        classes={slot: ClassScore(*of) for slot, of in sorted(classes.items())},
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
