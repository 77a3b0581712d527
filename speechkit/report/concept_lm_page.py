"""Tables and page of concept models: retrieval of the next segment, compared with copying, means and regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechkit.lm.concepts.records import ConceptReport
from speechkit.metrics.bootstrap import Interval
from speechkit.report.page import write_page
from speechkit.report.results import Column, Table, Value, mark_best, percent

TITLE = "Concept models"


def retrieval_table(report: ConceptReport) -> Table:
    """One row per system, and one for chance level."""

    def marked(values: list[tuple[float | None, Interval | None]]) -> list[Value]:
        return mark_best([percent(value, interval) for value, interval in values], "higher")

    systems = report.systems
    accuracy = marked([(system.contrastive_accuracy, system.contrastive_interval) for system in systems])
    direction = marked([(system.direction_accuracy, system.direction_interval) for system in systems])
    inside = marked([(system.document_accuracy, system.document_interval) for system in systems])
    first = marked([(system.first, system.first_interval) for system in systems])
    rank = marked([(system.reciprocal_rank, system.reciprocal_interval) for system in systems])
    distance = mark_best([Value(system.distance, digits=2) for system in systems], "lower")
    gains = {name: percent(system.share, system.interval, signed=True) for name, system in report.gains.items()}
    rows: list[list[Any]] = [
        [
            system.system,
            system.parameters or None,
            accuracy[index],
            direction[index],
            gains.get(system.system),
            inside[index],
            first[index],
            rank[index],
            distance[index],
            Value(system.copying, digits=2),
        ]
        for index, system in enumerate(systems)
    ]
    chance = report.chance
    chance_row: list[Any] = ["by lot", None, percent(0.5), percent(0.5), None, percent(0.5), percent(chance.first)]
    rows.append([*chance_row, percent(chance.reciprocal_rank), None, None])
    names = [
        *(
            "weights",
            "CA, %",
            "direction, %",
            f"over {report.best_baseline}",
            "in the document, %",
            "first, %",
            "1 / rank, %",
        ),
        *("l2", "PAR"),
    ]
    return Table(["system", *(Column(name, numeric=True) for name in names)], rows, "Which segment follows")


def lead(report: ConceptReport) -> str:
    """Introductory text: the measure and the protocol."""
    fit = report.fit
    counts = "; ".join(
        f"{part}: {fit.segments[part]:,} segments of {fit.documents[part]} documents by {fit.speakers[part]} speakers"
        for part in fit.segments
    )
    return (
        f"{counts}. A concept is the mean of a segment's frames ({report.encoder}), {fit.segment_seconds:.1f} s in the "
        f"mean. {fit.speaker_share_before:.0%} of the variance of test vectors lies between speakers, and "
        f"{fit.speaker_share_after:.0%} once the directions of training speakers are gone. "
        f"{report.chance.negatives:.0f} negatives of a target in the mean. {report.protocol}"
    )


def markdown(report: ConceptReport) -> str:
    """The lead and the table."""
    return f"{lead(report)}\n\n{retrieval_table(report).markdown()}"


def write_concept_lm_page(path: Path | str, report: ConceptReport) -> Path:
    """Write the page and return its path."""
    return write_page(path, "concept_lm.html", title=TITLE, lead=lead(report), retrieval=retrieval_table(report))
