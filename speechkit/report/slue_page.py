"""The page of a SLUE task: systems with intervals, paired differences, classes, and the worst utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from speechkit.metrics.significance import shown_p
from speechkit.report.page import write_page
from speechkit.report.results import Column, Strong, Table, Value, interval_plot, mark_best, percent
from speechkit.slue.entity_errors import KINDS, EntityErrors
from speechkit.slue.scoring import PairScore, SlueComparison, WorstUtterance

MAX_CLASSES = 300
SIGNIFICANT = 0.05


class EntityTables(NamedTuple):
    """Effects of recognition on entities: counts per kind and system, and examples per system."""

    counts: Table
    examples: list[tuple[str, Table]]


def render_slue_page(out_path: Path | str, scores: SlueComparison, *, title: str | None = None) -> Path:
    """Write the page and return its path."""
    names = [system.name for system in scores.systems]
    heading = title or f"{scores.title}: " + " against ".join(names[:3]) + (" and others" if len(names) > 3 else "")
    best = max(scores.systems, key=lambda s: -1.0 if s.score.value is None else s.score.value)
    main = best.score.measures[scores.main]
    value = percent(main.value, main.interval, digits=2)
    definitions = "as the reference toolkit" if scores.mode == "compat" else "defects fixed"
    return write_page(
        out_path,
        "slue.html",
        title=heading,
        styles=["score.css"],
        scores=scores,
        figures=[
            (f"best {scores.main.replace('_', ' ')}", value.number, "%", f"{best.name}; {value.ends() or '–'}"),
            ("utterances", f"{scores.utterances:,}", "", f"{scores.units:,} {scores.by}s drawn"),
            ("definitions", scores.mode, "", definitions),
        ],
        plot=main_plot(scores),
        measures=measures_table(scores),
        pairs=differences(scores, scores.pairs),
        classes=_classes(scores),
        entities=entity_tables(scores.entities),
        worst=[(example.id, _example(example)) for example in scores.worst],
        settings=settings_table(
            ("definitions", scores.mode),
            ("drawn", f"{scores.units:,} {scores.by}s, {scores.resamples:,} times, seed {scores.seed}"),
            *scores.systems[0].score.settings.items(),
            *(("note", note) for note in scores.notes),
        ),
    )


def settings_table(*facts: tuple[str, Any]) -> Table:
    """Settings that a score depends on, and notes."""
    return Table(["what", "how"], facts, "Settings and notes")


def measures_table(scores: SlueComparison) -> Table:
    """A row per measure, in percent; the main measure and the best value of each row are bold."""
    rows: list[list[Any]] = []
    for name in scores.systems[0].score.measures:
        measures = [system.score.measures[name] for system in scores.systems]
        values = [percent(m.value, m.interval, digits=2) for m in measures]
        rows.append([Strong(name) if name == scores.main else name, *mark_best(values, "higher", ties=True)])
    return Table(["measure, %", *(Column(s.name, wrap=True) for s in scores.systems)], rows, "Measures")


def main_plot(scores: SlueComparison) -> Markup | None:
    """The main measure of every system with its interval."""
    systems: dict[str, Value] = {}
    for system in scores.systems:
        if system.score.value is not None:
            main = system.score.measures[scores.main]
            systems[system.name] = percent(main.value, main.interval, digits=2)
    return interval_plot(
        systems,
        label="Main measure of the systems with intervals",
        x_title=f"{scores.main.replace('_', ' ')}, %",
        better="higher",
    )


def differences(scores: SlueComparison, pairs: Sequence[PairScore], *, between: str = " – ") -> Table:
    """Differences of the given pairs; significant ones are bold."""
    rows = [
        [
            f"{p.first}{between}{p.second}",
            percent(
                p.difference,
                p.interval,
                digits=2,
                signed=True,
                emphasis="strong" if p.holm_p < SIGNIFICANT else "weak",
            ),
            shown_p(p.p_value),
            shown_p(p.holm_p),
        ]
        for p in pairs
    ]
    points = Column(f"points of {scores.main}", interval="interval")
    columns = [Column("pair", wrap=True), points, Column("p", numeric=True), Column("adjusted p", numeric=True)]
    return Table(columns, rows, "Paired differences")


def _classes(scores: SlueComparison) -> Table | None:
    names = list(dict.fromkeys(name for s in scores.systems for name in s.score.classes))[:MAX_CLASSES]
    rows: list[list[Any]] = []
    for name in names:
        classes = [s.score.classes.get(name) for s in scores.systems]
        f1 = mark_best([percent(c.f1 if c else None, digits=2) for c in classes], "higher", ties=True)
        beside = [f"{percent(c.precision, digits=2)} / {percent(c.recall, digits=2)}" if c else None for c in classes]
        gold = next(c.gold for c in classes if c is not None)
        rows.append([name, gold, *(cell for pair in zip(f1, beside, strict=True) for cell in pair)])
    columns = [Column(text, numeric=True) for s in scores.systems for text in (f"{s.name} F1", "P / R")]
    return Table(["class", "gold", *columns], rows, "Classes") if names else None


def _example(example: WorstUtterance) -> Table:
    rows: list[list[Any]] = [["text", example.text, ""]] if example.text else []
    rows.append(["gold", example.gold, ""])
    rows += [[name, text, percent(example.values[name], digits=2)] for name, text in example.predicted.items()]
    return Table(["", "", "%"], rows, f"{example.id}: gold and predictions")


def entity_tables(entities: Mapping[str, EntityErrors]) -> EntityTables | None:
    """Tables of entity errors; None if there are none."""
    if not entities:
        return None
    counts = [
        [name, errors.gold, *map(errors.total, KINDS), sum(errors.hallucinated.values())]
        for name, errors in entities.items()
    ]
    examples = {
        name: [
            [kind, example.tag, example.phrase, example.heard or None, "yes" if example.found else "no"]
            for kind in KINDS[1:]
            for example in errors.examples.get(kind, ())[:3]
        ]
        for name, errors in entities.items()
    }
    columns = ["kind", "tag", "said", "recognised", "found"]
    return EntityTables(
        Table(["text", "gold", *KINDS, "hallucinated"], counts, "Entities"),
        [(name, Table(columns, rows, f"Entities of {name}")) for name, rows in examples.items() if rows],
    )
