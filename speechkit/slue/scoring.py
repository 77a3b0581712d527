"""Scores of systems on a task: references and predictions matched by id, with intervals and paired differences."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval
from speechkit.metrics.sides import Missing, match_sides, name_systems
from speechkit.metrics.significance import drawn_difference, holm
from speechkit.metrics.transcript_records import Transcript
from speechkit.slue.entity_errors import EntityErrors, entity_errors
from speechkit.slue.fields import Options
from speechkit.slue.fields.entities import GOLD_ENTITIES, HYPOTHESES, PREDICTED_ENTITIES, TEXTS, recognised_text
from speechkit.slue.fields.localised import read_localisation_rows
from speechkit.slue.metrics.entity_text import combine_entities
from speechkit.slue.metrics.measures import Mode, Resampling, TaskScore
from speechkit.slue.rows import Row, read_rows
from speechkit.slue.tasks import Task, check_options, get_task

Unit = Literal["utterance", "speaker", "call"]
SHOWN_CHARACTERS = 600


class ScoredSystem(msgspec.Struct, frozen=True):
    """A system's name and score."""

    name: str
    score: TaskScore


class PairScore(msgspec.Struct, frozen=True):
    """Paired difference in the main measure, first minus second: interval, two-sided p, and Holm-adjusted p."""

    first: str
    second: str
    difference: float
    interval: Interval
    p_value: float
    holm_p: float


class WorstUtterance(msgspec.Struct, frozen=True):
    """Reference and predictions of one utterance, as text."""

    id: str
    text: str | None
    gold: str
    predicted: dict[str, str]
    values: dict[str, float]


class SlueComparison(msgspec.Struct, frozen=True):
    """Scores of all systems on one task, with the settings used."""

    task: str
    title: str
    mode: Mode
    main: str
    utterances: int
    by: Unit
    units: int
    confidence: float
    resamples: int
    seed: int
    systems: list[ScoredSystem]
    pairs: list[PairScore]
    worst: list[WorstUtterance]
    warnings: list[str]
    notes: list[str]
    entities: dict[str, EntityErrors] = {}
    format: int = 1


def score_files(
    task: str,
    reference: Path,
    hypotheses: Sequence[str],
    *,
    options: Options = Options(),
    missing: Missing = "error",
    by: Unit = "utterance",
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    worst: int = 25,
) -> SlueComparison:
    """Score each of ``hypotheses`` (``PATH`` or ``NAME=PATH``) against ``reference``.

    ``missing`` is the treatment of missing predictions: "error" raises, "empty" scores an empty prediction, "drop"
    excludes the id for every system, with the count in the notes.

    Raises:
        UserError: for unreadable files, ids that do not match, and invalid values.
    """
    chosen, options = get_task(task), check_options(options)
    if options.bert_score is not None and chosen.name != "summarisation":
        raise UserError(f"{task}: BERTScore applies to summarisation only; remove it")
    if resamples < 0:
        raise UserError(f"resamples is {resamples}; give 0 (no intervals) or more")
    references = _read(chosen, reference)
    skipped = {row.id: reason for row in references if (reason := chosen.skip(row)) is not None}
    kept = {row.id: row for row in references if row.id not in skipped}
    if not kept:
        raise UserError(f"{reference}: no rows to score; the split is empty")
    predictions = {
        name: {row.id: row for row in _read(chosen, path)} for name, path in name_systems(hypotheses).items()
    }
    sides = match_sides(
        [Transcript(name) for name in kept],
        {name: [Transcript(i) for i in rows if i not in skipped] for name, rows in predictions.items()},
        missing=missing,
        notes=[
            f"{count:,} references are not part of the task and were left out ({reason})"
            for reason, count in sorted(Counter(skipped.values()).items())
        ],
    )
    ids = [t.id for t in sides.references]
    scored = [kept[i] for i in ids]
    gold = [chosen.gold(row, options) for row in scored]
    resampling = Resampling(resamples, seed, confidence, _groups(scored, by))
    predicted = {
        name: [chosen.predicted(rows[i], options) if i in rows else chosen.empty(options) for i in ids]
        for name, rows in predictions.items()
    }
    systems = [
        ScoredSystem(name, chosen.score(gold, values, ids, options, resampling)) for name, values in predicted.items()
    ]
    first = systems[0].score
    return SlueComparison(
        task=chosen.name,
        title=chosen.title,
        mode=first.mode,
        main=first.main,
        utterances=len(ids),
        by=by,
        units=first.units,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        systems=[ScoredSystem(s.name, msgspec.structs.replace(s.score, draws=[])) for s in systems],
        pairs=_pairs(systems, confidence),
        worst=_worst(chosen, scored, gold, predicted, systems, worst),
        warnings=list(dict.fromkeys(f"{s.name}: {w}" for s in systems for w in s.score.warnings)),
        notes=sides.notes,
        entities=_entities(scored, gold, predictions, predicted, options) if chosen.name == "ner" else {},
    )


