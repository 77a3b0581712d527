"""Rows of text with their labels as examples of the text tasks: tagged words, labelled texts, asked passages, talks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError
from speechkit.slue.fields import Options, lacking
from speechkit.slue.fields.entities import GOLD_ENTITIES, TEXT_OF, TEXTS
from speechkit.slue.metrics.entity_text import TaggedWord, split_clitics, tag_words
from speechkit.slue.rows import Row, literal, read_rows, text_of
from speechkit.slue.tasks import get_task

TEXT_TASKS = ("ner", "sentiment", "intent", "dialog-acts", "qa-text", "summarisation")
QUESTIONS = ("question", "text")
PASSAGES = ("context", "passage", "document")
TALKS = ("transcript", *TEXTS)


class TextExample(msgspec.Struct, frozen=True):
    """One row: ``words`` for tagging, ``text`` (a question for reading) with ``labels``, or a passage with its answer.

    ``answer`` is the first character and the end of the answer in ``passage``, None where the passage does not hold it.
    A talk is a ``text`` with its summary as ``gold``.
    ``gold`` is what the task's score takes.
    """

    id: str
    text: str
    gold: Any
    words: list[TaggedWord] = []
    labels: list[str] = []
    passage: str = ""
    answer: tuple[int, int] | None = None


def read_examples(task: str, path: Path, *, text_field: str | None = None) -> list[TextExample]:
    """Examples of a file in any form that scoring reads; references that are no part of the task are left out.

    Args:
        task: one of `TEXT_TASKS`.
        path: rows with text and labels; audio is not looked at.
        text_field: the field to take the text (of qa-text: the passage) from, instead of the usual ones.

    Raises:
        UserError: naming the row that lacks a text or label, or whose entities do not lie in its text.
    """
    if task not in TEXT_TASKS:
        raise UserError(
            f"{task!r}: is no task of text models that are trained here; give one of {', '.join(TEXT_TASKS)}"
        )
    options = Options(tags="any")
    chosen = get_task(task)
    found = []
    for row in read_rows(path):
        if chosen.skip(row) is not None:
            continue
        gold = chosen.gold(row, options)
        if task == "qa-text":
            found.append(_question(row, gold, text_field))
        elif task == "ner":
            words = _tagged(row, text_field)
            found.append(TextExample(row.id, " ".join(word for word, _ in words), gold, words=words))
        elif task == "summarisation":
            if not row.has(("summary", "title", "abstract")):
                raise lacking(row, ("title", "abstract", "summary"), "summary")
            found.append(TextExample(row.id, text_of(row, (text_field,) if text_field else TALKS), gold))
        else:
            labels = [gold] if isinstance(gold, str) else list(gold)
            found.append(TextExample(row.id, text_of(row, (text_field,) if text_field else TEXTS), gold, labels=labels))
    if not found:
        raise UserError(f"{path}: no row is left to train on or to predict; the split is empty")
    return found


def _tagged(row: Row, text_field: str | None) -> list[TaggedWord]:
    name = next((n for n in GOLD_ENTITIES if n in row.fields), None)
    given = None if name is None else literal(row.fields[name], row.place, name)
    spans = []
    for each in given or []:
        match each:
            case [str(tag), int(begin), int(length)]:
                spans.append((tag, begin, length))
            case _:
                raise UserError(
                    f"{row.place}: {row.id}: {each!r} does not say where the entity stands; to train a tagger give "
                    "[TAG, start, length]"
                )
    text = text_of(row, (text_field,) if text_field else TEXT_OF.get(name or "", TEXTS))
    try:
        return tag_words(text, spans)
    except UserError as error:
        raise UserError(f"{row.place}: {row.id}: {error}") from error


def _question(row: Row, gold: list[str], text_field: str | None) -> TextExample:
    passage = text_of(row, (text_field,) if text_field else PASSAGES)
    return TextExample(
        row.id, text_of(row, QUESTIONS), gold, passage=passage, answer=_find_answer(passage, gold, _starts(row))
    )


def _starts(row: Row) -> list[int]:
    answers = literal(row.fields.get("answers"), row.place, "answers")
    if isinstance(answers, Mapping):
        return [int(start) for start in answers.get("answer_start", [])]
    return [int(each["answer_start"]) for each in answers or [] if isinstance(each, Mapping) and "answer_start" in each]


def _find_answer(passage: str, answers: Sequence[str], starts: Sequence[int]) -> tuple[int, int] | None:
    """The place of a gold answer in the passage, letter case ignored, nearest to where it is said to stand."""
    lower, best = passage.lower(), None
    for answer in answers:
        wanted, at = answer.lower().strip(), -1
        while wanted and (at := lower.find(wanted, at + 1)) >= 0:
            end = at + len(wanted)
            whole = (at == 0 or not lower[at - 1].isalnum()) and (end == len(lower) or not lower[end].isalnum())
            distance = min((abs(at - start) for start in starts), default=at)
            if whole and (best is None or distance < best[0]):
                best = (distance, at, end)
    return None if best is None else best[1:]


def recognised_words(text: str) -> list[str]:
    """Recognised text as a tagger is trained: clitics apart."""
    return split_clitics(text).split()
