"""Stage 3: every task's systems scored side by side, one table, and published results beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from recipes.slue_encoders.stages import PREDICTIONS, TaskData, read_names, read_tasks
from speechkit.pipeline import Context
from speechkit.slue.published import Published, published_for
from speechkit.slue.scoring import PairScore, SlueComparison, score_files

if TYPE_CHECKING:
    from speechkit.report.markup import Child, Markup

BETTER_P = 0.05


class EncoderComparison(msgspec.Struct, frozen=True):
    """What ``scores.json`` holds: a comparison and the test manifest of each task."""

    split: str
    tasks: dict[str, SlueComparison]
    judged: dict[str, str]


def compare(context: Context) -> None:
    """Score all systems of each task over the same draws, and write the table and the page."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.page import write_page
    from speechkit.slue.fields.options import Options

    config = context.config
    predictions = Path(context.inputs["predictions"])
    names = read_names(predictions)
    tasks: dict[str, SlueComparison] = {}
    judged: dict[str, str] = {}
    for task in read_tasks(config.tasks):
        mine = [name for name in names if name.task == task.name]
        reference = task.split(config.split)
        tasks[task.name] = score_files(
            task.name,
            reference,
            [f"{name.shown}={predictions / name.folder / PREDICTIONS}" for name in mine],
            options=Options(tags=config.tags, compat=config.compat),
            by=config.by,
            confidence=config.confidence,
            resamples=config.resamples,
        )
        judged[task.name] = test_set(task, reference)
        for warning in tasks[task.name].warnings:
            context.say(f"{task.name}: {warning}")
    found = EncoderComparison(config.split, tasks, judged)
    write_json(context.output("scores.json"), found)
    text = markdown(found)
    write_text(context.output("table.md"), text)
    write_page(context.output("report.html"), page(found))
    for line in text.splitlines():
        context.say(line)


def test_set(task: TaskData, reference: Path) -> str:
    """The corpus and split that judge, by the names of their folder and file."""
    return f"{task.folder.name} {reference.stem}"


def cell(comparison: SlueComparison, system: str) -> str:
    """A system's main measure with its interval, the best in bold."""
    scores = {each.name: each.score for each in comparison.systems}
    if system not in scores or (value := scores[system].value) is None:
        return "–"
    around = scores[system].measures[comparison.main].interval
    shown = f"{100 * value:.1f}"
    if value == max(each.value for each in scores.values() if each.value is not None):
        shown = f"**{shown}**"
    return shown if around is None else f"{shown} ({100 * around.low:.1f}–{100 * around.high:.1f})"


def head(found: EncoderComparison) -> list[str]:
    """The columns: a task with its measure and what judges."""
    return [
        "encoder",
        *(f"{name}, {of.main.replace('_', ' ')} on {found.judged[name]}" for name, of in found.tasks.items()),
    ]


def rows(found: EncoderComparison) -> list[list[str]]:
    """A row for each encoder and kind of training that any task has."""
    systems = dict.fromkeys(each.name for of in found.tasks.values() for each in of.systems)
    return [[system, *(cell(of, system) for of in found.tasks.values())] for system in systems]


def differences(comparison: SlueComparison) -> list[PairScore]:
    """The pairs whose difference is more than chance."""
    return [pair for pair in comparison.pairs if pair.holm_p < BETTER_P]


def said_of_pairs(comparison: SlueComparison) -> str:
    """One sentence on which differences hold."""
    apart, total = differences(comparison), len(comparison.pairs)
    if not total:
        return "There is nothing to compare."
    if len(apart) == total:
        return f"All {total} pairs differ (p below {BETTER_P:g}, adjusted for all pairs)."
    level = [f"{pair.first} and {pair.second}" for pair in comparison.pairs if pair not in apart]
    return f"{len(apart)} of {total} pairs differ (p below {BETTER_P:g}, adjusted); not told apart: {'; '.join(level)}."


def published_rows(task: str) -> list[list[str]]:
    """Published results of a task, the best first."""

    def row(each: Published) -> list[str]:
        return [each.system, each.way, each.measure, f"{each.value:.1f}", each.data, each.source]

    return [row(each) for each in published_for(task)]


PUBLISHED_HEAD = ("system", "way", "measure", "%", "data", "source")


def markdown(found: EncoderComparison) -> str:
    """The table, what differs, and the published results of each task."""
    from speechkit.report.table import markdown_table

    parts = [markdown_table(head(found), rows(found))]
    parts += [f"{name}: {said_of_pairs(of)} {of.utterances:,} utterances.\n" for name, of in found.tasks.items()]
    for name in found.tasks:
        if published := published_rows(name):
            parts.append(f"Published for {name}, on its own test set:\n")
            parts.append(markdown_table(PUBLISHED_HEAD, published))
    return "\n".join(parts)


def page(found: EncoderComparison) -> str:
    """The same as one page."""
    from speechkit.report.markup import data_block, element
    from speechkit.report.page import asset, render_page
    from speechkit.report.table import table

    def plain(text: str) -> Child:
        return element("span", text.replace("**", ""), class_="best") if text.startswith("**") else text

    columns = head(found)
    confidence = next(iter(found.tasks.values())).confidence
    lead = (
        f"The same head on every encoder. In brackets the {confidence:.0%} interval; the best of a column is bold. All "
        "layers of an encoder enter a learned weighted sum; frozen ones were computed once."
    )
    body: list[Child] = [
        element("h1", "Encoders on understanding"),
        element("p", lead, class_="lead"),
        table(columns, [[plain(text) for text in row] for row in rows(found)], caption="All tasks"),
        [_task_section(name, of) for name, of in found.tasks.items()],
    ]
    return render_page(
        "Encoders on understanding", [element("main", body), data_block("scores", found)], styles=[asset("score.css")]
    )


def _task_section(name: str, comparison: SlueComparison) -> Markup:
    from speechkit.report.markup import element
    from speechkit.report.table import table

    published = published_rows(name)
    return element(
        "section",
        element("h2", comparison.title),
        element("p", f"{said_of_pairs(comparison)} {comparison.utterances:,} utterances."),
        [element("p", warning) for warning in comparison.warnings],
        [
            element("p", "Published results, each on its own test set and for reference only:"),
            table(PUBLISHED_HEAD, published, caption=f"Published for {name}", numeric=(3,)),
        ]
        if published
        else None,
    )
