"""`speechkit new`: a recipe that runs at once, as a place to begin."""

from __future__ import annotations

from pathlib import Path

from speechkit.errors import UserError
from speechkit.io.atomic import write_error, write_text
from speechkit.pipeline.recipe import NAME

RECIPE = '''"""Recipe __NAME__: what it does, in two lines."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.pipeline import NEUTRAL, Context, Drop, Output, Recipe, Stage, Worker, stage


class Item(msgspec.Struct, frozen=True):
    """What the stages hand to one another."""

    id: str
    text: str


class PrepareConfig(msgspec.Struct, frozen=True):
    """Settings of stage 1; set one with prepare.items=20."""

    items: Annotated[int, msgspec.Meta(ge=1)] = 10


class TransformConfig(msgspec.Struct, frozen=True):
    """Settings of stage 2; batch_size does not change the result, so it leaves the stage fresh."""

    suffix: str = "!"
    longest: int = 12
    batch_size: Annotated[int, NEUTRAL] = 16


def prepare(context: Context) -> None:
    """A whole-set stage: sees everything and writes its outputs."""
    context.write("items.jsonl", (Item(f"item-{n:04d}", "la" * (n + 1)) for n in range(context.config.items)))


class Transform(Worker):
    """A worker stage: one answer for each record. Load models in `setup(device)`."""

    def process(self, batch: list[Item]) -> list[object]:
        """Records in, records or Drops out."""
        answers: list[object] = []
        for item in batch:
            if len(item.text) > self.config.longest:
                answers.append(Drop("too_long", f"{len(item.text)} characters"))
            else:
                answers.append(Item(item.id, item.text + self.config.suffix))
        return answers


recipe = Recipe(
    name="__NAME__",
    description="What it does, in one line.",
    stages=(
        Stage(number=1, name="prepare", run=prepare, outputs=(Output("items.jsonl", Item),), config=PrepareConfig),
        Stage(
            number=2,
            name="transform",
            run=Transform,
            inputs=(stage("prepare", "items.jsonl"),),
            outputs=(Output("items.jsonl", Item),),
            config=TransformConfig,
            drop_reasons=("too_long",),
        ),
    ),
)
'''
CONFIG = """# Values over the defaults in recipe.py; key=value on the command line goes over these.
seed: 1
prepare:
  items: 10
"""
RUN = """#!/usr/bin/env bash
# For example: recipes/__NAME__/run.sh --stage 2 transform.suffix=?
exec speechkit run "$(dirname "$0")/recipe.py" "$@"
"""
README = """# __NAME__

What it does, in two lines.

| stage | name | makes |
|---|---|---|
| 1 | prepare | items.jsonl |
| 2 | transform | items.jsonl |

    speechkit run __NAME__
    speechkit status __NAME__
    speechkit run __NAME__ --stage 2 transform.suffix=?

Results: `exp/__NAME__/02-transform/current/items.jsonl`.
"""


def write_skeleton(recipes: Path, name: str) -> Path:
    """Write ``recipes/name``; returns the folder.

    Raises:
        UserError: if the name is no recipe name, or the folder is there already.
    """
    if not NAME.match(name):
        raise UserError(f"{name!r} is no recipe name; use lower-case letters, digits and _, a letter first")
    folder = recipes / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{folder} is there already; choose another name") from error
    except OSError as error:
        raise write_error(folder, error) from error
    for path, text in (("recipe.py", RECIPE), ("conf/default.yaml", CONFIG), ("run.sh", RUN), ("README.md", README)):
        write_text(folder / path, text.replace("__NAME__", name))
    (folder / "run.sh").chmod(0o755)
    return folder
