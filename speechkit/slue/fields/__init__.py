"""Readers of the fields of a row by task: what they may be told, and what they say where a field is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from speechkit.errors import UserError
from speechkit.slue.metrics.entity_tags import TagSet
from speechkit.slue.metrics.summaries import CompareTexts
from speechkit.slue.rows import Row


@dataclass(frozen=True)
class Options:
    """What a task may be told: the tags that entities are scored with, the symbols of transcripts, the labels.

    ``tags`` "any" takes entity tags of other corpora as they are. ``bert_score`` compares summaries.
    """

    tags: TagSet | Literal["any"] = "combined"
    symbols: TagSet = "raw"
    labels: tuple[str, ...] | None = None
    compat: bool = False
    bert_score: CompareTexts | None = None


def lacking(row: Row, names: Sequence[str], what: str) -> UserError:
    """The error of a row without a field that it needs."""
    return UserError(f"{row.place}: {row.id} has no {what} ({', '.join(names)}); give every row one, None where empty")
