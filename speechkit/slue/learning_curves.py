"""Spoken commands judged by fold: who learned from which recordings, and scores by the share that was learned from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from speechkit.runtime import item_seed
from speechkit.slue.metrics.measures import Measure, Resampling
from speechkit.slue.metrics.slots import Command, score_commands
from speechkit.slue.systems.examples import NO_VALUE

MEASURES = ("command_accuracy", "slot_f1", "slot_precision", "slot_recall", "intent_accuracy")
LEAST_TO_LEARN_FROM = 4


class FoldItem(msgspec.Struct, frozen=True):
    """A recording with its fields, the group that it belongs to and the fold that judges it."""

    id: str
    fields: dict[str, str]
    group: str
    fold: int


class FoldPrediction(msgspec.Struct, frozen=True):
    """What a system that was trained on a share of the recordings says of one that it did not hear."""

    id: str
    system: str
    share: float
    recordings: int
    fields: dict[str, str]
    text: str | None = None


class CurvePoint(msgspec.Struct, frozen=True):
    """A system that was trained on a share of the recordings, judged on ``judged`` of them."""

    system: str
    share: float
    recordings: int
    judged: int
    measures: dict[str, Measure]
    slots: dict[str, float]


class LearningCurves(msgspec.Struct, frozen=True):
    """Points of all systems; ``unknown_values`` is the share of slots whose value no training fold had."""

    recordings: int
    groups: int
    folds: int
    intents: int
    unknown_values: float
    points: list[CurvePoint]

    def full_points(self) -> list[CurvePoint]:
        """The systems at the largest share, best first."""
        largest = max(point.share for point in self.points)
        full = [point for point in self.points if point.share == largest]
        return sorted(full, key=lambda point: -(point.measures["command_accuracy"].value or 0.0))

    def best_in_words(self) -> str:
        """The best system at the largest share, with its command accuracy."""
        best = self.full_points()[0]
        return f"{best.system}: {best.measures['command_accuracy'].value or 0.0:.1%} of {best.judged} commands right"


def folds_of(items: Sequence[FoldItem]) -> list[int]:
    """The folds that there are, in order."""
    return sorted({item.fold for item in items})


def split_at_fold(items: Sequence[FoldItem], fold: int, share: float) -> tuple[list[FoldItem], list[FoldItem]]:
    """A share of the recordings outside a fold, and the fold. A smaller share is a part of a larger one."""
    outside = sorted((item for item in items if item.fold != fold), key=lambda item: item_seed(0, item.id))
    return (
        outside[: max(LEAST_TO_LEARN_FROM, round(share * len(outside)))],
        [item for item in items if item.fold == fold],
    )


def count_right(items: Sequence[FoldItem], predictions: Iterable[FoldPrediction]) -> int:
    """How many predictions have all fields of their recording right, and none too many."""
    fields = {item.id: item.fields for item in items}
    return sum(prediction.fields == fields[prediction.id] for prediction in predictions)


def learning_curves(
    items: Sequence[FoldItem], predictions: Iterable[FoldPrediction], *, confidence: float, resamples: int
) -> LearningCurves:
    """Scores of every system and share, and of the commonest values; intervals draw groups whole."""
    by_id = {item.id: item for item in items}

    def point(system: str, share: float, recordings: int, said: dict[str, Command]) -> CurvePoint:
        ids = [name for name in by_id if name in said]
        groups = tuple(by_id[name].group for name in ids) if len(ids) > 1 else None
        score = score_commands(
            [command_of(by_id[name].fields) for name in ids],
            [said[name] for name in ids],
            ids=ids,
            resampling=Resampling(resamples, 0, confidence, groups),
        )
        measures = {name: score.measures[name] for name in MEASURES}
        return CurvePoint(
            system, share, recordings, len(ids), measures, {slot: of.f1 for slot, of in score.classes.items()}
        )

    runs: dict[tuple[str, float], list[FoldPrediction]] = defaultdict(list)
    for prediction in predictions:
        runs[prediction.system, prediction.share].append(prediction)
    points = [point("no listening", 1.0, 0, _without_listening(items))]
    for (system, share), run in runs.items():
        recordings = round(sum(each.recordings for each in run) / len(run))
        points.append(point(system, share, recordings, {each.id: command_of(each.fields) for each in run}))
    return LearningCurves(
        len(items),
        len({item.group for item in items}),
        len(folds_of(items)),
        len({item.fields.get("intent") for item in items}),
        _unknown_values(items),
        points,
    )


def command_of(fields: dict[str, str]) -> Command:
    """Fields as scoring takes them."""
    return Command(fields.get("intent"), {name: value for name, value in fields.items() if name != "intent"})


def commonest_values(fields: Sequence[dict[str, str]]) -> dict[str, str]:
    """The commonest value of each field: what can be had without listening."""
    values = {
        name: Counter(each.get(name, NO_VALUE) for each in fields).most_common(1)[0][0]
        for name in sorted({name for each in fields for name in each})
    }
    return {name: value for name, value in values.items() if value != NO_VALUE}


def _without_listening(items: Sequence[FoldItem]) -> dict[str, Command]:
    """The commonest values of the other folds."""
    usual = {fold: commonest_values([item.fields for item in items if item.fold != fold]) for fold in folds_of(items)}
    return {item.id: command_of(usual[item.fold]) for item in items}


def _unknown_values(items: Sequence[FoldItem]) -> float:
    """Share of the filled slots whose value occurs in no other fold."""
    total = unknown = 0
    for fold in folds_of(items):
        known = {pair for item in items if item.fold != fold for pair in item.fields.items()}
        filled = [pair for item in items if item.fold == fold for pair in item.fields.items() if pair[0] != "intent"]
        total += len(filled)
        unknown += sum(pair not in known for pair in filled)
    return unknown / max(1, total)
