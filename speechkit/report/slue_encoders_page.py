"""Comparison of encoders as Markdown and as a page: table, differences, and published results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from speechkit.report.page import write_page
from speechkit.report.results import Column, Table, Value, mark_best, percent
from speechkit.report.slue_page import EntityTables, differences, entity_tables, main_plot
from speechkit.slue.encoder_comparison import EncoderComparison, TaskComparison, best_system, reference_pairs
from speechkit.slue.scoring import SlueComparison

BETTER_P = 0.05


def main_values(scores: SlueComparison, names: list[str]) -> list[Value]:
    """The main measure of each system in percent, the best in bold unless all are 0."""
    measures = {system.name: system.score.measures[scores.main] for system in scores.systems}
    values = [percent(m.value, m.interval) if (m := measures.get(name)) else percent(None) for name in names]
    return mark_best(values, "higher", ties=True) if any(value.estimate for value in values) else values


def encoders_table(comparison: EncoderComparison) -> Table:
    """A row per encoder and kind of training, in the given order; a column per task."""
    tasks = comparison.tasks
    order = {system.shown: system.order for task in tasks.values() for system in task.systems}
    names = sorted(order, key=lambda name: order[name])
    values = zip(*(main_values(task.scores, names) for task in tasks.values()), strict=True)
    heads = [f"{n}, {t.scores.main.replace('_', ' ')} on {t.judged_by.shown}, %" for n, t in tasks.items()]
    rows = [[name, *row] for name, row in zip(names, values, strict=True)]
    return Table(["encoder", *(Column(head, numeric=True) for head in heads)], rows, "All tasks")


def pairs_sentence(scores: SlueComparison) -> str:
    """One sentence on which differences are significant."""
    tied = [f"{pair.first} and {pair.second}" for pair in scores.pairs if pair.holm_p >= BETTER_P]
    total = len(scores.pairs)
    if not total:
        return "There is nothing to compare."
    if not tied:
        return f"All {total} pairs differ (p below {BETTER_P:g}, adjusted for all pairs)."
    differing = total - len(tied)
    return f"{differing} of {total} pairs differ (p below {BETTER_P:g}, adjusted); not told apart: {'; '.join(tied)}."


def data_sentences(task: TaskComparison) -> list[str]:
    """Sentences on training and test data, on items left out, and on repaired and tuned predictions."""
    scores = task.scores
    learned = {system.learned for system in task.systems}
    sentences = [
        f"Learned from {' or '.join(f'{count:,}' for count in sorted(learned))} utterances; judged by "
        f"{scores.utterances:,} of {task.judged_by.shown}, intervals over {scores.units:,} "
        f"{'utterances' if scores.by == 'utterance' else 'speakers'}."
    ]
    left_out = {reason: count for system in task.systems for reason, count in system.left_out.items()}
    sentences += [f"Left out of training: {count:,} ({reason})." for reason, count in left_out.items()]
    sentences += [f"{note[0].upper()}{note[1:]}." for note in scores.notes]
    for system in task.systems:
        if system.mended:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in Counter(system.mended).most_common())
            sentences.append(f"{system.shown}: repaired entity symbols: {kinds}.")
        if system.spans:
            sentences.append(f"{system.shown}: spans {system.spans}.")
    return sentences


def published_sentence(task: TaskComparison) -> str:
    """One sentence on whether the published results are on the same test set."""
    sets = sorted({f"{row.corpus} {row.split}" for row in task.published})
    sets_text = " and ".join(sets)
    if not any(task.judged_by.matches(row) for row in task.published):
        return (
            f"For reference only: published on {sets_text}, while the results above are on {task.judged_by.shown}; "
            "they are not comparable."
        )
    same = f"Rows on {task.judged_by.shown} are on the test set used here"
    return f"For reference: {same}." if len(sets) == 1 else f"For reference: {same}; the others are on another one."


def published_table(name: str, task: TaskComparison) -> Table:
    """Published results of a task, the best first."""
    known = task.judged_by.shown if task.judged_by.prepared else None
    rows: list[list[Any]] = []
    for row in task.published:
        judge = f"{row.corpus} {row.split}"
        judge += "" if judge == known else " (another set)"
        rows.append([row.system, row.way, row.measure, Value(row.value), judge, row.source])
    return Table(["system", "way", "measure", "%", "judged by", "source"], rows, f"Published for {name}")


def markdown(comparison: EncoderComparison) -> str:
    """The table, the differences, and the published results of each task."""
    parts = [encoders_table(comparison).markdown()]
    for name, task in comparison.tasks.items():
        parts.append(f"{name}: {pairs_sentence(task.scores)} {' '.join(data_sentences(task))}\n")
        if pairs := reference_pairs(task.scores):
            parts.append(differences(task.scores, pairs).markdown())
        if task.published:
            parts += [f"{name}: {published_sentence(task)}\n", published_table(name, task).markdown()]
    return "\n".join(parts)


class _Section(NamedTuple):
    """A task on the page."""

    scores: SlueComparison
    lead: str
    plot: Markup | None
    sentences: list[str]
    best: str | None
    pairs: Table
    entities: EntityTables | None
    published_lead: str
    published: Table


def write_encoders_page(path: Path | str, comparison: EncoderComparison) -> Path:
    """Write the comparison as a page, with a plot of the intervals per task, and return its path."""
    return write_page(
        path,
        "slue_encoders.html",
        title="Encoders on understanding",
        styles=["score.css"],
        comparison=comparison,
        confidence=next(iter(comparison.tasks.values())).scores.confidence,
        table=encoders_table(comparison),
        tasks=[
            _Section(
                task.scores,
                pairs_sentence(task.scores),
                main_plot(task.scores),
                data_sentences(task),
                best_system(task.scores),
                differences(task.scores, reference_pairs(task.scores)),
                entity_tables(task.scores.entities),
                published_sentence(task),
                published_table(name, task),
            )
            for name, task in comparison.tasks.items()
        ],
    )
