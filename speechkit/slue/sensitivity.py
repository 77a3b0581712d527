"""Sensitivity of a task's score to the word error rate: real recognisers, simulated errors, and two upper bounds.

A text model is applied to the reference text (the oracle recogniser), to the output of real recognisers, and to the
reference text with the errors of `speechkit.slue.sensitivity_noise` at several rates. Word errors and scores are
resampled together, so the slope and the gap between a real recogniser and the curve have intervals too. The second
upper bound is perfect understanding of the recognised text: the loss due to recognition alone.

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
from speechkit.slue.entity_errors import EntityErrors, entity_errors, recognised_entities
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
HYPOTHESES = ("pred_text", "hypothesis", "text")
TextPredictor = Callable[[Mapping[str, str]], Mapping[str, Row]]
"""A function from recognised text by id to prediction rows by id."""


class SensitivityPoint(msgspec.Struct, frozen=True):
    """Word error rate and score on one version of the text, and the score of perfect understanding if known.

    ``above_curve``, for systems, is the score minus that of simulated errors at the same rate.
    """

    name: str
    kind: Kind
    wer: Measure
    score: Measure
    perfect: Measure | None = None
    above_curve: Measure | None = None


class Sensitivity(msgspec.Struct, frozen=True):
    """All points, and the slope of the score over the word error rate, fitted to oracle and simulated errors."""

    task: str
    title: str
    measure: str
    points: list[SensitivityPoint]
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
    predict: TextPredictor,
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
    """Run the sensitivity analysis.

    Args:
        task: one of `TASKS_OF_TEXT`.
        rows: references with text and labels.
        predict: the text model.
        systems: recognised text by id of each real recogniser.
        pairs: reference and recognised text to fit the error model on; default: those of the first system.
        fitted_on: description of the pairs for the report; default: the first system's name.
        levels: word error rates to simulate, as fractions.
        text_field: field of the reference text (of qa-text: the passage).
        options: of the task's score.
        normalizer: for word errors and the error model.
        resampling: bootstrap settings of the intervals.

    Raises:
        UserError: if the task does not use text, there are no pairs to fit the error model on, or ids do not match.
    """
    chosen = get_task(task)
    if chosen.name not in TASKS_OF_TEXT:
        raise UserError(f"{task!r} is not a text task; use one of {', '.join(TASKS_OF_TEXT)}")
    kept = [row for row in rows if chosen.skip(row) is None]
    if not kept:
        raise UserError("no rows to score; the split is empty")
    names = (
        (text_field,) if text_field else ("context", "passage") if task == "qa-text" else ("normalized_text", "text")
    )
    texts = {row.id: text_of(row, names) for row in kept}
    given = dict(systems or {})
    for name, recognised in given.items():
        missing = [i for i in texts if i not in recognised]
        if missing:
            raise UserError(
                f"{name}: {len(missing)} of {len(texts)} utterances are missing ({', '.join(missing[:3])}); add them"
            )
        given[name] = {i: recognised[i] for i in texts}
    if pairs is None:
        if not given:
            raise UserError("no data to fit the error model on; give a system, or pairs of reference and hypothesis")
        first = next(iter(given))
        pairs, fitted_on = {i: (texts[i], given[first][i]) for i in texts}, fitted_on or first
    noise = Noise(fit_noise(pairs, normalizer=normalizer), _vocabulary(texts.values()))
    study = _Study(chosen, kept, texts, predict, options, normalizer, resampling)
    measured = [study.measure("oracle text", "oracle", texts)]
    measured += [study.measure(name, "system", recognised) for name, recognised in given.items()]
    for level in sorted(levels):
        scale = noise.scale_for(list(texts.values()), level, resampling.seed)
        corrupted = {i: noise.corrupt(text, scale, item_seed(resampling.seed, i)) for i, text in texts.items()}
        measured.append(study.measure(f"noise {100 * level:g} %", "noise", corrupted))
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


def read_recognised(path: Path, text_field: str | None = None) -> dict[str, str]:
    """Recognised text by id, from any file format that scoring supports."""
    return {row.id: text_of(row, (text_field,) if text_field else HYPOTHESES) for row in read_rows(path)}


class _Measured(msgspec.Struct):
    point: SensitivityPoint
    wers: NDArray[np.float64]
    scores: NDArray[np.float64]


class _Study:
    """Scores versions of the same utterances' text on the same bootstrap draws."""

    def __init__(
        self,
        task: Task,
        rows: Sequence[Row],
        texts: Mapping[str, str],
        predict: TextPredictor,
        options: Options,
        normalizer: str,
        resampling: Resampling,
    ) -> None:
        self.task, self.texts, self.predict, self.options = task, texts, predict, options
        self.normalizer, self.resampling = normalizer, resampling
        self.ids = [row.id for row in rows]
        self.gold = [task.gold(row, options) for row in rows]
        self.entities: dict[str, EntityErrors] = {}
        self.measure_name, self.units = "", 0

    def measure(self, name: str, kind: Kind, recognised: Mapping[str, str]) -> _Measured:
        rows = self.predict(recognised)
        predicted = [self.task.predicted(rows[i], self.options) for i in self.ids]
        scored = self.task.score(self.gold, predicted, self.ids, self.options, self.resampling)
        errors = word_errors(self.texts, recognised, normalizer=self.normalizer)
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
            predictions = dict(zip(self.ids, predicted, strict=True))
            self.entities[name] = entity_errors(self.texts, recognised, gold, predictions)
        point = SensitivityPoint(
            name, kind, Measure(errors.rate, interval), scored.measures[scored.main], self._perfect(recognised)
        )
        return _Measured(point, wers, np.array(scored.draws))

    def _perfect(self, recognised: Mapping[str, str]) -> Measure | None:
        """Score of perfect understanding of the recognised text; None for tasks where it is not defined."""
        if self.task.name == "ner":
            gold = dict(zip(self.ids, self.gold, strict=True))
            perfect = recognised_entities(self.texts, recognised, gold)
            # Misrecognised entities cannot be correct: the best prediction is the correctly recognised ones.
            best: list[Any] = [list((Counter(gold[i]) & Counter(perfect[i])).elements()) for i in self.ids]
        elif self.task.name == "qa-text":
            best = [best_answer(recognised[i], answers) for i, answers in zip(self.ids, self.gold, strict=True)]
        else:
            return None
        scored = self.task.score(self.gold, best, self.ids, self.options, self.resampling)
        return scored.measures[scored.main]