def _entities(
    references: Sequence[Row],
    gold: Sequence[Any],
    predictions: dict[str, dict[str, Row]],
    predicted: dict[str, list[Any]],
    options: Options,
) -> dict[str, EntityErrors]:
    """Entity error analyses of the systems whose predictions include the recognised text of every utterance."""
    texts = _texts(references, TEXTS, GOLD_ENTITIES, options)
    if texts is None:
        return {}
    tidy = combine_entities if options.tags == "combined" else list

    def by_id(values: Sequence[Any]) -> dict[str, list[Any]]:
        return {i: tidy(entities) for i, entities in zip(texts, values, strict=True)}

    errors = {}
    for name, rows in predictions.items():
        recognised = _texts([rows[i] for i in texts if i in rows], HYPOTHESES, PREDICTED_ENTITIES, options)
        if recognised is not None:
            recognised = {i: recognised.get(i, "") for i in texts}
            errors[name] = entity_errors(texts, recognised, by_id(gold), by_id(predicted[name]))
    return errors


def _texts(
    rows: Sequence[Row], names: Sequence[str], entities: Sequence[str], options: Options
) -> dict[str, str] | None:
    """Text of every row by id; None if a row has no text."""
    texts = {row.id: recognised_text(row, names, entities, options) for row in rows}
    known = {name: text for name, text in texts.items() if text is not None}
    return known if len(known) == len(texts) else None


def _read(task: Task, path: Path) -> list[Row]:
    return read_localisation_rows(path) if task.name == "localisation" and path.suffix == ".json" else read_rows(path)


def _groups(rows: Sequence[Row], by: Unit) -> tuple[str, ...] | None:
    if by == "utterance":
        return None
    names = [row.speaker if by == "speaker" else row.call for row in rows]
    if None in names:
        row = rows[names.index(None)]
        raise UserError(f"{row.location}: {row.id} has no {by}; add it to every reference, or resample utterances")
    return tuple(str(name) for name in names)


def _pairs(systems: Sequence[ScoredSystem], confidence: float) -> list[PairScore]:
    names, differences = [], []
    for one, two in itertools.combinations(systems, 2):
        if one.score.draws and len(one.score.draws) == len(two.score.draws):
            drawn = np.array(one.score.draws) - np.array(two.score.draws)
            observed = (one.score.value or 0.0) - (two.score.value or 0.0)
            names.append((one.name, two.name))
            differences.append(drawn_difference(observed, drawn, confidence, one.score.units))
    adjusted = holm([result.p_value for result in differences])
    return [
        PairScore(*pair, result.difference, result.interval, result.p_value, p)
        for pair, result, p in zip(names, differences, adjusted, strict=True)
    ]


def _worst(
    task: Task,
    rows: Sequence[Row],
    truth: Sequence[Any],
    guesses: dict[str, list[Any]],
    systems: Sequence[ScoredSystem],
    count: int,
) -> list[WorstUtterance]:
    """The utterances with the lowest scores of the first system; ties in the order of the file."""
    values = {system.name: system.score.utterances for system in systems}
    first = systems[0].name
    order = sorted(range(len(rows)), key=lambda i: (values[first][rows[i].id], i))
    return [
        WorstUtterance(
            rows[i].id,
            _cut(rows[i].first(("normalized_text", "text", "raw_text", "transcript"))),
            _cut(task.shown(truth[i])) or "",
            {name: _cut(task.shown(predicted[i])) or "" for name, predicted in guesses.items()},
            {name: scores[rows[i].id] for name, scores in values.items()},
        )
        for i in order[:count]
        if any(scores[rows[i].id] < 1 for scores in values.values())
    ]


def _cut(text: Any) -> str | None:
    if not isinstance(text, str):
        return None
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
