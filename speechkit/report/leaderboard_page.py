"""Tables and page of systems on several test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechkit.io.atomic import write_json, write_text
from speechkit.metrics.leaderboard import Leaderboard
from speechkit.metrics.rate_tables import SIGNIFICANT
from speechkit.metrics.significance import shown_p
from speechkit.report.page import write_page
from speechkit.report.results import Column, Strong, Table, Value, interval_plot, mark_best, percent
from speechkit.report.slue_page import settings_table


def board_table(board: Leaderboard, *, intervals: bool = False) -> Table:
    """One row per system, sorted by average, one column per set; the lowest rate of each column is bold.

    With ``intervals``, the rates of the sets have intervals too, not only the average.
    """
    names = [system.name for system in board.systems]
    averages = mark_best([percent(system.rate, system.interval, digits=2) for system in board.systems], "lower")
    columns: list[Column | str] = [
        "rank",
        Column("system"),
        Column("average WER %", interval=f"{board.confidence:.0%} interval"),
    ]
    cells: list[list[object]] = [
        [system.rank, Strong(system.name) if system.rank == 1 else system.name, average]
        for system, average in zip(board.systems, averages, strict=True)
    ]
    for test_set in board.sets:
        rates = [test_set.systems[name] for name in names]
        shown = [percent(rate.rate, rate.interval if intervals else None, digits=2) for rate in rates]
        columns.append(Column(test_set.name, numeric=True))
        cells = [[*row, cell] for row, cell in zip(cells, mark_best(shown, "lower"), strict=True)]
    columns.append(Column("mean rank", numeric=True))
    cells = [[*row, Value(s.mean_rank, digits=1)] for row, s in zip(cells, board.systems, strict=True)]
    speeds = [system.speed for system in board.systems]
    if any(speeds):
        columns += [Column("RTF", numeric=True), Column("RTFx", numeric=True)]
        factors = [Value(None if s is None else s.real_time_factor, digits=4) for s in speeds]
        times = mark_best([Value(None if s is None else s.times_real_time, digits=1) for s in speeds], "higher")
        cells = [[*row, *both] for row, *both in zip(cells, factors, times, strict=True)]
    return Table(columns, cells, f"Word error rates, normaliser {board.normalizer.name} {board.normalizer.version}")


def pairs_table(board: Leaderboard, *, between: str = " − ") -> Table:
    """One row per pair: difference of the averages with its interval and p-values."""
    rows = [
        [
            f"{pair.first}{between}{pair.second}",
            percent(
                pair.difference.difference,
                pair.difference.interval,
                digits=2,
                signed=True,
                emphasis="strong" if pair.holm_p < SIGNIFICANT else "weak",
            ),
            shown_p(pair.difference.p_value),
            shown_p(pair.holm_p),
        ]
        for pair in board.pairs
    ]
    points = Column("points of average WER", numeric=True, interval="interval")
    columns = [Column("pair", wrap=True), points, Column("p", numeric=True), Column("adjusted p", numeric=True)]
    return Table(columns, rows, "Differences of averages")


def sets_table(board: Leaderboard) -> Table:
    """Content of each set and its resampling unit."""
    rows = [
        [test_set.name, test_set.utterances, test_set.words, f"{test_set.units:,} {test_set.by}s"]
        for test_set in board.sets
    ]
    return Table(["set", "utterances", "words", Column("drawn")], rows, "Test sets")


def sentence(board: Leaderboard) -> str:
    """One sentence on how the leaderboard was computed."""
    return (
        f"{len(board.sets)} sets, {sum(test_set.utterances for test_set in board.sets):,} utterances; "
        f"average of the sets' rates, {board.confidence:.0%} intervals of {board.resamples:,} draws in each set; "
        f"normaliser {board.normalizer.name} version {board.normalizer.version}"
    )


def tables_as(board: Leaderboard, form: Literal["md", "tex", "csv"]) -> str:
    """All tables as Markdown or LaTeX, or the table of systems as CSV with all intervals."""
    if form == "csv":
        return board_table(board, intervals=True).csv()
    tables = [board_table(board), *([pairs_table(board)] if board.pairs else []), sets_table(board)]
    if form == "tex":
        return "\n".join(table.latex() for table in tables)
    return f"{sentence(board)}.\n\n" + "\n".join(f"{table.caption}\n\n{table.markdown()}" for table in tables)


def write_leaderboard(out: Path, board: Leaderboard, *, title: str | None = None) -> Path:
    """Write ``leaderboard.json``, ``.md``, ``.tex`` and ``.csv``, and ``report.html``, and return the page's path."""
    write_json(out / "leaderboard.json", board)
    for form in ("md", "tex", "csv"):
        write_text(out / f"leaderboard.{form}", tables_as(board, form))
    best = board.systems[0]
    rate = percent(best.rate, best.interval, digits=2)
    return write_page(
        out / "report.html",
        "leaderboard.html",
        title=title or f"{len(board.systems)} systems on {len(board.sets)} sets",
        board=board,
        figures=[
            ("lowest average", rate.number, "%", f"{best.name}; {rate.ends(' to ') or 'no interval'}"),
            ("systems", f"{len(board.systems):,}", "", "ranked by the average"),
            ("sets", f"{len(board.sets):,}", "", f"{sum(test_set.utterances for test_set in board.sets):,} utterances"),
            ("normaliser", board.normalizer.name, "", f"version {board.normalizer.version}"),
        ],
        plot=interval_plot(
            {system.name: percent(system.rate, system.interval, digits=2) for system in board.systems},
            label="Average word error rates with their intervals",
            x_title="average word error rate, %",
            better="lower",
        ),
        systems=board_table(board, intervals=True),
        pairs=pairs_table(board) if board.pairs else None,
        sets=sets_table(board),
        settings=settings_table(
            ("average", "mean of the sets' rates, each set counting the same"),
            ("drawn", f"{board.resamples:,} times in each set, seed {board.seed}"),
            *(("note", note) for note in board.notes),
        ),
    )
