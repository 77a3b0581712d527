"""Claims about the list of a recipe's settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from speechkit.pipeline import NEUTRAL, SHARED, Output, Recipe, Stage
from speechkit.pipeline.config import read_settings
from speechkit.pipeline.discover import load_recipe, recipe_names
from speechkit.pipeline.settings_table import setting_rows, type_in_words


class Inner(msgspec.Struct, frozen=True):
    """Settings of settings."""

    steps: Annotated[int, msgspec.Meta(ge=1)] = 10


class Config(msgspec.Struct, frozen=True):
    """A config.

    Attributes:
        source: where it
            comes from.
        kind: of pooling.
    """

    source: Annotated[str, SHARED]
    kind: Literal["mean", "max"] = "mean"
    batch: Annotated[int, NEUTRAL] = 4
    loop: Inner = Inner(steps=20)


RECIPE = Recipe("demo", (Stage(1, "only", lambda context: None, (), (Output("x"),), config=Config),))


def test_every_setting_is_there_with_its_value_source_and_meaning():
    rows = {row.key: row for row in setting_rows(read_settings(RECIPE, overrides=["only.kind=max", "source=a.txt"]))}
    assert list(rows) == ["only.source", "only.kind", "only.batch", "only.loop.steps"]
    source, kind, batch, steps = rows.values()
    assert (source.value, source.source, source.shared, source.required) == ("a.txt", "command line", True, False)
    assert source.description == "where it comes from."
    assert (kind.value, kind.type, kind.source) == ("max", "one of mean, max", "command line")
    assert (batch.neutral, batch.value, batch.source) == (True, 4, "")
    assert (steps.value, steps.type) == (20, "int, 1 or more")  # of the config that holds it, not of its own struct


def test_a_setting_that_must_be_given_is_marked():
    rows = {row.key: row for row in setting_rows(read_settings(RECIPE))}
    assert rows["only.source"].required
    assert not rows["only.kind"].required


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str | None, "text or none"),
        (list[float], "list of number"),
        (tuple[int, ...], "list of int"),
        (tuple[float, float], "list of number"),
        (dict[str, bool], "mapping of true or false"),
        (Annotated[float, msgspec.Meta(gt=0, lt=1)], "number, above 0, below 1"),
        (Any, "anything"),
    ],
)
def test_types_are_in_words(annotation, words):
    assert type_in_words(annotation) == words


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_every_shipped_recipe_lists_its_settings(name):
    rows = setting_rows(read_settings(load_recipe(recipe_names()[name])))
    assert rows
    assert len({row.key for row in rows}) == len(rows)
