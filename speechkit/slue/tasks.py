"""The SLUE tasks: readers of reference and prediction fields, and the score of each task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from speechkit.errors import UserError
from speechkit.slue.fields import Options
from speechkit.slue.fields.answers import (
    answer_shown,
    gold_answer,
    gold_summary,
    gold_texts,
    predicted_answer,
    predicted_text,
    summary_of,
)
from speechkit.slue.fields.entities import entities_shown, gold_entities, predicted_entities
from speechkit.slue.fields.labels import (
    GOLD_SENTIMENT,
    NO_LABEL,
    command_reader,
    label_reader,
    label_set_reader,
    score_intents,
    score_sentiment,
    sentiment_disagreement,
)
from speechkit.slue.fields.localised import gold_localised, localised_shown, predicted_localised, score_localised
from speechkit.slue.metrics.answers import score_answer_texts, score_answers
from speechkit.slue.metrics.classification import DIALOG_ACTS, SENTIMENTS, score_label_sets
from speechkit.slue.metrics.entities import score_entities
from speechkit.slue.metrics.entity_tags import SYMBOLS
from speechkit.slue.metrics.measures import Resampling, TaskScore
from speechkit.slue.metrics.slots import Command, score_commands
from speechkit.slue.metrics.summaries import score_summaries
from speechkit.slue.rows import Row


@dataclass(frozen=True)
class Task:
    """A task.

    ``gold`` and ``predicted`` read one row, ``empty`` is the value of a missing prediction, ``score`` scores all rows,
    ``shown`` formats a value for display. ``skip`` gives the reason to exclude a reference, None to include it.
    """

    name: str
    title: str
    gold: Callable[[Row, Options], Any]
    predicted: Callable[[Row, Options], Any]
    empty: Callable[[Options], Any]
    score: Callable[[Sequence[Any], Sequence[Any], Sequence[str], Options, Resampling], TaskScore]
    shown: Callable[[Any], str]
    skip: Callable[[Row], str | None] = lambda row: None


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "ner",
            "Named entities (slue-voxpopuli)",
            gold_entities,
            predicted_entities,
            lambda options: [],
            lambda gold, predicted, ids, options, r: score_entities(
                gold,
                predicted,
                ids=ids,
                tags="combined" if options.tags == "combined" else "raw",
                compat=options.compat,
                resampling=r,
            ),
            entities_shown,
        ),
        Task(
            "sentiment",
            "Sentiment (slue-voxceleb)",
            label_reader(GOLD_SENTIMENT, SENTIMENTS),
            label_reader(("pred_sentiment", "prediction", "sentiment", "label"), SENTIMENTS),
            lambda options: NO_LABEL,
            score_sentiment,
            str,
            sentiment_disagreement,
        ),
        Task(
            "dialog-acts",
            "Dialog acts (slue-hvb)",
            label_set_reader(("dialog_acts", "labels")),
            label_set_reader(("pred_dialog_acts", "prediction", "dialog_acts", "labels")),
            lambda options: [],
            lambda gold, predicted, ids, options, r: score_label_sets(
                gold, predicted, options.labels or DIALOG_ACTS, ids=ids, compat=options.compat, resampling=r
            ),
            lambda value: ", ".join(value) or "(none)",
        ),
        Task(
            "qa",
            "Question answering (slue-sqa-5)",
            gold_answer,
            predicted_answer,
            lambda options: None,
            lambda gold, predicted, ids, options, r: score_answers(
                gold, predicted, ids=ids, compat=options.compat, resampling=r
            ),
            answer_shown,
        ),
        Task(
            "qa-text",
            "Answers as text (Spoken-SQuAD)",
            gold_texts,
            predicted_text,
            lambda options: "",
            lambda gold, predicted, ids, options, r: score_answer_texts(
                gold, predicted, ids=ids, compat=options.compat, resampling=r
            ),
            lambda value: value if isinstance(value, str) else " / ".join(value),
        ),
        Task(
            "summarisation",
            "Summarisation (slue-ted)",
            gold_summary,
            lambda row, options: summary_of(
                row, ("pred_summary", "prediction", "summary", "pred_text", "text"), options
            ),
            lambda options: "",
            lambda gold, predicted, ids, options, r: score_summaries(
                gold, predicted, ids=ids, compat=options.compat, bert_score=options.bert_score, resampling=r
            ),
            str,
        ),
        Task(
            "localisation",
            "Named entity localisation (slue-vp_nel)",
            gold_localised,
            predicted_localised,
            lambda options: [],
            score_localised,
            localised_shown,
        ),
        Task(
            "intent",
            "Intents, any labels",
            label_reader(("intent", "label"), ()),
            label_reader(("pred_intent", "prediction", "intent", "label"), ()),
            lambda options: NO_LABEL,
            score_intents,
            str,
        ),
        Task(
            "slots",
            "Commands: intent and slots",
            command_reader(("intent",), ("slots",)),
            command_reader(("pred_intent", "intent"), ("pred_slots", "slots")),
            lambda options: Command(None, {}),
            lambda gold, predicted, ids, options, r: score_commands(gold, predicted, ids=ids, resampling=r),
            lambda command: ", ".join(f"{name}: {value}" for name, value in sorted(command.slots.items())) or "(none)",
        ),
    )
}
"""By name."""


def get_task(name: str) -> Task:
    """The task with this name.

    Raises:
        UserError: listing the tasks, if there is no task with this name.
    """
    task = TASKS.get(name.replace("_", "-"))
    if task is None:
        raise UserError(f"{name!r} is not a task; use one of {', '.join(TASKS)}")
    return task


def check_options(options: Options) -> Options:
    """The options, with ``tags`` and ``symbols`` validated."""
    if options.tags not in (*SYMBOLS, "any"):
        raise UserError(f"{options.tags!r} is not a tag set; use raw, combined or any")
    if options.symbols not in SYMBOLS:
        raise UserError(f"{options.symbols!r} is not a symbol set; use raw or combined")
    return options
