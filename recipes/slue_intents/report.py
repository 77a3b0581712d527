"""Scores of every system and share, and one page: the table, the learning curve, the encoders beside one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from speechkit.metrics.bootstrap import Interval
from speechkit.pipeline import Context
from speechkit.slue.metrics.measures import Measure, Resampling, TaskScore
from speechkit.slue.metrics.slots import Command, score_commands

from .stages import Item, Prediction, command_of, majority

if TYPE_CHECKING:
    from speechkit.report.markup import Markup

COLOURS = 6  # of the page's style
MEASURES = ("command_accuracy", "slot_f1", "slot_precision", "slot_recall", "intent_accuracy")


class Point(msgspec.Struct, frozen=True):
    """A system that was trained on a share of the recordings, judged on ``judged`` of them."""

    system: str
    share: float
    recordings: int
    judged: int
    measures: dict[str, Measure]
    slots: dict[str, float]


class Scores(msgspec.Struct, frozen=True):
    """What ``scores.json`` holds; ``unknown_values`` is the share of slots whose value no training fold had."""

    recordings: int
    groups: int
    folds: int
    intents: int
    unknown_values: float
    points: list[Point]


def report(context: Context) -> None:
    """Score everything against the labels, the groups drawn whole for the intervals."""
    from speechkit.io.atomic import write_bytes, write_json

    config = context.config
    items: dict[str, Item] = {item.id: item for item in context.read("items")}
    runs: dict[tuple[str, float], list[Prediction]] = defaultdict(list)
    for name in ("endtoend", "finetune", "pipelines"):
        for prediction in context.read(name):
            runs[prediction.system, prediction.share].append(prediction)
    points = [_point("no listening", 1.0, 0, _without_listening(items), items, config)]
    for (system, share), said in runs.items():
        found = {each.id: command_of(each.fields) for each in said}
        recordings = round(sum(each.recordings for each in said) / len(said))
        points.append(_point(system, share, recordings, found, items, config))
    scores = Scores(
        len(items),
        len({item.group for item in items.values()}),
        len({item.fold for item in items.values()}),
        len({item.fields.get("intent") for item in items.values()}),
        _unknown(list(items.values())),
        points,
    )
    write_json(context.output("scores.json"), scores)
    lines = markdown(scores)
    write_bytes(context.output("table.md"), ("\n".join(lines) + "\n").encode())
    for line in lines:
        context.say(line)
    write_bytes(context.output("report.html"), page(scores, config.title, config.confidence).encode())


def _point(
    system: str, share: float, recordings: int, said: dict[str, Command], items: dict[str, Item], config: object
) -> Point:
    names = [name for name in items if name in said]
    groups = tuple(items[name].group for name in names)
    resampling = Resampling(
        getattr(config, "resamples", 2000), 0, getattr(config, "confidence", 0.95), groups if len(names) > 1 else None
    )
    score: TaskScore = score_commands(
        [command_of(items[name].fields) for name in names],
        [said[name] for name in names],
        ids=names,
        resampling=resampling,
    )
    slots = {slot: each.f1 for slot, each in score.classes.items()}
    return Point(system, share, recordings, len(names), {m: score.measures[m] for m in MEASURES}, slots)


def _without_listening(items: dict[str, Item]) -> dict[str, Command]:
    """The commonest values of the other folds."""
    folds = sorted({item.fold for item in items.values()})
    usual = {fold: majority([item.fields for item in items.values() if item.fold != fold]) for fold in folds}
    return {name: command_of(usual[item.fold]) for name, item in items.items()}


def _unknown(items: Sequence[Item]) -> float:
    """Share of the filled slots whose value occurs in no other fold."""
    total = unknown = 0
    for fold in {item.fold for item in items}:
        known = {pair for item in items if item.fold != fold for pair in item.fields.items()}
        filled = [pair for item in items if item.fold == fold for pair in item.fields.items() if pair[0] != "intent"]
        total += len(filled)
        unknown += sum(pair not in known for pair in filled)
    return unknown / max(1, total)


def shown(measure: Measure) -> str:
    """A percentage with its interval."""
    if measure.value is None:
        return "–"
    around = measure.interval
    return f"{100 * measure.value:.1f}" + (f" ({_between(around)})" if around is not None else "")


def _between(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def full_points(scores: Scores) -> list[Point]:
    """The systems at the largest share, best first."""
    largest = max(point.share for point in scores.points)
    full = [point for point in scores.points if point.share == largest]
    return sorted(full, key=lambda point: -(point.measures["command_accuracy"].value or 0.0))


def markdown(scores: Scores) -> list[str]:
    """Two tables: systems at the largest share, and command accuracy by the share of the training recordings."""
    lines = ["| system | judged | command accuracy, % | slot F1, % |", "|---|---|---|---|"]
    for point in full_points(scores):
        cells = [shown(point.measures[name]) for name in ("command_accuracy", "slot_f1")]
        lines.append(f"| {point.system} | {point.judged} | {' | '.join(cells)} |")
    shares = sorted({point.share for point in scores.points})
    lines += [
        "",
        "| slot F1, % | " + " | ".join(f"{share:.0%}" for share in shares) + " |",
        "|---" * (len(shares) + 1) + "|",
    ]
    at = {(point.system, point.share): point for point in scores.points}
    for system in dict.fromkeys(point.system for point in scores.points):
        cells = [
            f"{100 * (at[system, share].measures['slot_f1'].value or 0):.1f}" if (system, share) in at else "–"
            for share in shares
        ]
        if sum(cell != "–" for cell in cells) > 1:
            lines.append(f"| {system} | {' | '.join(cells)} |")
    return lines


def page(scores: Scores, title: str, confidence: float) -> str:
    """One file: tables and curves."""
    from speechkit.report.markup import data_block, element
    from speechkit.report.page import asset, render_page
    from speechkit.report.table import table

    full = full_points(scores)
    slots = sorted({slot for point in full for slot in point.slots})
    systems = table(
        ["system", "judged", "command accuracy, %", "slot F1, %", "intent accuracy, %"],
        [
            [
                p.system,
                str(p.judged),
                *(shown(p.measures[m]) for m in ("command_accuracy", "slot_f1", "intent_accuracy")),
            ]
            for p in full
        ],
        caption="Systems trained on all recordings of the other folds",
        numeric=(1, 2, 3, 4),
    )
    each = table(
        ["system", *slots],
        [[p.system, *(f"{100 * p.slots.get(slot, 0):.1f}" for slot in slots)] for p in full],
        caption="F1 of each slot, %",
        numeric=range(1, len(slots) + 1),
    )
    note = (
        f"{scores.recordings} recordings in {scores.groups} groups; {scores.folds} folds share no group. Intervals "
        f"cover {confidence:.0%} and draw groups whole. {scores.unknown_values:.1%} of the filled slots have a value "
        "that no training fold has. A command is right when its intent and all its slots are."
        + (" All recordings have the same intent: its accuracy says nothing." if scores.intents == 1 else "")
    )
    curves = [
        element("section", element("h2", name), learning_curve(scores, measure, f"{name}, %"))
        for measure, name in (("command_accuracy", "Command accuracy"), ("slot_f1", "Slot F1"))
    ]
    main = element("main", element("h1", title), element("p", note), systems, *curves, element("h2", "Slots"), each)
    return render_page(title, [main, data_block("scores", scores)], styles=[asset("score.css")])


def learning_curve(scores: Scores, measure: str, y_title: str) -> Markup:
    """A line for each system over the recordings that it was trained on, and the lines' names below."""
    from speechkit.report.markup import element
    from speechkit.report.svg import HEIGHT, WIDTH, Scale, frame, nice_ticks

    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for point in sorted(scores.points, key=lambda point: point.recordings):
        lines[point.system].append((point.recordings, 100 * (point.measures[measure].value or 0.0)))
    lines = {system: points for system, points in lines.items() if len(points) > 1}
    if not lines:
        return element("p", "One share only: there is no curve.")
    most = max(place for points in lines.values() for place, _ in points)
    x, y = Scale(0, most), Scale(0, 100)
    grid = "".join(f"M0 {HEIGHT * (1 - y(tick)):.1f}H{WIDTH}" for tick in nice_ticks(0, 100))
    marks = [element("path", class_="grid", d=grid, vector_effect="non-scaling-stroke")]
    names = []
    for number, (system, points) in enumerate(lines.items()):
        style = number % COLOURS
        places = [(x(place) * WIDTH, HEIGHT * (1 - y(value))) for place, value in points]
        path = "M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in places)
        marks.append(
            element(
                "path",
                element("title", system),
                class_=f"line c{style}",
                d=path,
                fill="none",
                vector_effect="non-scaling-stroke",
            )
        )
        dots = "".join(f"M{left:.1f} {top:.1f}h0" for left, top in places)
        marks.append(element("path", class_=f"dot c{style}", d=dots, vector_effect="non-scaling-stroke"))
        last = f"{points[-1][1]:.1f}"
        names.append(
            element("li", element("span", class_=f"swatch b{style}"), element("span", system, class_="name"), " ", last)
        )
    plot = frame(
        marks,
        label=f"{y_title} by the number of training recordings",
        x_ticks=[(x(tick), f"{tick:g}") for tick in nice_ticks(0, most)],
        y_ticks=[(y(tick), f"{tick:g}") for tick in nice_ticks(0, 100)],
        x_title="training recordings",
        y_title=y_title,
    )
    return element("figure", plot, element("ul", names, class_="legend"), class_="curve")
