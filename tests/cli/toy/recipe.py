"""A recipe of two quick stages, which the tests run from the shell."""

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
    name="demo",
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
