"""The page of a SLUE task: systems with intervals, paired differences, classes, and the worst utterances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechkit.io.atomic import write_bytes
from speechkit.metrics.significance import shown_p
from speechkit.report.entity_section import entity_section
from speechkit.report.markup import Child, Markup, data_block, element
from speechkit.report.page import asset, render_page
from speechkit.report.svg import HEIGHT, WIDTH, Scale, frame, nice_ticks
from speechkit.report.table import table
from speechkit.slue.metrics.measures import Measure
from speechkit.slue.scoring import Example, PairScore, SlueComparison

COLOURS = 6
MOST_CLASSES = 300
MOST_DATA_BYTES = 1_000_000


def render_slue_page(out_path: Path | str, found: SlueComparison, *, title: str | None = None) -> Path:
    """Write the page and return its path."""
    names = [system.name for system in found.systems]
    heading = title or f"{found.title}: " + " against ".join(names[:3]) + (" and others" if len(names) > 3 else "")
    body: list[Child] = [
        element(
            "main",
            _headline(heading, found),
            _systems(found),
            _significance(found),
            _classes(found),
            entity_section(found.entities),
            _worst(found),
            _settings(found),
        ),
        _data(found),
    ]
    write_bytes(out_path, render_page(f"{heading}: scores", body, styles=[asset("score.css")]).encode())
    return Path(out_path)


def _data(found: SlueComparison) -> Markup | None:
    block = data_block("scores", found)
    return block if len(block) <= MOST_DATA_BYTES else None


def percent(value: float | None) -> str:
    """A fraction as a percentage without its sign; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.2f}"


def around(measure: Measure) -> str:
    """The interval as two percentages."""
    interval = measure.interval
    return "–" if interval is None else f"{percent(interval.low)} – {percent(interval.high)}"


def _headline(heading: str, found: SlueComparison) -> Markup:
    best = max(found.systems, key=lambda s: -1.0 if s.score.value is None else s.score.value)
    main = best.score.measures[found.main]
    figures = [
        (f"best {found.main.replace('_', ' ')}", percent(main.value), "%", f"{best.name}; {around(main)}"),
        ("utterances", f"{found.utterances:,}", "", f"{found.units:,} {found.by}s drawn"),
        ("definitions", found.mode, "", "as the reference toolkit" if found.mode == "compat" else "defects mended"),
    ]
    return element(
        "header",
        element("p", "speechkit slue", class_="overline"),
        element("h1", heading),
        element(
            "dl",
            [
                element(
                    "div",
                    element("dt", name),
                    element("dd", value, element("small", unit) if unit else None),
                    element("dd", note, class_="note"),
                )
                for name, value, unit, note in figures
            ],
            class_="figures",
        ),
    )


def _section(name: str, lead: str, *content: Child) -> Markup:
    return element("section", element("h2", name), element("p", lead, class_="lead"), content)


def _systems(found: SlueComparison) -> Markup:
    rows: list[list[Child]] = []
    for name in found.systems[0].score.measures:
        measures = [system.score.measures[name] for system in found.systems]
        best = max((m.value for m in measures if m.value is not None), default=None)
        cells: list[Child] = []
        for m in measures:
            bold = "best" if m.value is not None and m.value == best else None
            cells += [element("span", percent(m.value), class_=bold), around(m)]
        rows.append([element("strong", name) if name == found.main else name, *cells])
    head = ["measure, %"]
    for system in found.systems:
        head += [system.name, f"{found.confidence:.0%} interval"]
    said = [element("p", sentence, class_="said") for sentence in found.warnings]
    plot = interval_plot(found)
    return _section(
        "Systems",
        "The measure that systems are ranked by is bold, and so is the best of each row.",
        element("div", said, class_="said-group") if said else None,
        element("div", plot, class_="card") if plot else None,
        element("div", table(head, rows, caption="Measures", numeric=range(1, len(head))), class_="card"),
    )


