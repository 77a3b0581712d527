"""A recipe: stages in order, validated on construction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from speechkit.errors import UserError
from speechkit.pipeline.stage import External, Model, Stage, StageInput

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class Recipe:
    """Stages in the order of their numbers, under one name.

    ``defaults`` are config values of this recipe that differ from the defaults in code, as in a YAML file:
    ``{"features": {"layer": 9}, "lang": "en"}``. ``next_command`` is shown when the last stage is done, with the output
    folder for ``{exp}``. ``check`` is called before a run locks its folder, with the configs of the chosen stages by
    name; it yields a sentence for each setting that no stage can work with, or that does not fit another stage's.

    Raises:
        UserError: if the stages contradict one another; every contradiction is listed.
    """

    name: str
    stages: tuple[Stage, ...]
    description: str = ""
    defaults: dict[str, object] = field(default_factory=dict)
    next_command: str = ""
    check: Callable[[Mapping[str, Any]], Iterable[str]] | None = None

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise UserError(f"recipe {self.name}: " + "; ".join(problems))

    def stage(self, name_or_number: str | int) -> Stage:
        """The stage of that name or number.

        Raises:
            UserError: if there is none; the stages are listed.
        """
        text = str(name_or_number)
        for stage in self.stages:
            if text == stage.name or (text.isdecimal() and int(text) == stage.number):
                return stage
        known = ", ".join(f"{stage.number} {stage.name}" for stage in self.stages)
        raise UserError(f"recipe {self.name} has no stage {text}; it has {known}")


def _problems(recipe: Recipe) -> list[str]:
    problems: list[str] = []
    earlier: dict[str, Stage] = {}
    last = -1
    if not recipe.stages:
        problems.append("it has no stages")
    for stage in recipe.stages:
        label = f"stage {stage.number} {stage.name}"
        if not NAME.match(stage.name):
            problems.append(f"{label}: a name is lower-case letters, digits and _")
        if stage.name in earlier:
            problems.append(f"{label}: the name is taken by stage {earlier[stage.name].number}")
        if stage.number <= last:
            problems.append(f"{label}: numbers must increase, but {last} came before")
        last = max(last, stage.number)
        problems += [f"{label}: {problem}" for problem in _stage_problems(stage, earlier)]
        earlier[stage.name] = stage
    return problems


def _stage_problems(stage: Stage, earlier: dict[str, Stage]) -> list[str]:
    problems: list[str] = []
    config: Any = stage.config
    if not (isinstance(config, type) and issubclass(config, msgspec.Struct)):
        return ["its config must be a msgspec.Struct type"]
    if not stage.config.__struct_config__.frozen:
        problems.append(f"config {stage.config.__name__} must be frozen")
    fields = {field.name for field in msgspec.structs.fields(stage.config)}
    names = [input_.name for input_ in stage.inputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"two inputs are called {name}; give one of them name=" for name in twice]
    for input_ in stage.inputs:
        if isinstance(input_, StageInput):
            if input_.stage not in earlier:
                problems.append(f"its input {input_.stage!r} is not an earlier stage")
            elif input_.file is not None and not _has(earlier[input_.stage], input_.file):
                problems.append(f"stage {input_.stage} has no output {input_.file!r}")
        elif isinstance(input_, External) and input_.of is not None:
            if input_.of not in earlier:
                problems.append(f"its input {input_.name!r} is of {input_.of!r}, which is not an earlier stage")
            elif input_.key not in {field.name for field in msgspec.structs.fields(earlier[input_.of].config)}:
                problems.append(f"its input reads config field {input_.key!r}, which stage {input_.of} lacks")
        elif input_.key not in fields:
            problems.append(f"its input reads config field {input_.key!r}, which {stage.config.__name__} lacks")
    if not stage.outputs:
        problems.append("it has no outputs")
    if len({output.path for output in stage.outputs}) < len(stage.outputs):
        problems.append("two outputs have the same path")
    for output in stage.outputs:
        parts = output.path.split("/")
        if "" in parts or ".." in parts or "." in parts or parts[0] in ("_stage.json", "drops.jsonl", "arrays"):
            problems.append(f"output {output.path!r} is not a path inside the stage's folder, or is reserved")
    if stage.is_worker:
        problems += _worker_problems(stage)
    return problems


def _worker_problems(stage: Stage) -> list[str]:
    problems = []
    if not callable(getattr(stage.run, "process", None)):
        problems.append(f"{getattr(stage.run, '__name__', stage.run)} has no process(batch)")
    if not stage.inputs or isinstance(stage.inputs[0], Model):
        problems.append("a worker stage needs a JSON-lines file as its first input")
    elif isinstance(stage.inputs[0], StageInput) and not (stage.inputs[0].file or "").endswith(".jsonl"):
        problems.append(f"a worker stage reads a .jsonl file, not {stage.inputs[0].file}")
    if len(stage.outputs) != 1 or not stage.outputs[0].path.endswith(".jsonl"):
        problems.append("a worker stage has one output, a .jsonl file")
    if stage.part_records < 1 or stage.batch_size < 1:
        problems.append("part_records and batch_size must be at least 1")
    return problems


def _has(stage: Stage, file: str) -> bool:
    # A file inside an output folder is allowed too.
    return any(file == path or file.startswith(path + "/") for path in stage.files)
