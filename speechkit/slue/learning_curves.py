"""Cross-validation of spoken command systems: train/test folds, and scores against the share of training data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from speechkit.runtime import item_seed
from speechkit.slue.metrics.measures import Measure, Resampling
from speechkit.slue.metrics.slots import Command, score_commands
from speechkit.slue.systems.examples import NO_VALUE

MEASURES = ("command_accuracy", "slot_f1", "slot_precision", "slot_recall", "intent_accuracy")
MIN_TRAINING_RECORDINGS = 4


class FoldItem(msgspec.Struct, frozen=True):
    """A recording with its fields, its group (a speaker, say), and its test fold."""

    id: str
    fields: dict[str, str]
    group: str
    fold: int


class FoldPrediction(msgspec.Struct, frozen=True):
    """Prediction for a test recording by a system trained on a share of the other folds."""

    id: str
    system: str
    share: float
    recordings: int
    fields: dict[str, str]
    text: str | None = None


class CurvePoint(msgspec.Struct, frozen=True):
    """Scores of a system trained on a share of the recordings, tested on ``judged`` recordings."""

    system: str
    share: float
    recordings: int
    judged: int
    measures: dict[str, Measure]
    slots: dict[str, float]


class LearningCurves(msgspec.Struct, frozen=True):
    """Points of all systems; ``unknown_values`` is the share of slots whose value is in no training fold."""

    recordings: int
    groups: int
    folds: int
    intents: int
    unknown_values: float
    points: list[CurvePoint]

    def full_points(self) -> list[CurvePoint]:
        """The systems at the largest training share, best first."""
        largest = max(point.share for point in self.points)
        full = [point for point in self.points if point.share == largest]
        return sorted(full, key=lambda point: -(point.measures["command_accuracy"].value or 0.0))

    def best_summary(self) -> str:
        """One line on the best system at the largest share: its command accuracy."""
        best = self.full_points()[0]
        return f"{best.system}: {best.measures['command_accuracy'].value or 0.0:.1%} of {best.judged} commands right"


def folds_of(items: Sequence[FoldItem]) -> list[int]:
    """The folds, in order."""
    return sorted({item.fold for item in items})


def split_at_fold(items: Sequence[FoldItem], fold: int, share: float) -> tuple[list[FoldItem], list[FoldItem]]:
    """Training and test recordings of a fold: a share of the other folds, and the fold. Shares are nested."""
    outside = sorted((item for item in items if item.fold != fold), key=lambda item: item_seed(0, item.id))
    return (
        outside[: max(MIN_TRAINING_RECORDINGS, round(share * len(outside)))],
        [item for item in items if item.fold == fold],
    )


def count_correct(items: Sequence[FoldItem], predictions: Iterable[FoldPrediction]) -> int:
    """Number of predictions whose fields all equal those of their recording."""
    fields = {item.id: item.fields for item in items}
    return sum(prediction.fields == fields[prediction.id] for prediction in predictions)


def learning_curves(
    items: Sequence[FoldItem], predictions: Iterable[FoldPrediction], *, confidence: float, resamples: int
) -> LearningCurves:
    """Scores of every system and share, and of the most frequent values; intervals resample whole groups."""
    by_id = {item.id: item for item in items}

    def point(system: str, share: float, recordings: int, predicted: dict[str, Command]) -> CurvePoint:
        ids = [name for name in by_id if name in predicted]
        groups = tuple(by_id[name].group for name in ids) if len(ids) > 1 else None
        score = score_commands(
            [to_command(by_id[name].fields) for name in ids],
            [predicted[name] for name in ids],
            ids=ids,
            resampling=Resampling(resamples, 0, confidence, groups),
        )
        measures = {name: score.measures[name] for name in MEASURES}
        return CurvePoint(
            system, share, recordings, len(ids), measures, {slot: counts.f1 for slot, counts in score.classes.items()}
        )

    runs: dict[tuple[str, float], list[FoldPrediction]] = defaultdict(list)
    for prediction in predictions:
        runs[prediction.system, prediction.share].append(prediction)
    points = [point("no listening", 1.0, 0, _majority_baseline(items))]
    for (system, share), run in runs.items():
        recordings = round(sum(prediction.recordings for prediction in run) / len(run))
        commands = {prediction.id: to_command(prediction.fields) for prediction in run}
        points.append(point(system, share, recordings, commands))
    return LearningCurves(
        len(items),
        len({item.group for item in items}),
        len(folds_of(items)),
        len({item.fields.get("intent") for item in items}),
        _unknown_values(items),
        points,
    )


def to_command(fields: dict[str, str]) -> Command:
    """Fields as a `Command`."""
    return Command(fields.get("intent"), {name: value for name, value in fields.items() if name != "intent"})


def most_frequent_values(fields: Sequence[dict[str, str]]) -> dict[str, str]:
    """The most frequent value of each field: the majority baseline."""
    values = {
        name: Counter(command.get(name, NO_VALUE) for command in fields).most_common(1)[0][0]
        for name in sorted({name for command in fields for name in command})
    }
    return {name: value for name, value in values.items() if value != NO_VALUE}


def _majority_baseline(items: Sequence[FoldItem]) -> dict[str, Command]:
    """The most frequent values of the other folds."""
    values = {
        fold: most_frequent_values([item.fields for item in items if item.fold != fold]) for fold in folds_of(items)
    }
    return {item.id: to_command(values[item.fold]) for item in items}


def _unknown_values(items: Sequence[FoldItem]) -> float:
    """Share of the filled slots whose value occurs in no other fold."""
    total = unknown = 0
    for fold in folds_of(items):
        known = {pair for item in items if item.fold != fold for pair in item.fields.items()}
        filled = [pair for item in items if item.fold == fold for pair in item.fields.items() if pair[0] != "intent"]
        total += len(filled)
        unknown += sum(pair not in known for pair in filled)
    return unknown / max(1, total)
