"""Tables of compared separators, for their page, the terminal and files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal

import msgspec

from speechkit.metrics.separation_comparison import Mean, SeparationScores
from speechkit.metrics.separation_items import IMPROVEMENT, SI_SDR
from speechkit.metrics.significance import shown_p
from speechkit.report.results import Column, Table, Value, mark_best, percent

SIGNIFICANT = 0.05
MAX_LINES = 30  # in a terminal
SHOWN = {
    SI_SDR: ("SI-SDR dB", 2),
    IMPROVEMENT: ("SI-SDRi dB", 2),
    "sdr": ("SDR dB", 2),
    "sdr_improvement": ("SDRi dB", 2),
    "stoi": ("STOI", 3),
    "pesq": ("PESQ", 2),
}
WORD_COLUMNS = (Column("WER %", numeric=True), Column("others' words %", numeric=True))
UNSEPARATED, CLEAN = "the mixtures", "the sources"


def name_of(measure: str) -> str:
    """Display name of a measure, with its unit."""
    return SHOWN[measure][0] if measure in SHOWN else measure


def value_of(mean: Mean | None, measure: str, *, signed: bool = False) -> Value:
    """A mean with its interval."""
    digits = SHOWN[measure][1] if measure in SHOWN else 2
    if mean is None:
        return Value(None, digits=digits)
    low, high = (None, None) if mean.interval is None else (mean.interval.low, mean.interval.high)
    return Value(mean.value, low, high, digits=digits, signed=signed)


def systems_table(scores: SeparationScores, *, brief: bool = False) -> Table:
    """A row for the unprocessed mixtures and one per system; the best value of each column is bold.

    ``brief`` shows only the interval of the SI-SDR improvement, to fit a terminal.
    """
    measures = [name for name in SHOWN if name in scores.measures]
    columns: list[Column | str] = ["system"]
    cells: list[Sequence[object]] = []
    for name in measures:
        values = [value_of(system.means.get(name), name) for system in scores.systems]
        baseline = (
            Value(0.0, digits=2) if name.endswith("_improvement") else value_of(scores.baseline.means.get(name), name)
        )
        column = [baseline, *mark_best(values, "higher")]
        if brief and name != IMPROVEMENT:
            column = [msgspec.structs.replace(value, low=None, high=None) for value in column]
        cells.append(column)
        columns.append(Column(name_of(name), numeric=True))
    worse = mark_best([percent(system.worse) for system in scores.systems], "lower")
    cells.append([None, *worse])
    cells.append([None, *(system.missed for system in scores.systems)])
    columns += [Column("worse %", numeric=True), Column("no track", numeric=True)]
    names = [UNSEPARATED, *(system.name for system in scores.systems)]
    rows = [list(row) for row in zip(names, *cells, strict=True)]
    return Table(columns, rows, f"Mixtures of several speakers ({scores.several:,})")


def differences_table(scores: SeparationScores) -> Table | None:
    """A row per measure and pair of systems: paired differences on the same sources."""
    rows = []
    for pair in scores.pairs:
        difference = pair.difference
        value = Value(
            difference.difference,
            difference.interval.low,
            difference.interval.high,
            digits=SHOWN[pair.measure][1] if pair.measure in SHOWN else 2,
            signed=True,
            emphasis="strong" if pair.holm_p < SIGNIFICANT else "weak",
        )
        both = f"{pair.first} − {pair.second}"
        rows.append([name_of(pair.measure), both, value, shown_p(difference.p_value), shown_p(pair.holm_p), pair.count])
    columns: list[Column | str] = [
        "measure", Column("pair", wrap=True), Column("difference", numeric=True, interval="interval"),
        Column("bootstrap p", numeric=True), Column("adjusted p", numeric=True), "sources",
    ]  # fmt: skip
    return Table(columns, rows, "Paired differences of systems") if rows else None


def behaviour_table(scores: SeparationScores) -> Table | None:
    """Single speakers, silent tracks and speaker swaps; None if the set has none of them."""
    rows: list[list[object]] = [
        [
            system.name,
            value_of(system.lone.get(SI_SDR), SI_SDR),
            value_of(system.leaked, SI_SDR),
            None if system.leaked is None else system.leaked.count,
            Value(system.swaps_per_minute, digits=2),
            percent(system.misplaced),
        ]
        for system in scores.systems
    ]
    if all(s.leaked is None and not s.lone and s.swaps_per_minute is None for s in scores.systems):
        return None
    if scores.baseline.lone:
        rows.insert(0, [UNSEPARATED, value_of(scores.baseline.lone.get(SI_SDR), SI_SDR), *[None] * 4])
    columns: list[Column | str] = [
        "system", Column("lone SI-SDR dB", numeric=True), Column("empty tracks dB", numeric=True),
        Column("empty tracks", numeric=True), Column("swaps a minute", numeric=True),
        Column("other order %", numeric=True),
    ]  # fmt: skip
    return Table(columns, rows, f"Lone speakers ({scores.lone:,}), silence and swaps")


def group_tables(scores: SeparationScores) -> list[Table]:
    """SI-SDR improvement per system and value of a field, one table per field."""
    tables = []
    for field in scores.systems[0].groups:
        parts = [system.groups[field] for system in scores.systems]
        rows = []
        for value in parts[0]:
            values = [value_of(part.get(value), IMPROVEMENT) for part in parts]
            rows.append([value, parts[0][value].count, *mark_best(values, "higher")])
        columns = [Column(f"{system.name} dB", numeric=True, wrap=True) for system in scores.systems]
        tables.append(Table([field, "sources", *columns], rows, f"Improvement of SI-SDR by {field}"))
    return tables


def words_table(scores: SeparationScores) -> Table | None:
    """Word errors and leaked words in tracks, mixtures and clean sources; None without a recogniser."""
    base = scores.baseline
    if base.word_error_rate is None:
        return None
    lines = [
        (UNSEPARATED, base.word_error_rate, base.leaked_words),
        (CLEAN, base.clean_word_error_rate, base.clean_leaked_words),
        *((system.name, system.word_error_rate, system.leaked_words) for system in scores.systems),
    ]
    rows = [[name, _rate(errors), _rate(leaks), errors and errors.count] for name, errors, leaks in lines]
    columns: list[Column | str] = ["what is recognised", *WORD_COLUMNS, "words"]
    return Table(columns, rows, "What a recogniser hears")


def _rate(mean: Mean | None) -> Value:
    return percent(None) if mean is None else percent(mean.value, mean.interval)


def items_table(scores: SeparationScores) -> Table:
    """A row per source: its speaker, and all measures of all systems."""
    measures = [name for name in SHOWN if name in scores.measures]
    first = scores.systems[0]
    rows: list[list[object]] = []
    for beside in zip(*(system.items for system in scores.systems), strict=True):
        for number, sources in enumerate(zip_longest(*(item.sources for item in beside))):
            known = next(source for source in sources if source is not None)
            row: list[object] = [beside[0].id, number + 1, known.speaker, round(beside[0].seconds, 3)]
            for source in sources:
                track = None if source is None or source.track is None else source.track + 1
                values = {} if source is None else source.values
                row += [track, *(values.get(name) for name in measures), None if source is None else source.leaked_db]
            rows.append([_rounded(cell) for cell in row])
    columns = ["mixture", "source", "speaker", "seconds"]
    for system in scores.systems:
        prefix = f"{system.name}: " if len(scores.systems) > 1 or system is not first else ""
        columns += [f"{prefix}{name}" for name in ("track", *measures, "leaked_db")]
    return Table(columns, rows, "Every source")


def left_out_table(scores: SeparationScores) -> Table | None:
    """Mixtures that could not be scored, with the reason; None if there are none."""
    rows = [[item.id, item.system or "references", item.reason] for item in scores.left_out]
    return Table(["mixture", "of", Column("why", wrap=True)], rows, "Left out of all systems") if rows else None


def all_tables(scores: SeparationScores, *, brief: bool = False) -> list[Table]:
    """All tables except that of sources."""
    others = (make(scores) for make in (behaviour_table, words_table, left_out_table))
    tables = [systems_table(scores, brief=brief), differences_table(scores), *group_tables(scores), *others]
    return [table.first(MAX_LINES) if brief else table for table in tables if table is not None]


def sentence(scores: SeparationScores) -> str:
    """One sentence on what was scored, resampled and left out."""
    lone = f", {scores.lone:,} of them of a lone speaker" if scores.lone else ""
    drawn = f"{scores.confidence:.0%} intervals over {scores.units:,} {scores.by}s, {scores.resamples:,} draws"
    lost = len({item.id for item in scores.left_out})
    left_out = f"; {lost:,} left out" if lost else ""
    counted = f"{scores.mixtures:,} mixture{'s'[: scores.mixtures != 1]}{lone}"
    return f"{counted}, {scores.seconds / 60:.1f} minutes; {drawn}{left_out}"


def _rounded(cell: object) -> object:
    return round(cell, 4) if isinstance(cell, float) else cell


Format = Literal["md", "tex", "csv"]


def tables_as(scores: SeparationScores, form: Format) -> str:
    """All tables as Markdown or LaTeX, or the table of systems as CSV."""
    if form == "csv":
        return systems_table(scores).csv()
    tables = all_tables(scores)
    if form == "tex":
        return "\n".join(table.latex() for table in tables)
    parts = [f"{table.caption}\n\n{table.markdown()}" for table in tables]
    return "\n".join([f"{sentence(scores)}.\n", *parts])
