"""How much a task's score falls with the word error rate: real recognisers, a fitted noise, and the two top lines.

A text model reads the reference text (the oracle recogniser), what real recognisers wrote, and the reference text under
the errors of `speechkit.slue.sensitivity_noise` at several rates. Word errors and scores of one draw of utterances
belong together, so that the slope and the gap between a real recogniser and the curve have intervals too. The second
top line is a perfect understanding of the recognised text: what recognition alone costs.

Source of the analysis: Shon et al. 2023, SLUE Phase-2, section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import percentile_interval, resampled_sums, sum_by_group
from speechkit.metrics.error_rates import word_errors
from speechkit.runtime import item_seed
from speechkit.slue.entity_errors import EntityErrors, entities_heard, entity_errors
from speechkit.slue.fields import Options
from speechkit.slue.metrics.answers import answer_words
from speechkit.slue.metrics.measures import Measure, Resampling
from speechkit.slue.rows import Row, read_rows, text_of
from speechkit.slue.sensitivity_noise import Noise, fit_noise
from speechkit.slue.tasks import Task, get_task
from speechkit.text import NormalizerSpec

Kind = Literal["oracle", "system", "noise"]
LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)
TASKS_OF_TEXT = ("ner", "sentiment", "intent", "dialog-acts", "qa-text")
HEARD = ("pred_text", "hypothesis", "text")
Understand = Callable[[Mapping[str, str]], Mapping[str, Row]]
"""Recognised text by id to predictions as rows that the task's score reads."""


class Point(msgspec.Struct, frozen=True):
    """One text: its word error rate, the text model's score, and the score of a perfect understanding where known.

    ``above_curve`` is the score less that of the noise at the same rate, for systems.
    """

    name: str
    kind: Kind
    wer: Measure
    score: Measure
    perfect: Measure | None = None
    above_curve: Measure | None = None


class Sensitivity(msgspec.Struct, frozen=True):
    """All points, and the slope: points of the score that a point of word error rate costs, over oracle and noise."""

    task: str
    title: str
    measure: str
    points: list[Point]
    slope: Measure
    spearman: float | None
    utterances: int
    units: int
    resamples: int
    seed: int
    normalizer: NormalizerSpec
    fitted_on: str
    fitted_words: int
    fitted_wer: float
    entities: dict[str, EntityErrors]
    notes: list[str]
    format: int = 1


def sensitivity(
    task: str,
    rows: Sequence[Row],
    understand: Understand,
    *,
    systems: Mapping[str, Mapping[str, str]] | None = None,
    pairs: Mapping[str, tuple[str, str]] | None = None,
    fitted_on: str = "",
    levels: Sequence[float] = LEVELS,
    text_field: str | None = None,
    options: Options = Options(),
    normalizer: str = "simple",
    resampling: Resampling = Resampling(),
) -> Sensitivity:
    """The analysis.

    Args:
        task: one of `TASKS_OF_TEXT`.
        rows: references with text and labels.
        understand: the text model.
        systems: recognised text by id of each real recogniser.
        pairs: reference and recognised text to fit the noise on; those of the first system where absent.
        fitted_on: what the pairs are, for the report; the first system's name where absent.
        levels: word error rates of the noise, 0.2 is 20 %.
        text_field: where the reference text (of qa-text: the passage) stands.
        options: of the task's score.
        normalizer: of word errors and of the noise.
        resampling: how intervals are drawn.

    Raises:
        UserError: if the task reads no text, there is nothing to fit the noise on, or ids do not match.
    """
    chosen = get_task(task)
    if chosen.name not in TASKS_OF_TEXT:
        raise UserError(f"{task!r}: is no task that reads text; give one of {', '.join(TASKS_OF_TEXT)}")
    kept = [row for row in rows if chosen.skip(row) is None]
    if not kept:
        raise UserError("no row is left to score; the split is empty")
    names = (
        (text_field,) if text_field else ("context", "passage") if task == "qa-text" else ("normalized_text", "text")
    )
    texts = {row.id: text_of(row, names) for row in kept}
    given = dict(systems or {})
    for name, heard in given.items():
        missing = [i for i in texts if i not in heard]
        if missing:
            raise UserError(
                f"{name}: lacks {len(missing)} of {len(texts)} utterances ({', '.join(missing[:3])}); fix it"
            )
        given[name] = {i: heard[i] for i in texts}
    if pairs is None:
        if not given:
            raise UserError("there is nothing to fit the noise on; give a system, or pairs of reference and hypothesis")
        first = next(iter(given))
        pairs, fitted_on = {i: (texts[i], given[first][i]) for i in texts}, fitted_on or first
    noise = Noise(fit_noise(pairs, normalizer=normalizer), _vocabulary(texts.values()))
    study = _Study(chosen, kept, texts, understand, options, normalizer, resampling)
    measured = [study.measure("oracle text", "oracle", texts)]
    measured += [study.measure(name, "system", heard) for name, heard in given.items()]
    for level in sorted(levels):
        scale = noise.scale_for(list(texts.values()), level, resampling.seed)
        heard = {i: noise.corrupt(text, scale, item_seed(resampling.seed, i)) for i, text in texts.items()}
        measured.append(study.measure(f"noise {100 * level:g} %", "noise", heard))
    curve = [m for m in measured if m.point.kind != "system"]
    points = [_with_gap(m, curve, resampling, study.units) for m in measured]
    order = [(p.wer.value or 0.0, p.score.value or 0.0) for p in points]
    return Sensitivity(
        task=chosen.name,
        title=chosen.title,
        measure=study.measure_name,
        points=points,
        slope=_slope(curve, resampling, study.units),
        spearman=_spearman([w for w, _ in order], [s for _, s in order]),
        utterances=len(texts),
        units=study.units,
        resamples=resampling.resamples,
        seed=resampling.seed,
        normalizer=noise.model.normalizer,
        fitted_on=fitted_on,
        fitted_words=noise.model.words,
        fitted_wer=noise.model.wer,
        entities=study.entities,
        notes=_notes(points, noise),
    )