def interval_plot(found: SlueComparison) -> Markup | None:
    """The main measure of every system with its interval, the best on top; None where no system has a value."""
    systems = [s for s in found.systems if s.score.value is not None]
    rows = sorted(systems, key=lambda s: -(s.score.value or 0.0))
    if not rows:
        return None
    ends = [0.0]
    for system in rows:
        main = system.score.measures[found.main]
        ends += [main.value or 0.0] + ([] if main.interval is None else [main.interval.low, main.interval.high])
    low = max(0.0, min(ends[1:]) - 0.03)
    x = Scale(100 * low, 100 * min(1.0, max(ends) + 0.03))
    order = [s.name for s in found.systems]
    marks: list[Child] = []
    names = []
    for index, system in enumerate(rows):
        main, y = system.score.measures[found.main], (index + 0.5) / len(rows)
        style = f"c{order.index(system.name) % COLOURS}"
        value = 100 * (main.value or 0.0)
        if main.interval is not None:
            begin, end = x(100 * main.interval.low) * WIDTH, x(100 * main.interval.high) * WIDTH
            marks.append(_stroke(f"M{begin:.1f} {y * HEIGHT:.1f}H{end:.1f}", f"whisker {style}"))
        note = f"{system.name}: {value:.2f} %"
        marks.append(_stroke(f"M{x(value) * WIDTH:.1f} {y * HEIGHT:.1f}h0", f"dot {style}", note))
        names.append((1 - y, system.name if len(system.name) <= 18 else system.name[:17] + "…"))
    plot = frame(
        marks,
        label="Main measure of the systems with intervals",
        x_ticks=[(x(tick), f"{tick:g}") for tick in nice_ticks(x.low, x.high, 6)],
        y_ticks=names,
        x_title=f"{found.main.replace('_', ' ')}, %",
        y_title="",
    )
    return element("div", plot, class_="wide-axis rows-plot", data_rows=len(rows))


def _stroke(path: str, style: str, note: str | None = None) -> Markup:
    title = element("title", note) if note else None
    return element("path", title, class_=style, d=path, vector_effect="non-scaling-stroke")


def _significance(found: SlueComparison) -> Markup | None:
    if not found.pairs:
        return None
    return _section(
        "Differences",
        "Over the same draws for both systems; p is adjusted for as many pairs as there are (Holm).",
        element("div", differences(found, found.pairs), class_="card"),
    )


def differences(found: SlueComparison, pairs: Sequence[PairScore]) -> Markup:
    """Some of the pairs as a table; those that chance does not explain are bold."""
    rows: list[list[Child]] = [
        [
            f"{p.first} – {p.second}",
            element("span", f"{100 * p.difference:+.2f}", class_="significant" if p.holm_p < 0.05 else "unsure"),
            f"{100 * p.interval.low:+.2f} – {100 * p.interval.high:+.2f}",
            shown_p(p.p_value),
            shown_p(p.holm_p),
        ]
        for p in pairs
    ]
    head = ["pair", f"points of {found.main}", "interval", "p", "adjusted p"]
    return table(head, rows, caption="Paired differences", numeric=range(1, 5))


def _classes(found: SlueComparison) -> Markup | None:
    names = list(dict.fromkeys(name for s in found.systems for name in s.score.classes))[:MOST_CLASSES]
    if not names:
        return None
    rows: list[list[Child]] = []
    for name in names:
        scores = [s.score.classes.get(name) for s in found.systems]
        gold = next(c.gold for c in scores if c is not None)
        best = max(c.f1 for c in scores if c is not None)
        cells: list[Child] = []
        for c in scores:
            if c is None:
                cells += ["–", "–"]
            else:
                cells += [
                    element("span", percent(c.f1), class_="best" if c.f1 == best else None),
                    f"{percent(c.precision)} / {percent(c.recall)}",
                ]
        rows.append([name, f"{gold:,}", *cells])
    head = ["class", "gold"]
    for system in found.systems:
        head += [f"{system.name} F1", "P / R"]
    body = table(head, rows, caption="Classes", numeric=range(1, len(head)))
    return _section("Classes", "F1, precision and recall of each class.", element("div", body, class_="card"))


def _worst(found: SlueComparison) -> Markup | None:
    if not found.worst:
        return None
    lead = f"The lowest values of {found.systems[0].name}, and what the other systems said there."
    return _section("Worst utterances", lead, element("div", map(_example, found.worst), class_="stack-of-cards"))


def _example(example: Example) -> Markup:
    rows: list[list[Child]] = []
    if example.text:
        rows.append(["text", example.text, ""])
    rows.append(["gold", example.gold, ""])
    rows += [[name, said, percent(example.values[name])] for name, said in example.predicted.items()]
    return element(
        "article",
        element("div", element("span", example.id), class_="where"),
        table(["", "", "%"], rows, caption=f"{example.id}: gold and predictions", numeric=(2,)),
        class_="card passage",
    )


def _settings(found: SlueComparison) -> Markup:
    facts: list[list[Child]] = [
        ["definitions", found.mode],
        ["drawn", f"{found.units:,} {found.by}s, {found.resamples:,} times, seed {found.seed}"],
    ]
    facts += [[name, value] for name, value in found.systems[0].score.settings.items()]
    facts += [["note", note] for note in found.notes]
    body = table(["what", "how"], facts, caption="Settings and notes")
    return _section("How it was scored", "All of it stands in scores.json.", element("div", body, class_="card"))
