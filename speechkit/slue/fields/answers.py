"""Answers as time spans or as text, and summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speechkit.errors import UserError
from speechkit.slue.fields import Options, missing_field
from speechkit.slue.metrics.answers import Answer, Interval
from speechkit.slue.rows import Row, literal

GOLD_SPANS = ("answer_spans", "spans")
PREDICTED_SPAN = ("pred_span", "pred_answer", "prediction")


def gold_answer(row: Row, options: Options) -> Answer:
    """The gold answer spans of a row, in seconds."""
    value = literal(row.first(GOLD_SPANS), row.location, "answer_spans")
    if isinstance(value, Mapping):  # columns of a Hugging Face dataset
        value = list(zip(value.get("start_second", ()), value.get("end_second", ()), strict=False))
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = [(span.get("start_second"), span.get("end_second")) for span in value]
    if not isinstance(value, list) or not value:
        raise missing_field(row, GOLD_SPANS, "answer span")
    return Answer(tuple(time_span(row, pair) for pair in value))


def predicted_answer(row: Row, options: Options) -> Interval | None:
    """The predicted span; None if the system gave no answer."""
    if row.has(("pred_start", "pred_end")):
        pair = (row.fields.get("pred_start"), row.fields.get("pred_end"))
        return None if pair[0] in (None, "", "None") else time_span(row, pair)
    if not row.has(PREDICTED_SPAN):
        raise missing_field(row, ("pred_span", "pred_start and pred_end"), "predicted span")
    value = literal(row.first(PREDICTED_SPAN), row.location, "pred_span")
    return None if value is None or value == [] else time_span(row, value)


def time_span(row: Row, pair: Any) -> Interval:
    """Begin and end of a span, in seconds.

    Raises:
        UserError: if ``pair`` is not a pair of finite numbers.
    """
    try:
        begin, end = (float(seconds) for seconds in tuple(pair)[:2])
    except (TypeError, ValueError) as error:
        raise UserError(f"{row.location}: {row.id}: {pair!r} is not a span; give begin and end in seconds") from error
    if not (abs(begin) < 1e9 and abs(end) < 1e9):
        raise UserError(f"{row.location}: {row.id}: {pair!r} is not a span in seconds; fix it")
    return begin, end


GOLD_TEXTS = ("answers", "answer_texts", "answer_text")


def gold_texts(row: Row, options: Options) -> list[str]:
    """The gold answer texts of a row."""
    value = row.first(GOLD_TEXTS)
    if isinstance(value, str) and value.strip().startswith(("[", "{")):
        value = literal(value, row.location, "answers")
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, str):
        value = [value]
    texts = [answer.get("text") if isinstance(answer, Mapping) else answer for answer in value or []]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise missing_field(row, GOLD_TEXTS, "answer text")
    return list(dict.fromkeys(str(text) for text in texts))


def predicted_text(row: Row, options: Options) -> str:
    """The predicted text, empty if there is none."""
    names = ("pred_answer_text", "prediction", "pred_answer")
    if not row.has(names):
        raise missing_field(row, names, "predicted answer text")
    return str(row.first(names) or "")


def answer_shown(value: Any) -> str:
    """Human-readable spans."""
    spans = value.spans if isinstance(value, Answer) else () if value is None else (value,)
    return ", ".join(f"{begin:.2f}-{end:.2f} s" for begin, end in spans) or "(none)"


SEPARATOR = "[sep]"


def gold_summary(row: Row, options: Options) -> str:
    """The reference summary of a row: its title and abstract, or one text."""
    if row.has(("title", "abstract")):
        parts = [str(row.fields.get(name) or "") for name in ("title", "abstract")]
        return f" {SEPARATOR} ".join(parts) if options.compat else " ".join(parts)
    return summary_of(row, ("summary", "text"), options)


def summary_of(row: Row, names: Sequence[str], options: Options) -> str:
    """The summary in the first of the named fields that is set."""
    value = row.first(names)
    if not isinstance(value, str):
        raise missing_field(row, names[:2], "summary")
    return value if options.compat else value.replace(SEPARATOR, " ")