def read_heard(path: Path, text_field: str | None = None) -> dict[str, str]:
    """Recognised text by id of any file that scoring reads."""
    return {row.id: text_of(row, (text_field,) if text_field else HEARD) for row in read_rows(path)}


class _Measured(msgspec.Struct):
    point: Point
    wers: NDArray[np.float64]
    scores: NDArray[np.float64]


class _Study:
    """Scores texts of the same utterances over the same draws."""

    def __init__(
        self,
        task: Task,
        rows: Sequence[Row],
        texts: Mapping[str, str],
        understand: Understand,
        options: Options,
        normalizer: str,
        resampling: Resampling,
    ) -> None:
        self.task, self.texts, self.understand, self.options = task, texts, understand, options
        self.normalizer, self.resampling = normalizer, resampling
        self.ids = [row.id for row in rows]
        self.gold = [task.gold(row, options) for row in rows]
        self.entities: dict[str, EntityErrors] = {}
        self.measure_name, self.units = "", 0

    def measure(self, name: str, kind: Kind, heard: Mapping[str, str]) -> _Measured:
        found = self.understand(heard)
        predicted = [self.task.predicted(found[i], self.options) for i in self.ids]
        scored = self.task.score(self.gold, predicted, self.ids, self.options, self.resampling)
        errors = word_errors(self.texts, heard, normalizer=self.normalizer)
        table = np.array([(u.counts.errors, u.counts.reference_tokens) for u in errors.utterances], np.float64)
        if self.resampling.groups is not None:
            table = sum_by_group(table, self.resampling.groups)
        wers = np.zeros(0)
        interval = None
        if scored.draws:
            sums, self.units = resampled_sums(table, resamples=self.resampling.resamples, seed=self.resampling.seed)
            wers = sums[:, 0] / np.maximum(sums[:, 1], 1)
            interval = percentile_interval(wers, self.resampling.confidence, self.units)
        self.measure_name = scored.main
        if self.task.name == "ner":
            gold = dict(zip(self.ids, self.gold, strict=True))
            self.entities[name] = entity_errors(self.texts, heard, gold, dict(zip(self.ids, predicted, strict=True)))
        point = Point(name, kind, Measure(errors.rate, interval), scored.measures[scored.main], self._perfect(heard))
        return _Measured(point, wers, np.array(scored.draws))

    def _perfect(self, heard: Mapping[str, str]) -> Measure | None:
        if self.task.name == "ner":
            gold = dict(zip(self.ids, self.gold, strict=True))
            perfect = entities_heard(self.texts, heard, gold)
            # What was misheard cannot be scored as found: the best is to mark what was recognised as it was said.
            best: list[Any] = [list((Counter(gold[i]) & Counter(perfect[i])).elements()) for i in self.ids]
        elif self.task.name == "qa-text":
            best = [best_span(heard[i], answers) for i, answers in zip(self.ids, self.gold, strict=True)]
        else:
            return None
        scored = self.task.score(self.gold, best, self.ids, self.options, self.resampling)
        return scored.measures[scored.main]


