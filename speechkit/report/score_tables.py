"""Tables of a comparison of recognisers, for its page and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal

from speechkit.metrics.comparison import SIGNIFICANT, ErrorRate, PairTest, RateComparison, RateTable, SystemRates
from speechkit.metrics.keywords import KeywordScores
from speechkit.metrics.significance import shown_p
from speechkit.report.results import Column, Strong, Table, Value, mark_best, percent
from speechkit.report.svg import shortened


def rates_table(scores: RateTable, confidence: float, first: str = "") -> Table:
    """A row per system by ascending rate, with error counts; the lowest of each rate is bold."""
    systems = sorted(scores.systems, key=lambda system: scores.ranking.index(system.name))
    wer = mark_best([percent(s.wer.rate, s.wer.interval, digits=2) for s in systems], "lower")
    ser = mark_best([percent(s.sentence_error_rate, digits=2) for s in systems], "lower")
    cer = mark_best([percent(s.cer.rate if s.cer else None, digits=2) for s in systems], "lower")
    counts = [(s.wer.tokens, s.wer.hits, s.wer.substitutions, s.wer.deletions, s.wer.insertions) for s in systems]
    rows: list[list[object]] = [
        [s.name, w, *n, x, c] for s, w, n, x, c in zip(systems, wer, counts, ser, cer, strict=True)
    ]
    names: list[Column | str] = ["words", "hits", "sub", "del", "ins", "SER %", Column("CER %", numeric=True)]
    if any(s.mixed for s in systems):
        names.append(Column("mixed ER %", numeric=True))
        mixed = mark_best([percent(s.mixed.rate if s.mixed else None, digits=2) for s in systems], "lower")
        rows = [[*row, rate] for row, rate in zip(rows, mixed, strict=True)]
    columns = [Column(first), Column("WER %", interval=f"{confidence:.0%} interval"), *names]
    title = f"normaliser {scores.normalizer.name}, version {scores.normalizer.version}"
    return Table(columns, rows, f"Error rates, {title}")


def significance_table(scores: RateTable, *, between: str = " − ", p: str = "bootstrap p") -> Table:
    """A row per pair of systems with the tests of their difference."""
    rows = [
        [
            f"{pair.first}{between}{pair.second}",
            _points(pair),
            shown_p(None if pair.bootstrap is None else pair.bootstrap.p_value),
            shown_p(pair.holm_p),
            shown_p(pair.matched_pairs_holm_p),
            shown_p(pair.mcnemar_holm_p),
        ]
        for pair in scores.pairs
    ]
    names = [Column(name, numeric=True) for name in (p, "adjusted p", "MAPSSWE adjusted", "McNemar adjusted")]
    points = Column("points", numeric=True, interval="interval")
    return Table([Column("pair", wrap=True), points, *names], rows, "Tests of each pair")


def _points(pair: PairTest) -> Value:
    difference = pair.bootstrap
    return (
        Value(None)
        if difference is None
        else percent(difference.difference, difference.interval, digits=2, signed=True)
    )


def pair_matrix(scores: RateTable) -> Table:
    """Difference, row minus column, in points of WER with the adjusted p-value; significant ones are bold."""
    cells = {names: cell for pair in scores.pairs for names, cell in _cells(pair).items()}
    rows = [[Strong(row), *(cells.get((row, column), "") for column in scores.ranking)] for row in scores.ranking]
    columns = [Column(name, numeric=True) for name in scores.ranking]
    return Table(["", *columns], rows, "Difference of word error rates, row minus column, with adjusted p-values")


def _cells(pair: PairTest) -> dict[tuple[str, str], Value | None]:
    directions = ((pair.first, pair.second), (pair.second, pair.first))
    difference = pair.bootstrap
    if difference is None or pair.holm_p is None:
        return dict.fromkeys(directions)
    note = (
        f"bootstrap p = {shown_p(difference.p_value)}, MAPSSWE p = {shown_p(pair.matched_pairs.p_value)} over "
        f"{pair.matched_pairs.segments:,} segments, McNemar p = {shown_p(pair.mcnemar.p_value)}"
    )
    return {
        names: percent(
            sign * difference.difference,
            digits=2,
            signed=True,
            emphasis="strong" if pair.holm_p < SIGNIFICANT else "weak",
            below=f"p = {shown_p(pair.holm_p)}",
            note=note,
        )
        for names, sign in zip(directions, (1, -1), strict=True)
    }


def parts_of(scores: RateTable) -> list[tuple[str, list[dict[str, ErrorRate]]]]:
    """The available breakdowns: by length, by speaker, and by each group."""
    systems = scores.systems
    parts = [("reference words", [s.lengths for s in systems])]
    if systems[0].speakers:
        parts.append(("speaker", [s.speakers for s in systems]))
    return parts + [(field, [s.groups[field] for s in systems]) for field in systems[0].groups]


def parts_table(
    name: str, systems: Sequence[SystemRates], parts: Sequence[dict[str, ErrorRate]], *, none: str, letters: int
) -> Table:
    """A row per part (such as a speaker) with the rate of each system; ``none`` is shown for an empty name."""
    rows = []
    for key in dict.fromkeys(chain.from_iterable(parts)):
        rates = [percent(part[key].rate if key in part else None, digits=2) for part in parts]
        words = next(part[key].tokens for part in parts if key in part)
        rows.append([shortened(key, letters) or none, words, *mark_best(rates, "lower")])
    names = [Column(f"{s.name} %", numeric=True, wrap=True) for s in systems]
    return Table([name, "words", *names], rows, f"Word error rate by {name}")


def ranks_table(comparison: RateComparison) -> Table:
    """Rates and ranks under each normaliser."""
    tables = comparison.tables
    rows = [
        [
            system.name,
            *(
                cell
                for scores in tables
                for cell in (
                    percent(scores.systems[index].wer.rate, digits=2),
                    scores.ranking.index(system.name) + 1,
                )
            ),
        ]
        for index, system in enumerate(tables[0].systems)
    ]
    columns = [text for scores in tables for text in (f"{scores.normalizer.name} %", "rank")]
    return Table(["system", *columns], rows, "Rates and ranks under each normaliser")


Format = Literal["md", "tex", "csv"]


def tables_as(comparison: RateComparison, form: Format, keywords: Mapping[str, KeywordScores] | None = None) -> str:
    """All tables as Markdown or LaTeX, or one row per normaliser and system as CSV."""
    if form == "csv":
        return measures_table(comparison).csv()
    tables = [rates_table(scores, comparison.confidence, "system") for scores in comparison.tables]
    if len(comparison.tables[0].systems) > 1:
        tables.append(significance_table(comparison.tables[0]))
    if keywords:
        tables.append(keywords_table(keywords, comparison))
    if form == "tex":
        return "\n".join(table.latex() for table in tables)
    return "\n".join(f"{table.caption}\n\n{table.markdown()}" for table in tables)


def keywords_table(keywords: Mapping[str, KeywordScores], comparison: RateComparison) -> Table:
    """A row per system by ascending keyword error rate."""
    order = sorted(keywords, key=lambda name: keywords[name].rate.rate)
    scores = [keywords[name] for name in order]
    rates = mark_best([percent(score.rate.rate, score.rate.interval, digits=2) for score in scores], "lower")
    shares = [
        mark_best([percent(share.value, share.interval, digits=2) for share in column], "higher")
        for column in zip(*((score.precision, score.recall, score.f1) for score in scores), strict=True)
    ]
    rows = [
        [name, rate, score.rate.tokens, *values, score.right, score.reference_occurrences, score.hypothesis_occurrences]
        for name, score, rate, *values in zip(order, scores, rates, *shares, strict=True)
    ]
    columns: list[Column | str] = [Column("system"), Column("keyword WER %", numeric=True), "words"]
    columns += [Column(name, numeric=True) for name in ("precision %", "recall %", "F1 %")]
    title = f"Keywords, normaliser {comparison.tables[0].normalizer.name}"
    return Table([*columns, "right", "in reference", "recognised"], rows, title)


def _rate_value(rate: ErrorRate | None) -> Value:
    return Value(None) if rate is None else percent(rate.rate, rate.interval, digits=2)


def measures_table(comparison: RateComparison) -> Table:
    """All measures, one row per system and normaliser."""
    rows = [
        [
            scores.normalizer.name,
            scores.normalizer.version,
            system.name,
            scores.ranking.index(system.name) + 1,
            percent(system.wer.rate, system.wer.interval, digits=2),
            *(system.wer.tokens, system.wer.hits),
            *(system.wer.substitutions, system.wer.deletions, system.wer.insertions),
            percent(system.sentence_error_rate, digits=2),
            _rate_value(system.cer),
            _rate_value(system.mixed),
            percent(system.match_error_rate, digits=2),
            percent(system.word_information_lost, digits=2),
        ]
        for scores in comparison.tables
        for system in scores.systems
    ]
    columns = ["normaliser", "version", "system", "rank", "WER %", "words", "hits", "sub", "del", "ins", "SER %"]
    return Table([*columns, "CER %", "mixed error rate %", "match error rate %", "WIL %"], rows, "Error rates")
