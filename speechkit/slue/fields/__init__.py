"""Readers of a row's fields by task, their options, and the error of a missing field."""

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
    """Options of a task: the entity tag set for scoring, the entity symbols of transcripts, and the labels.

    ``tags`` "any" accepts the entity tags of other corpora unchanged. ``bert_score`` compares summaries.
    """

    tags: TagSet | Literal["any"] = "combined"
    symbols: TagSet = "raw"
    labels: tuple[str, ...] | None = None
    compat: bool = False
    bert_score: CompareTexts | None = None


def missing_field(row: Row, names: Sequence[str], what: str) -> UserError:
    """The error of a row without a required field."""
    return UserError(f"{row.location}: {row.id} has no {what} ({', '.join(names)}); add it to every row, None if empty")
