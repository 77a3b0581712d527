"""Several separators on one set of mixtures: scores of every source, means with intervals, paired differences."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import (
    DEFAULT_RESAMPLES,
    Interval,
    bootstrap_ratio,
    ratio,
    resampled_sums,
    sum_by_group,
)
from speechkit.metrics.separated_tracks import LeftOut
from speechkit.metrics.separation_items import IMPROVEMENT, ItemResult, Items, SourceResult
from speechkit.metrics.significance import PairedDifference, drawn_difference, holm
from speechkit.metrics.speaker_leakage import TrackWords, track_words

By = Literal["mixture", "speaker"]
MIXTURE = "mixture"
"""Name of the row without separation."""


class Mean(msgspec.Struct, frozen=True):
    """A mean over ``count`` sources (or a rate over ``count`` words) and its interval; None under two units."""

    value: float
    interval: Interval | None
    count: int


class SystemResult(msgspec.Struct, frozen=True):
    """One system over the mixtures scored for all systems.

    Attributes:
        name: of the system.
        means: of each measure, over the sources of mixtures with at least two speakers.
        worse: share of these sources with SI-SDR below that of the mixture.
        missed: speakers without a track.
        leaked: mean level of tracks of silent sources relative to their mixture, in dB.
        lone: measures of lone speakers' tracks, over mixtures with one speaker.
        swaps_per_minute: changes of the permutation, over mixtures of at least two windows.
        misplaced: share of windows whose permutation is not the most frequent of their mixture.
        word_error_rate: of the tracks against their speakers' texts.
        leaked_words: words of other speakers recognised in tracks, over all words of other speakers.
        groups: mean improvement of SI-SDR by field of the references and its value.
        items: every mixture.
    """

    name: str
    means: dict[str, Mean]
    worse: float | None
    missed: int
    leaked: Mean | None
    lone: dict[str, Mean]
    swaps_per_minute: float | None
    misplaced: float | None
    word_error_rate: Mean | None
    leaked_words: Mean | None
    groups: dict[str, dict[str, Mean]]
    items: list[ItemResult]


class Baseline(msgspec.Struct, frozen=True):
    """Scores of the mixture for several speakers and for lone ones, and of the clean sources."""

    means: dict[str, Mean]
    lone: dict[str, Mean]
    word_error_rate: Mean | None = None
    leaked_words: Mean | None = None
    clean_word_error_rate: Mean | None = None
    clean_leaked_words: Mean | None = None


class PairResult(msgspec.Struct, frozen=True):
    """A measure of the first system minus that of the second on the same sources; ``holm_p`` adjusts for all pairs."""

    measure: str
    first: str
    second: str
    difference: PairedDifference
    holm_p: float
    count: int


class SeparationScores(msgspec.Struct, frozen=True):
    """All scores; ``several`` and ``lone`` count mixtures with at least two speakers and with one."""

    mixtures: int
    seconds: float
    several: int
    lone: int
    by: By
    units: int
    confidence: float
    resamples: int
    seed: int
    measures: list[str]
    baseline: Baseline
    systems: list[SystemResult]
    pairs: list[PairResult]
    left_out: list[LeftOut]
    notes: list[str]


class RecognisedTexts(msgspec.Struct, frozen=True):
    """Recognised texts: of each mixture by its id, of its sources, and of each system's tracks."""

    mixtures: dict[str, str]
    sources: dict[str, list[str]]
    tracks: dict[str, dict[str, list[str]]]
    normalizer: str = "simple"


