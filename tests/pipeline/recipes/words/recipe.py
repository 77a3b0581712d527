"""A small recipe of every kind of stage: whole-set, stateless worker, worker with setup and arrays, whole-set."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Drop,
    Output,
    Recipe,
    Retry,
    Stage,
    Value,
    Worker,
    external,
    stage,
)
from speechkit.runtime import item_seed


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    word: str
    duration: float = 0.0
    features: str | None = None


class PrepareConfig(msgspec.Struct, frozen=True):
    words: str
    repeat: int = 1
    lang: Annotated[str, SHARED] = "en"


class CaseConfig(msgspec.Struct, frozen=True):
    case: Literal["upper", "lower", "title"] = "upper"
    longest: Annotated[int, msgspec.Meta(ge=1)] = 8
    rate: float = 1e-3
    batch_size: Annotated[int, NEUTRAL] = 4
    crash_file: Annotated[str | None, NEUTRAL] = None  # the worker kills itself while this file says so
    fail_file: Annotated[str | None, NEUTRAL] = None  # items named in it are to be tried again


class NoiseConfig(msgspec.Struct, frozen=True):
    size: int = 3
    crash_file: Annotated[str | None, NEUTRAL] = None


def prepare(context: Context) -> None:
    def rows():
        for turn in range(context.config.repeat):
            for number, line in enumerate(context.inputs["words"].read_text().split()):
                yield Row(f"{context.config.lang}-{turn}-{number}", line, 0.5)

    context.write("rows.jsonl", rows())


def crash(file: str | None) -> None:
    if file and Path(file).exists():
        left = int(Path(file).read_text())
        if left > 0:
            temporary = Path(f"{file}.{os.getpid()}")  # another worker may read at this very moment
            temporary.write_text(str(left - 1))
            temporary.replace(file)
            print("the worker says goodbye", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


class ChangeCase:
    def __init__(self, config: CaseConfig) -> None:
        self.config = config

    def process(self, batch: list[Row]) -> list[object]:
        crash(self.config.crash_file)
        failing = Path(self.config.fail_file).read_text().split() if self.config.fail_file else []
        answers: list[object] = []
        for row in batch:
            if row.id in failing:
                answers.append(Retry("told to fail"))
            elif len(row.word) > self.config.longest:
                answers.append(Drop("too_long", f"{len(row.word)} letters"))
            else:
                answers.append(msgspec.structs.replace(row, word=getattr(row.word, self.config.case)()))
        return answers


class AddNoise(Worker):
    def setup(self, device: str) -> None:
        self.device = device

    def process(self, batch: list[Row]) -> list[Value]:
        crash(self.config.crash_file)
        return [
            Value(row, {"noise": np.random.default_rng(item_seed(self.seed, row.id)).random(self.config.size)})
            for row in batch
        ]


def count(context: Context) -> None:
    total = sum(1 for _ in context.read("noisy"))
    context.output("total.txt").write_text(f"{total}\n")


recipe = Recipe(
    "words",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(external("words"),),
            outputs=(Output("rows.jsonl", Row),),
            config=PrepareConfig,
        ),
        Stage(
            number=2,
            name="case",
            run=ChangeCase,
            inputs=(stage("prepare", "rows.jsonl"),),
            outputs=(Output("rows.jsonl", Row),),
            config=CaseConfig,
            drop_reasons=("too_long",),
            part_records=5,
        ),
        Stage(
            number=4,
            name="noise",
            run=AddNoise,
            inputs=(stage("case", "rows.jsonl"),),
            outputs=(Output("noisy.jsonl", Row),),
            config=NoiseConfig,
            part_records=4,
        ),
        Stage(
            number=5,
            name="count",
            run=count,
            inputs=(stage("noise", "noisy.jsonl"), stage("case", "drops.jsonl")),
            outputs=(Output("total.txt"),),
        ),
    ),
)
