"""The score page: systems with intervals, significance tests, and error analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from speechkit.metrics.comparison import ErrorRate, RateComparison, RateTable, Scored, SystemRates
from speechkit.metrics.confusions import Confusions, confusions, only_under
from speechkit.metrics.sides import Sides
from speechkit.report.page import write_page
from speechkit.report.results import Table, interval_plot, percent
from speechkit.report.score_alignment import Passage, words_shown, worst_passages
from speechkit.report.score_audio import ScoreClips
from speechkit.report.score_tables import pair_matrix, parts_table, ranks_table, rates_table, significance_table
from speechkit.report.slue_page import settings_table
from speechkit.report.svg import COLOURS, Plot, Scale, keys, shortened

WORST = 25
CONFUSIONS = 15
MAX_ROWS = 300
MAX_SPEAKERS = 80
TEXT_SHOWN = 60


def render_score_page(
    out_path: Path | str,
    scored: Scored,
    sides: Sides,
    *,
    title: str | None = None,
    audio: Path | None = None,
    source: Path | None = None,
    max_megabytes: float = 8.0,
) -> Path:
    """Write the page and return its path.

    Args:
        out_path: the file, written atomically.
        scored: the compared systems.
        sides: the references, for their audio.
        title: heading; by default the names of the systems.
        audio: folder of the recordings. Only files inside it or the folder of ``source`` are opened.
        source: the reference file; audio paths are relative to its folder.
        max_megabytes: clips are added until the page is about this large.
    """
    comparison = scored.comparison
    first = comparison.tables[0]
    names = [system.name for system in first.systems]
    folders = [folder for folder in (audio, source.parent if source is not None else None) if folder is not None]
    clips = ScoreClips(sides.references, folders, int(max_megabytes * 1e6) - 1_000_000)
    worst = [
        (f"worst-{number}", name, [_passage(passage, clips) for passage in worst_passages(result, WORST)])
        for number, (name, result) in enumerate(scored.results[first.normalizer.name].items())
    ]
    return write_page(
        out_path,
        "score.html",
        title=title or " against ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
        styles=["score.css"],
        comparison=comparison,
        first=first,
        figures=_figures(comparison),
        plot=interval_plot(
            {system.name: percent(system.wer.rate, system.wer.interval, digits=2) for system in first.systems},
            label="Word error rates of the systems with their intervals",
            x_title="word error rate, %",
            better="lower",
        ),
        warnings=[*flip_sentences(comparison), *comparison.warnings],
        rates=[rates_table(scores, comparison.confidence, "system") for scores in comparison.tables],
        matrix=pair_matrix(first),
        tests=significance_table(first),
        ranks=ranks_table(comparison),
        forms=_forms(scored),
        breakdowns=_breakdowns(first),
        most_rows=MAX_ROWS,
        confusions=[
            (name, _confusions(confusions(result))) for name, result in scored.results[first.normalizer.name].items()
        ],
        worst=worst,
        blocks=clips.blocks,
        settings=_settings(comparison, clips),
    )


def _figures(comparison: RateComparison) -> list[tuple[str, str, str, str]]:
    first = comparison.tables[0]
    best = min(first.systems, key=lambda s: s.wer.rate)
    rate = percent(best.wer.rate, best.wer.interval, digits=2)
    interval = f"{best.name}; {rate.ends(' to ')} at {comparison.confidence:.0%}"
    normalizer = first.normalizer
    return [
        ("lowest word error rate", rate.number, "%", interval if rate.ends() else "no interval: one unit only"),
        ("utterances", f"{comparison.utterances:,}", "", f"{best.wer.tokens:,} reference words"),
        (f"{comparison.by}s drawn", f"{comparison.units:,}", "", f"{comparison.resamples:,} draws"),
        ("normaliser", normalizer.name, "", f"version {normalizer.version}; {comparison.weights} alignment"),
    ]


def flip_sentences(comparison: RateComparison) -> list[str]:
    """Sentences on how the normaliser changes the ranking."""
    return [
        f"The normaliser decides: {f.better} is better than {f.worse} under {f.normalizer} and worse under {f.other}."
        for f in comparison.flips
    ]


def _forms(scored: Scored) -> list[tuple[str, list[Table]]]:
    """Substitutions that count as errors under only one of the first two normalisers."""
    one, other = (scores.normalizer.name for scores in scored.comparison.tables[:2])
    cards: dict[str, list[Table]] = {f"Wrong under {a}, not so under {b}": [] for a, b in ((one, other), (other, one))}
    for system, result in scored.results[one].items():
        # One system at a time: the counts of all of them would be larger than their alignments.
        both = confusions(result), confusions(scored.results[other][system])
        for tables, (first, beside) in zip(cards.values(), (both, both[::-1]), strict=True):
            if swaps := only_under(first, beside)[:CONFUSIONS]:
                tables.append(_counts(system, map(_swap, swaps)))
    return list(cards.items())


def _breakdowns(scores: RateTable) -> list[tuple[str, Markup | None, Table]]:
    systems = scores.systems
    parts = {f"By {field}": (field, [s.groups[field] for s in systems]) for field in systems[0].groups}
    if systems[0].speakers:
        parts = {"Speakers": ("speaker", [s.speakers for s in systems]), **parts}
    plots = {title: parts_plot(systems, part, x_title=name) for title, (name, part) in parts.items()}
    parts["Length of the reference"] = ("words", [s.lengths for s in systems])
    return [
        (title, plots.get(title), parts_table(name, systems, part, none="none", letters=TEXT_SHOWN))
        for title, (name, part) in parts.items()
    ]


def parts_plot(
    systems: Sequence[SystemRates], parts: Sequence[Mapping[str, ErrorRate]], *, x_title: str
) -> Markup | None:
    """A dot per system and part (such as a speaker); parts are sorted by the rate of the first system."""
    order = sorted(parts[0], key=lambda key: (parts[0][key].rate, key))
    finite = [key for key in order if all(math.isfinite(p[key].rate) for p in parts if key in p)]
    shown = finite[-MAX_SPEAKERS:]
    if not shown:
        return None
    top = 104 * max(max(p[key].rate for p in parts if key in p) for key in shown) or 1.0
    plot = Plot(Scale(0, len(shown)), Scale(0.0, top))
    for index, key in enumerate(shown):
        for number, part in enumerate(parts):
            if key in part:
                rate, words = 100 * part[key].rate, part[key].tokens
                note = f"{systems[number].name}, {key or 'none'}: {rate:.2f} %, {words:,} words"
                plot.dots([(index + 0.5, rate)], f"dot c{number % COLOURS}", note)
    step = max(1, math.ceil(len(shown) / 12))
    ticks = [((i + 0.5) / len(shown), shortened(key or "none", 9)) for i, key in enumerate(shown) if i % step == 0]
    hidden = len(order) - len(shown)
    drawn = plot.draw(
        label=f"Word error rate by {x_title}",
        x_ticks=ticks,
        x_title=x_title + (f" ({hidden:,} with lower or infinite rates not drawn)" if hidden else ""),
        y_title="word error rate, %",
    )
    return keys([(f"b{number % COLOURS}", system.name) for number, system in enumerate(systems)]) + drawn


def _confusions(counts: Confusions) -> list[Table]:
    def most(counter: Mapping[Any, int]) -> list[tuple[Any, int]]:
        return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:CONFUSIONS]

    return [
        _counts("substituted", map(_swap, most(counts.substitutions))),
        _counts("left out", most(counts.deletions)),
        _counts("added", most(counts.insertions)),
    ]


def _swap(counted: tuple[tuple[str, str], int]) -> tuple[str, int]:
    (reference, hypothesis), times = counted
    return f"{shortened(reference, TEXT_SHOWN)} → {shortened(hypothesis, TEXT_SHOWN)}", times


def _counts(name: str, counted: Any) -> Table:
    # Words may be in a right-to-left script.
    rows = [[Markup("<bdi>{}</bdi>").format(shortened(text, 2 * TEXT_SHOWN + 3)), times] for text, times in counted]
    return Table([name, "times"], rows or [["none", 0]], name)


class _Passage(msgspec.Struct, frozen=True):
    """A passage shown on the page."""

    where: str
    errors: str
    clip: Any
    words: Any
    hidden: int


def _passage(passage: Passage, clips: ScoreClips) -> _Passage:
    utterance = passage.utterance
    where = shortened(utterance.id, TEXT_SHOWN)
    where += "" if passage.whole else f", words {passage.begin + 1:,} to {passage.end:,}"
    where += f" · {shortened(utterance.speaker, TEXT_SHOWN)}" if utterance.speaker else ""
    errors = f"{passage.errors:,} errors, {passage.end - passage.begin:,} words"
    return _Passage(where, errors, clips.clip(utterance.id) if passage.whole else None, *words_shown(passage))


def _settings(comparison: RateComparison, clips: ScoreClips) -> Table:
    failures = [f"{len(clips.failures)} utterances could not be read: {first}" for first in clips.failures[:1]]
    return settings_table(
        ("alignment", comparison.weights),
        ("alternatives", ", ".join(comparison.alternatives) or "none"),
        (
            "drawn for intervals",
            f"{comparison.units:,} {comparison.by}s, {comparison.resamples:,} times, seed {comparison.seed}",
        ),
        *(("note", note) for note in comparison.notes),
        *(("audio", failure) for failure in failures),
    )
