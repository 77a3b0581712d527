"""Claim about the settings that recipes bring along: every file is taken by every stage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speechkit.pipeline.config import read_settings
from speechkit.pipeline.discover import recipe_module

LISTED = """
import sys
from speechkit.pipeline.discover import load_recipe, shipped_recipe
load_recipe(shipped_recipe(sys.argv[1]))
sys.exit("torch" in sys.modules)
"""
RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.glob("*/conf/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_settings_of_recipes_can_be_read(file):
    recipe = recipe_module(file.parents[1].name).recipe
    settings = read_settings(recipe, [file], [])
    for stage in recipe.stages:
        assert isinstance(settings.config(stage), stage.config)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in RECIPES.glob("*/recipe.py")))
def test_a_recipe_is_read_without_torch(name):
    done = subprocess.run([sys.executable, "-c", LISTED, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
