"""A small recipe with every kind of stage, and a way to run it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from speechkit.pipeline import Recipe, run_recipe
from speechkit.pipeline.content import walk
from speechkit.pipeline.discover import load_recipe

RECIPE_FILE = Path(__file__).parent / "recipes" / "words" / "recipe.py"
WORDS = "apple banana cherry elderberry fig grape huckleberry iris "


class Words:
    """The recipe `words` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.recipe: Recipe = load_recipe(RECIPE_FILE)
        self.folder = folder
        self.words = folder / "words.txt"
        self.words.write_text(WORDS * 3)

    def run(self, *overrides: str, exp: str = "exp", **options: object) -> int:
        options = {"quiet": True, **options}
        return run_recipe(self.recipe, self.folder / exp, [f"prepare.words={self.words}", *overrides], **options)

    def current(self, stage: str, exp: str = "exp") -> Path:
        return (self.folder / exp / stage / "current").resolve()


@pytest.fixture
def words(tmp_path: Path) -> Words:
    return Words(tmp_path)


@pytest.fixture
def tree_digest():
    """Every committed byte under exp; of ``_stage.json`` all but the facts of the run itself."""

    def digest(exp: Path) -> dict[str, str]:
        found = {}
        for folder in sorted(exp.glob("*/*/_stage.json")):
            if folder.parent.name == "current":
                continue
            for name, path in walk(folder.parent):
                content = path.read_bytes()
                if name == "_stage.json":
                    record = json.loads(content)
                    del record["run"]
                    content = json.dumps(record, sort_keys=True).encode()
                key = f"{folder.parent.parent.name}/{folder.parent.name}/{name}"
                found[key] = hashlib.blake2b(content).hexdigest()
        assert found
        return found

    return digest
