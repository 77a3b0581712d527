"""Examples of the text tasks: tagged words, labelled texts, questions on passages, and talks with summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError
from speechkit.slue.fields import Options, missing_field
from speechkit.slue.fields.entities import GOLD_ENTITIES, TEXT_OF, TEXTS
from speechkit.slue.metrics.entity_text import TaggedWord, split_clitics, tag_words
from speechkit.slue.rows import Row, literal, read_rows, text_of
from speechkit.slue.tasks import get_task

TEXT_TASKS = ("ner", "sentiment", "intent", "dialog-acts", "qa-text", "summarisation")
QUESTIONS = ("question", "text")
PASSAGES = ("context", "passage", "document")
TALKS = ("transcript", *TEXTS)


class TextExample(msgspec.Struct, frozen=True):
    """One example of a text task.

    ``words`` are the tagged words of ner. ``text`` is the text of classification with its ``labels``, the question of
    reading, or the talk of summarisation. ``answer`` is the character span (first, end) of the answer in ``passage``,
    None if it is not there. ``gold`` is the reference for the task's score.
    """

    id: str
    text: str
    gold: Any
    words: list[TaggedWord] = []
    labels: list[str] = []
    passage: str = ""
    answer: tuple[int, int] | None = None


def read_text_examples(task: str, path: Path, *, text_field: str | None = None) -> list[TextExample]:
    """Examples of a file in any format of scoring, without references that are not part of the task.

    Args:
        task: one of `TEXT_TASKS`.
        path: rows with text and labels; no audio is needed.
        text_field: field of the text (of qa-text: the passage), instead of the usual ones.

    Raises:
        UserError: naming a row without a text or label, or with entities outside its text.
    """
    if task not in TEXT_TASKS:
        raise UserError(f"{task!r}: no text model can be trained for this task; use one of {', '.join(TEXT_TASKS)}")
    options = Options(tags="any")
    chosen = get_task(task)
    examples = []
    for row in read_rows(path):
        if chosen.skip(row) is not None:
            continue
        gold = chosen.gold(row, options)
        if task == "qa-text":
            examples.append(_question(row, gold, text_field))
        elif task == "ner":
            words = _tagged(row, text_field)
            examples.append(TextExample(row.id, " ".join(word for word, _ in words), gold, words=words))
        elif task == "summarisation":
            if not row.has(("summary", "title", "abstract")):
                raise missing_field(row, ("title", "abstract", "summary"), "summary")
            examples.append(TextExample(row.id, text_of(row, (text_field,) if text_field else TALKS), gold))
        else:
            labels = [gold] if isinstance(gold, str) else list(gold)
            text = text_of(row, (text_field,) if text_field else TEXTS)
            examples.append(TextExample(row.id, text, gold, labels=labels))
    if not examples:
        raise UserError(f"{path}: no rows to train on or predict; the split is empty")
    return examples


def _tagged(row: Row, text_field: str | None) -> list[TaggedWord]:
    name = next((n for n in GOLD_ENTITIES if n in row.fields), None)
    given = None if name is None else literal(row.fields[name], row.location, name)
    spans = []
    for entity in given or []:
        match entity:
            case [str(tag), int(begin), int(length)]:
                spans.append((tag, begin, length))
            case _:
                raise UserError(
                    f"{row.location}: {row.id}: the entity {entity!r} has no position in the text; to train a tagger "
                    "give [TAG, start, length]"
                )
    text = text_of(row, (text_field,) if text_field else TEXT_OF.get(name or "", TEXTS))
    try:
        return tag_words(text, spans)
    except UserError as error:
        raise UserError(f"{row.location}: {row.id}: {error}") from error


def _question(row: Row, gold: list[str], text_field: str | None) -> TextExample:
    passage = text_of(row, (text_field,) if text_field else PASSAGES)
    return TextExample(
        row.id, text_of(row, QUESTIONS), gold, passage=passage, answer=_find_answer(passage, gold, _starts(row))
    )


def _starts(row: Row) -> list[int]:
    answers = literal(row.fields.get("answers"), row.location, "answers")
    if isinstance(answers, Mapping):
        return [int(start) for start in answers.get("answer_start", [])]
    return [
        int(answer["answer_start"])
        for answer in answers or []
        if isinstance(answer, Mapping) and "answer_start" in answer
    ]


def _find_answer(passage: str, answers: Sequence[str], starts: Sequence[int]) -> tuple[int, int] | None:
    """Character span of a gold answer in the passage, ignoring case, nearest to an annotated start."""
    lower, best = passage.lower(), None
    for answer in answers:
        wanted, begin = answer.lower().strip(), -1
        while wanted and (begin := lower.find(wanted, begin + 1)) >= 0:
            end = begin + len(wanted)
            whole = (begin == 0 or not lower[begin - 1].isalnum()) and (end == len(lower) or not lower[end].isalnum())
            distance = min((abs(begin - start) for start in starts), default=begin)
            if whole and (best is None or distance < best[0]):
                best = (distance, begin, end)
    return None if best is None else best[1:]


def recognised_words(text: str) -> list[str]:
    """Words of recognised text with clitics split off, as in the training data of taggers."""
    return split_clitics(text).split()
