"""Answers as stretches of time or as text, and summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speechkit.errors import UserError
from speechkit.slue.fields import Options, lacking
from speechkit.slue.metrics.answers import Answer, Interval
from speechkit.slue.rows import Row, literal

GOLD_SPANS = ("answer_spans", "spans")
PREDICTED_SPAN = ("pred_span", "pred_answer", "prediction")


def gold_answer(row: Row, options: Options) -> Answer:
    """The spans that a row takes for right, in seconds."""
    value = literal(row.first(GOLD_SPANS), row.place, "answer_spans")
    if isinstance(value, Mapping):  # Hugging Face's columns of one answer each
        value = list(zip(value.get("start_second", ()), value.get("end_second", ()), strict=False))
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = [(each.get("start_second"), each.get("end_second")) for each in value]
    if not isinstance(value, list) or not value:
        raise lacking(row, GOLD_SPANS, "answer span")
    return Answer(tuple(stretch(row, pair) for pair in value))


def predicted_answer(row: Row, options: Options) -> Interval | None:
    """The span that was predicted; None where the system found no answer."""
    if row.has(("pred_start", "pred_end")):
        pair = (row.fields.get("pred_start"), row.fields.get("pred_end"))
        return None if pair[0] in (None, *("", "None")) else stretch(row, pair)
    if not row.has(PREDICTED_SPAN):
        raise lacking(row, ("pred_span", "pred_start and pred_end"), "predicted span")
    value = literal(row.first(PREDICTED_SPAN), row.place, "pred_span")
    return None if value is None or value == [] else stretch(row, value)


def stretch(row: Row, pair: Any) -> Interval:
    """Begin and end of a pair, in seconds.

    Raises:
        UserError: if it is none.
    """
    try:
        begin, end = (float(each) for each in tuple(pair)[:2])
    except (TypeError, ValueError) as error:
        raise UserError(f"{row.place}: {row.id}: {pair!r} is no span; give begin and end in seconds") from error
    if not (abs(begin) < 1e9 and abs(end) < 1e9):
        raise UserError(f"{row.place}: {row.id}: {pair!r} is no span of seconds; fix it")
    return begin, end


GOLD_TEXTS = ("answers", "answer_texts", "answer_text")


def gold_texts(row: Row, options: Options) -> list[str]:
    """The texts that a row takes for right."""
    value = row.first(GOLD_TEXTS)
    if isinstance(value, str) and value.strip().startswith(("[", "{")):
        value = literal(value, row.place, "answers")
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, str):
        value = [value]
    texts = [each.get("text") if isinstance(each, Mapping) else each for each in value or []]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise lacking(row, GOLD_TEXTS, "answer text")
    return list(dict.fromkeys(str(text) for text in texts))


def predicted_text(row: Row, options: Options) -> str:
    """The text that was predicted, empty where there is none."""
    names = ("pred_answer_text", "prediction", "pred_answer")
    if not row.has(names):
        raise lacking(row, names, "predicted answer text")
    return str(row.first(names) or "")


def answer_shown(value: Any) -> str:
    """Spans for people."""
    spans = value.spans if isinstance(value, Answer) else () if value is None else (value,)
    return ", ".join(f"{begin:.2f}-{end:.2f} s" for begin, end in spans) or "(none)"


SEPARATOR = "[sep]"


def gold_summary(row: Row, options: Options) -> str:
    """The summary of a row: its title and abstract, or one text."""
    if row.has(("title", "abstract")):
        parts = [str(row.fields.get(name) or "") for name in ("title", "abstract")]
        return f" {SEPARATOR} ".join(parts) if options.compat else " ".join(parts)
    return summary_of(row, ("summary", "text"), options)


def summary_of(row: Row, names: Sequence[str], options: Options) -> str:
    """The first of the named fields that holds a summary."""
    value = row.first(names)
    if not isinstance(value, str):
        raise lacking(row, names[:2], "summary")
    return value if options.compat else value.replace(SEPARATOR, " ")
