"""Claim about the settings that recipes bring along: every file is taken by every stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechkit.pipeline.config import read_settings
from speechkit.pipeline.discover import recipe_module

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.glob("*/conf/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_settings_of_recipes_can_be_read(file):
    recipe = recipe_module(file.parents[1].name).recipe
    settings = read_settings(recipe, [file], [])
    for stage in recipe.stages:
        assert isinstance(settings.config(stage), stage.config)
