"""Claim about the settings that recipes bring along: every file is taken by every stage."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from speechkit.pipeline.config import read_settings

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.glob("*/conf/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_settings_of_recipes_can_be_read(file):
    recipe = import_module(f"recipes.{file.parents[1].name}.recipe").recipe
    settings = read_settings(recipe, [file], [])
    for stage in recipe.stages:
        assert isinstance(settings.config(stage), stage.config)