def compare_separation(
    items: Items,
    *,
    by: By = "mixture",
    groups: Sequence[str] = (),
    recognised: RecognisedTexts | None = None,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> SeparationScores:
    """Means with intervals of every system and the paired bootstrap of every two.

    Args:
        items: from `score_items`.
        by: unit of resampling: mixtures, or speakers, since sources of one speaker are correlated.
        groups: fields of ``custom`` of the references to break down by; unknown fields are ignored.
        recognised: recognised texts, for word errors and leaked words; needs texts in the references.
        confidence: coverage of intervals.
        resamples: bootstrap resamples, the same for all systems.
        seed: of the bootstrap.

    Raises:
        UserError: if ``by`` is speaker and a source has none, or a text is missing.
    """
    means = _Means(by, confidence, resamples, seed)
    notes = list(items.notes)
    parts = {name: part for name in groups if (part := _parts(items, name))}
    words = None if recognised is None else _words(items, recognised)
    systems = [
        _system(name, results if words is None else _with_words(results, words[name]), means, parts)
        for name, results in items.systems.items()
    ]
    first = next(iter(items.systems.values()))
    lone = [item for item in first if item.lone]
    overlapped = [item for item in first if not item.lone and any(source.values for source in item.sources)]
    measures = list(dict.fromkeys(name for item in first for source in item.sources for name in source.values))
    units = len({group for item in overlapped or first for group in means.groups(item)})
    baseline = Baseline(
        {name: m for name in measures if (m := means.before(overlapped, name)) is not None},
        {name: m for name in measures if (m := means.before(lone, name)) is not None},
    )
    if words is not None:
        unseparated = _with_words(first, words[MIXTURE])
        clean = _with_words(first, words[""])
        baseline = msgspec.structs.replace(
            baseline,
            word_error_rate=means.errors(unseparated),
            leaked_words=means.leaks(unseparated),
            clean_word_error_rate=means.errors(clean),
            clean_leaked_words=means.leaks(clean),
        )
    return SeparationScores(
        mixtures=len(first),
        seconds=sum(item.seconds for item in first),
        several=len(overlapped),
        lone=len(lone),
        by=by,
        units=units,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        measures=measures,
        baseline=baseline,
        systems=systems,
        pairs=_pairs(systems, measures, means),
        left_out=items.left_out,
        notes=notes,
    )


def _parts(items: Items, field: str) -> dict[str, set[str]]:
    """Ids of the references by their value of a field, sorted by value; those without the field have the value none."""
    ids_by_value: dict[str, set[str]] = {}
    for reference in items.references:
        value = (reference.mixture.custom or {}).get(field)
        ids_by_value.setdefault("none" if value is None else str(value), set()).add(reference.id)
    return {} if set(ids_by_value) == {"none"} else dict(sorted(ids_by_value.items()))


def _system(
    name: str, items: list[ItemResult], means: _Means, parts: Mapping[str, dict[str, set[str]]]
) -> SystemResult:
    overlapped, lone = [i for i in items if not i.lone], [i for i in items if i.lone]
    sources = [source for item in overlapped for source in item.sources if source.values]
    swaps = [item.swaps for item in items if item.swaps is not None]
    minutes, windows = sum(s.minutes for s in swaps), sum(s.windows for s in swaps)
    measures = list(dict.fromkeys(name for item in items for source in item.sources for name in source.values))
    return SystemResult(
        name=name,
        means={m: mean for m in measures if (mean := means.of(overlapped, m)) is not None},
        worse=sum(s.values[IMPROVEMENT] < 0 for s in sources) / len(sources) if sources else None,
        missed=sum(s.track is None and bool(s.values) for item in items for s in item.sources),
        leaked=means.mean([(item, s, s.leaked_db) for item in items for s in item.sources if s.leaked_db is not None]),
        lone={m: mean for m in measures if (mean := means.of(lone, m)) is not None},
        swaps_per_minute=sum(s.swaps for s in swaps) / minutes if minutes else None,
        misplaced=sum(s.misplaced * s.windows for s in swaps) / windows if windows else None,
        word_error_rate=means.errors(items),
        leaked_words=means.leaks(items),
        groups={
            field: {
                value: mean
                for value, ids in part.items()
                if (mean := means.of([item for item in overlapped if item.id in ids], IMPROVEMENT)) is not None
            }
            for field, part in parts.items()
        },
        items=items,
    )


class _Means:
    """Means and rates with bootstrap intervals."""

    def __init__(self, by: By, confidence: float, resamples: int, seed: int) -> None:
        self.by, self.confidence, self.resamples, self.seed = by, confidence, resamples, seed

    def group(self, item: ItemResult, source: SourceResult) -> str:
        if self.by == "mixture" or source.leaked_db is not None:
            return item.id  # an empty track has no speaker
        if source.speaker is None:
            raise UserError(f"{item.id}: a source has no speaker; give every source one, or resample mixtures")
        return source.speaker

    def groups(self, item: ItemResult) -> list[str]:
        return [self.group(item, source) for source in item.sources if source.values]

    def ratio(
        self, rows: Sequence[tuple[ItemResult, SourceResult, float, float]], count: int | None = None
    ) -> Mean | None:
        """Ratio of the sums of the third and fourth items."""
        below = sum(row[3] for row in rows)
        if not rows or not below:
            return None
        groups = [self.group(item, source) for item, source, _, _ in rows]
        interval = None
        if len(set(groups)) > 1:
            interval = bootstrap_ratio(
                [row[2] for row in rows],
                [row[3] for row in rows],
                groups=groups,
                confidence=self.confidence,
                resamples=self.resamples,
                seed=self.seed,
            )
        return Mean(float(sum(row[2] for row in rows) / below), interval, len(rows) if count is None else count)

    def mean(self, rows: Sequence[tuple[ItemResult, SourceResult, float]]) -> Mean | None:
        return self.ratio([(item, source, value, 1.0) for item, source, value in rows])

    def of(self, items: Sequence[ItemResult], name: str) -> Mean | None:
        return self.mean([(i, s, s.values[name]) for i in items for s in i.sources if name in s.values])

    def before(self, items: Sequence[ItemResult], name: str) -> Mean | None:
        return self.mean([(i, s, s.before[name]) for i in items for s in i.sources if name in s.before])

    def errors(self, items: Sequence[ItemResult]) -> Mean | None:
        known = [(i, s, s.words.counts) for i in items for s in i.sources if s.words is not None]
        rows = [(i, s, float(c.errors), float(c.reference_tokens)) for i, s, c in known]
        return self.ratio(rows, sum(c.reference_tokens for _, _, c in known))

    def leaks(self, items: Sequence[ItemResult]) -> Mean | None:
        known = [(i, s, s.words) for i in items for s in i.sources if s.words is not None]
        return self.ratio(
            [(i, s, float(w.leaked), float(w.others)) for i, s, w in known], sum(w.others for _, _, w in known)
        )


def _pairs(systems: Sequence[SystemResult], measures: Sequence[str], means: _Means) -> list[PairResult]:
    results: list[PairResult] = []
    for name in measures:
        if name.endswith("_improvement"):
            continue  # the difference of improvements equals that of the measures
        tests = []
        for left, right in itertools.combinations(systems, 2):
            both = [
                (item, source, source.values[name], other.values[name])
                for item, beside in zip(left.items, right.items, strict=True)
                for source, other in zip(item.sources, beside.sources, strict=False)
                if not item.lone and name in source.values and name in other.values
            ]
            groups = [means.group(item, source) for item, source, _, _ in both]
            if len(set(groups)) < 2:
                continue
            table = sum_by_group(np.array([[first, second, 1.0] for _, _, first, second in both]), groups)
            sums, units = resampled_sums(table, resamples=means.resamples, seed=means.seed)
            drawn = ratio(sums[:, 0], sums[:, 2]) - ratio(sums[:, 1], sums[:, 2])
            total = table.sum(axis=0)
            observed = float((total[0] - total[1]) / total[2])
            difference = drawn_difference(observed, drawn, means.confidence, units)
            tests.append((left.name, right.name, difference, len(both)))
        adjusted = holm([difference.p_value for _, _, difference, _ in tests])
        results += [PairResult(name, a, b, d, p, n) for (a, b, d, n), p in zip(tests, adjusted, strict=True)]
    return results


def _words(items: Items, recognised: RecognisedTexts) -> dict[str, list[list[TrackWords | None]]]:
    """Words of every source by system, item by item; "" is the source itself."""
    by_system: dict[str, list[list[TrackWords | None]]] = {MIXTURE: [], "": [], **{name: [] for name in items.systems}}
    for index, reference in enumerate(items.references):
        texts = reference.texts
        if texts is None or len(texts) != len(reference.sources):
            raise UserError(
                f"{reference.id}: its sources have no texts; give texts in custom.mixture, or leave --asr out"
            )
        for name, results in by_system.items():
            tracks: Sequence[int | None]
            if name in items.systems:
                scored = items.systems[name][index].sources[: len(texts)]
                texts_of_tracks = recognised.tracks[name][reference.id]
                tracks = [source.track for source in scored]
            else:
                texts_of_tracks = (
                    [recognised.mixtures[reference.id]] * len(texts) if name else recognised.sources[reference.id]
                )
                tracks = range(len(texts))
            row: list[TrackWords | None] = []
            for number, track in enumerate(tracks):
                others = [text for other, text in enumerate(texts) if other != number]
                # A speaker without a track is only in the mixture.
                text = "" if track is None else texts_of_tracks[track]
                row.append(track_words(texts[number], others, text, recognised.normalizer))
            results.append(row)
    return by_system


def _with_words(items: Sequence[ItemResult], words: Sequence[Sequence[TrackWords | None]]) -> list[ItemResult]:
    replaced = []
    for item, row in zip(items, words, strict=True):
        padded = [*row, *[None] * len(item.sources)]
        sources = [
            msgspec.structs.replace(source, words=words_of_track)
            for source, words_of_track in zip(item.sources, padded, strict=False)
        ]
        replaced.append(msgspec.structs.replace(item, sources=sources))
    return replaced
