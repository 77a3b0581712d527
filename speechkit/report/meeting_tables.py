"""Tables of meeting scores."""

from __future__ import annotations

from speechkit.metrics.meetings import MEASURES, MeetingScores
from speechkit.metrics.rate_tables import SIGNIFICANT
from speechkit.metrics.significance import shown_p
from speechkit.report.results import Column, Table, mark_best, percent


def meeting_tables(scores: MeetingScores) -> list[Table]:
    """One row per measure and system, the lowest rate of each measure in bold; and the pairwise tests, if any."""
    rows: list[list[object]] = []
    tests: list[list[object]] = []
    for measure in scores.rates:
        name = MEASURES[measure.measure]
        order = sorted(measure.systems, key=lambda system: measure.systems[system].rate)
        rates = [measure.systems[system] for system in order]
        shown = mark_best([percent(rate.rate, rate.interval, digits=2) for rate in rates], "lower")
        for system, rate, cell in zip(order, rates, shown, strict=True):
            rows.append([name, system, cell, rate.tokens, rate.substitutions, rate.deletions, rate.insertions])
        for pair in measure.pairs:
            emphasis = "strong" if pair.holm_p < SIGNIFICANT else "weak"
            difference = pair.difference
            points = percent(difference.difference, difference.interval, digits=2, signed=True, emphasis=emphasis)
            tests.append(
                [name, f"{pair.first} − {pair.second}", points, shown_p(difference.p_value), shown_p(pair.holm_p)]
            )
    interval = f"{scores.confidence:.0%} interval"
    columns: list[Column | str] = ["measure", "system", Column("rate %", interval=interval)]
    tables = [Table([*columns, "words", "sub", "del", "ins"], rows, "Error rates of meetings")]
    if tests:
        points_column = Column("points", numeric=True, interval="interval")
        heads = [Column("p", numeric=True), Column("adjusted p", numeric=True)]
        tables.append(Table(["measure", Column("pair", wrap=True), points_column, *heads], tests, "Tests of each pair"))
    return tables
