"""Stage 4: every task's systems scored side by side, and published results beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from speechkit.pipeline import Context
from speechkit.slue.published import Published, published_for
from speechkit.slue.scoring import PairScore, SlueComparison, score_files

from .judging import PREDICTIONS
from .stages import System, read_systems
from .tasks import TaskData, read_tasks


class PreparedSplit(msgspec.Struct, frozen=True):
    """A split in ``summary.json``."""

    split: str


class PreparedCorpus(msgspec.Struct, frozen=True):
    """What is read of ``summary.json``."""

    corpus: str
    splits: list[PreparedSplit]


class JudgedBy(msgspec.Struct, frozen=True):
    """The set that judges: the corpus that prepared it, where its folder says so, and else the folder's name."""

    corpus: str
    split: str
    prepared: bool

    @property
    def shown(self) -> str:
        """As the table names it."""
        return f"{self.corpus} {self.split}"

    def is_that_of(self, row: Published) -> bool:
        """Whether a published result was made on the same set."""
        return self.prepared and (self.corpus, self.split) == (row.corpus, row.split)


class TaskComparison(msgspec.Struct, frozen=True):
    """A task: its scores, the set that judged, what the systems learned from, and what was published."""

    scores: SlueComparison
    judged_by: JudgedBy
    systems: list[System]
    published: list[Published]


class EncoderComparison(msgspec.Struct, frozen=True):
    """What ``scores.json`` holds."""

    tasks: dict[str, TaskComparison]
    format: int = 1


def compare(context: Context) -> None:
    """Score all systems of each task over the same draws, and write the table and the page."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.page import write_page

    from .pages import markdown, page

    predictions = Path(context.inputs["predictions"])
    systems = read_systems(predictions)
    tasks = read_tasks(context.config.tasks)
    found = EncoderComparison(
        {task.name: compared(context, task, predictions, [s for s in systems if s.task == task.name]) for task in tasks}
    )
    write_json(context.output("scores.json"), found)
    text = markdown(found)
    write_text(context.output("table.md"), text)
    write_page(context.output("report.html"), page(found))
    for line in text.splitlines():
        context.say(line)


def compared(context: Context, task: TaskData, predictions: Path, systems: Sequence[System]) -> TaskComparison:
    """One task."""
    from speechkit.slue.fields.options import Options

    config = context.config
    reference = task.split(config.split)
    scores = score_files(
        task.name,
        reference,
        [f"{system.shown}={predictions / system.folder / PREDICTIONS}" for system in systems],
        options=Options(tags=config.tags, compat=config.compat),
        by=config.by,
        confidence=config.confidence,
        resamples=config.resamples,
    )
    for warning in scores.warnings:
        context.say(f"{task.name}: {warning}")
    return TaskComparison(scores, judged_by(reference), list(systems), published_for(task.name))


def judged_by(reference: Path) -> JudgedBy:
    """The corpus and split of a manifest, by the ``summary.json`` that ``speechkit prepare`` writes beside it."""
    split, summary = reference.stem, reference.with_name("summary.json")
    try:
        found = msgspec.json.decode(summary.read_bytes(), type=PreparedCorpus)
    except (OSError, msgspec.MsgspecError):
        return JudgedBy(reference.resolve().parent.name, split, prepared=False)
    return JudgedBy(found.corpus, split, prepared=any(each.split == split for each in found.splits))


def best_of(scores: SlueComparison) -> str | None:
    """The system of the highest main measure, of equals the first; None where none has a value."""
    values = {each.name: each.score.value for each in scores.systems if each.score.value is not None}
    return max(values, key=lambda name: values[name]) if values else None


def telling_pairs(scores: SlueComparison) -> list[PairScore]:
    """The differences from the first system and from the best one."""
    anchors = {scores.systems[0].name, best_of(scores)}
    return [pair for pair in scores.pairs if anchors & {pair.first, pair.second}]
