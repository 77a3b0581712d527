"""Learning curves of spoken commands as Markdown and as one page: the table, the curves, and every slot."""

from __future__ import annotations

from collections import defaultdict

from speechkit.metrics.bootstrap import Interval
from speechkit.report.markup import Markup, data_block, element
from speechkit.report.page import asset, render_page
from speechkit.report.svg import HEIGHT, WIDTH, Scale, frame, nice_ticks
from speechkit.report.table import table
from speechkit.slue.learning_curves import LearningCurves
from speechkit.slue.metrics.measures import Measure

COLOURS = 6  # of the page's style


def shown(measure: Measure) -> str:
    """A percentage with its interval."""
    if measure.value is None:
        return "–"
    around = measure.interval
    return f"{100 * measure.value:.1f}" + (f" ({_between(around)})" if around is not None else "")


def _between(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def markdown(scores: LearningCurves) -> list[str]:
    """Two tables: systems at the largest share, and command accuracy by the share of the training recordings."""
    lines = ["| system | judged | command accuracy, % | slot F1, % |", "|---|---|---|---|"]
    for point in scores.full_points():
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


def page(scores: LearningCurves, title: str, confidence: float) -> str:
    """One file: tables and curves."""
    full = scores.full_points()
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


def learning_curve(scores: LearningCurves, measure: str, y_title: str) -> Markup:
    """A line for each system over the recordings that it was trained on, and the lines' names below."""
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
