"""Learning curves of spoken commands as Markdown and as a page: tables, curves, and scores per slot."""

from __future__ import annotations

from pathlib import Path

from speechkit.report.page import write_page
from speechkit.report.results import Column, Table, Value, learning_curve, percent
from speechkit.slue.learning_curves import CurvePoint, LearningCurves

SHOWN = {"command_accuracy": "command accuracy", "slot_f1": "slot F1", "intent_accuracy": "intent accuracy"}


def _value(point: CurvePoint, measure: str) -> Value:
    return percent(point.measures[measure].value, point.measures[measure].interval)


def systems_table(curves: LearningCurves) -> Table:
    """The systems at the largest share, best first."""
    rows = [[p.system, p.judged, *(_value(p, measure) for measure in SHOWN)] for p in curves.full_points()]
    caption = "Systems trained on all recordings of the other folds"
    return Table(["system", "judged", *(f"{name}, %" for name in SHOWN.values())], rows, caption)


def shares_table(curves: LearningCurves) -> Table:
    """Slot F1 by the share of the training recordings, of systems with more than one."""
    shares = sorted({point.share for point in curves.points})
    values = {(p.system, p.share): percent(p.measures["slot_f1"].value) for p in curves.points}
    rows = [
        [system, *(values.get((system, share)) for share in shares)]
        for system in dict.fromkeys(point.system for point in curves.points)
        if sum((system, share) in values for share in shares) > 1
    ]
    return Table(["slot F1, %", *(Column(f"{share:.0%}", numeric=True) for share in shares)], rows, "Slot F1 by share")


def markdown(curves: LearningCurves) -> str:
    """Both tables."""
    return f"{systems_table(curves).markdown()}\n{shares_table(curves).markdown()}"


def write_intents_page(path: Path | str, curves: LearningCurves, *, title: str, confidence: float) -> Path:
    """One page: tables and curves."""
    full = curves.full_points()
    slots = sorted({slot for point in full for slot in point.slots})
    by_slot = [[p.system, *(percent(p.slots.get(slot, 0.0)) for slot in slots)] for p in full]
    lines: dict[str, dict[str, list[tuple[float, Value]]]] = {}
    for point in sorted(curves.points, key=lambda point: point.recordings):
        for measure in ("command_accuracy", "slot_f1"):
            name = SHOWN[measure].capitalize().replace("f1", "F1")
            lines.setdefault(name, {}).setdefault(point.system, []).append((point.recordings, _value(point, measure)))
    return write_page(
        path,
        "slue_intents.html",
        title=title,
        styles=["score.css"],
        curves=curves,
        confidence=confidence,
        systems=systems_table(curves),
        plots={
            name: learning_curve(
                of,
                label=f"{name}, % by the number of training recordings",
                x_title="training recordings",
                y_title=f"{name}, %",
                top=100,
            )
            for name, of in lines.items()
        },
        by_slot=Table(["system", *(Column(slot, numeric=True) for slot in slots)], by_slot, "F1 of each slot, %"),
    )