def best_answer(passage: str, answers: Sequence[str], max_words: int = 30) -> str:
    """The span of up to ``max_words`` words with the highest word F1 against any answer; "" if all have F1 0."""
    words = passage.split()
    plain = [" ".join(answer_words(word)) for word in words]
    best, best_text = 0.0, ""
    for answer in answers:
        answer_counts = Counter(answer_words(answer))
        total = answer_counts.total()
        for begin, first in enumerate(plain):
            if first not in answer_counts:
                continue
            remaining, matches, length = dict(answer_counts), 0, 0
            for end in range(begin, min(len(words), begin + max_words)):
                if not plain[end]:
                    continue
                length += 1
                if remaining.get(plain[end], 0):
                    remaining[plain[end]] -= 1
                    matches += 1
                    f1 = 2 * matches / (length + total)
                    if f1 > best:
                        best, best_text = f1, " ".join(words[begin : end + 1])
    return best_text


def _vocabulary(texts: Any) -> dict[str, int]:
    return Counter(word for text in texts for word in text.lower().split() if word.isalpha())


def _lines(curve: Sequence[_Measured]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Word error rates and scores (points, draws), sorted by word error rate."""
    ordered = sorted(curve, key=lambda m: m.point.wer.value or 0.0)
    return np.stack([m.wers for m in ordered]), np.stack([m.scores for m in ordered])


def _slope(curve: Sequence[_Measured], resampling: Resampling, units: int) -> Measure:
    """Least-squares slope over the points, with an interval over the draws."""
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


def _with_gap(m: _Measured, curve: Sequence[_Measured], resampling: Resampling, units: int) -> SensitivityPoint:
    if m.point.kind != "system":
        return m.point
    ordered = sorted(curve, key=lambda c: c.point.wer.value or 0.0)
    x = np.array([c.point.wer.value or 0.0 for c in ordered])
    y = np.array([c.point.score.value or 0.0 for c in ordered])
    gap = (m.point.score.value or 0.0) - float(np.interp(m.point.wer.value or 0.0, x, y))
    interval = None
    if len(m.scores):
        wers, scores = _lines(curve)
        expected = [float(np.interp(m.wers[d], wers[:, d], scores[:, d])) for d in range(len(m.scores))]
        interval = percentile_interval(m.scores - np.array(expected), resampling.confidence, units)
    return msgspec.structs.replace(m.point, above_curve=Measure(gap, interval))


def _spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Rank correlation with mean ranks for ties; None if one side is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (x, y)]
    if min(float(rank.std()) for rank in ranks) == 0:
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _notes(points: Sequence[SensitivityPoint], noise: Noise) -> list[str]:
    highest = max((p.wer.value or 0.0 for p in points if p.kind == "noise"), default=0.0)
    notes = [
        f"{p.name} is beyond the curve; add a noise level above its word error rate"
        for p in points
        if p.kind == "system" and (p.wer.value or 0.0) > highest
    ]
    if noise.model.words < 2000:
        notes.append(
            f"the error model was fitted on {noise.model.words:,} words; with fewer than 2,000 it has few confusions"
        )
    return notes