def best_span(passage: str, answers: Sequence[str], most: int = 30) -> str:
    """The stretch of up to ``most`` words with the highest word F1 against any answer; "" where none has any."""
    words = passage.split()
    plain = [" ".join(answer_words(word)) for word in words]
    best, shown = 0.0, ""
    for answer in answers:
        wanted = Counter(answer_words(answer))
        total = wanted.total()
        for begin, first in enumerate(plain):
            if first not in wanted:
                continue
            left, both, length = dict(wanted), 0, 0
            for end in range(begin, min(len(words), begin + most)):
                if not plain[end]:
                    continue
                length += 1
                if left.get(plain[end], 0):
                    left[plain[end]] -= 1
                    both += 1
                    value = 2 * both / (length + total)
                    if value > best:
                        best, shown = value, " ".join(words[begin : end + 1])
    return shown


def _vocabulary(texts: Any) -> dict[str, int]:
    return Counter(word for text in texts for word in text.lower().split() if word.isalpha())


def _lines(curve: Sequence[_Measured]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Word error rates and scores (points, draws), in the order of the rates."""
    ordered = sorted(curve, key=lambda m: m.point.wer.value or 0.0)
    return np.stack([m.wers for m in ordered]), np.stack([m.scores for m in ordered])


def _slope(curve: Sequence[_Measured], resampling: Resampling, units: int) -> Measure:
    """Least squares over the points; as often again over the draws."""
    x = np.array([m.point.wer.value or 0.0 for m in curve])
    y = np.array([m.point.score.value or 0.0 for m in curve])
    value = float(_least_squares(x[:, None], y[:, None])[0])
    if not all(len(m.scores) for m in curve):
        return Measure(value)
    wers, scores = _lines(curve)
    draws = _least_squares(wers, scores)
    return Measure(value, percentile_interval(draws[np.isfinite(draws)], resampling.confidence, units))


def _least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    x = x - x.mean(axis=0)
    below = (x * x).sum(axis=0)
    slope: NDArray[np.float64] = (x * (y - y.mean(axis=0))).sum(axis=0) / np.where(below > 0, below, np.nan)
    return slope


def _with_gap(m: _Measured, curve: Sequence[_Measured], resampling: Resampling, units: int) -> Point:
    if m.point.kind != "system":
        return m.point
    ordered = sorted(curve, key=lambda c: c.point.wer.value or 0.0)
    x = np.array([c.point.wer.value or 0.0 for c in ordered])
    y = np.array([c.point.score.value or 0.0 for c in ordered])
    gap = (m.point.score.value or 0.0) - float(np.interp(m.point.wer.value or 0.0, x, y))
    interval = None
    if len(m.scores):
        wers, scores = _lines(curve)
        at = [float(np.interp(m.wers[d], wers[:, d], scores[:, d])) for d in range(len(m.scores))]
        interval = percentile_interval(m.scores - np.array(at), resampling.confidence, units)
    return msgspec.structs.replace(m.point, above_curve=Measure(gap, interval))


def _spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Rank correlation, ties by their mean rank; None where one side is all the same."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (x, y)]
    if min(float(rank.std()) for rank in ranks) == 0:
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _notes(points: Sequence[Point], noise: Noise) -> list[str]:
    highest = max((p.wer.value or 0.0 for p in points if p.kind == "noise"), default=0.0)
    notes = [
        f"{p.name} lies beyond the curve; add a level of noise above its rate"
        for p in points
        if p.kind == "system" and (p.wer.value or 0.0) > highest
    ]
    if noise.model.words < 2000:
        notes.append(f"the noise was fitted on {noise.model.words:,} words; under 2,000 its confusions are few")
    return notes
