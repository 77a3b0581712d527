"""Comparison of speech encoders on several SLUE tasks: the systems, their training data and their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.encoders.load import safe
from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json
from speechkit.slue.fields import Options
from speechkit.slue.published import Published, published_for
from speechkit.slue.scoring import PairScore, SlueComparison, Unit, score_files
from speechkit.slue.systems.examples import read_examples
from speechkit.slue.task_folders import TaskFolder

if TYPE_CHECKING:
    from speechkit.encoders.store import FeatureStore
    from speechkit.slue.metrics.localisation import OffsetChoice

RECORD = "name.json"
PREDICTIONS = "predictions.jsonl"
DEV = "dev/"
DOCUMENT = "document/"
WITH_SILENCE, WITHOUT_SILENCE = "with the silence around them", "without the silence around them"


class ComparedSystem(msgspec.Struct, frozen=True):
    """A trained system, its position in the comparison, and its training data.

    ``order`` follows the order of the encoders given, frozen ones first. ``learned`` counts training examples,
    ``left_out`` the utterances of train and dev that are not examples, by reason, ``mended`` the repairs of entity
    symbols in predictions; ``spans`` describes the tuned localisation settings.
    """

    task: str
    encoder: str
    finetuned: bool
    shown: str
    order: int
    learned: int = 0
    left_out: dict[str, int] = {}
    mended: dict[str, int] = {}
    spans: str | None = None

    @property
    def folder(self) -> str:
        """Path relative to the folder of systems."""
        return f"{self.task}/{safe(self.encoder)}{'-finetuned' if self.finetuned else ''}"

    def counted(self, task: TaskFolder, max_seconds: float) -> ComparedSystem:
        """The system with the counts of its training examples and excluded utterances."""
        left_out: Counter[str] = Counter()
        learned = 0
        for manifest in task.learned_from:
            examples = read_examples(task.name, manifest, max_seconds=max_seconds)
            left_out.update({f"{manifest.stem}, {reason}": count for reason, count in examples.left_out.items()})
            learned += len(examples.items) if manifest == task.train else 0
        return msgspec.structs.replace(self, learned=learned, left_out=dict(left_out))


class EvaluationSet(msgspec.Struct, frozen=True):
    """The evaluation set: corpus and split of the preparation, or the folder's name if it is not recorded."""

    corpus: str
    split: str
    prepared: bool

    @property
    def shown(self) -> str:
        """Name in tables."""
        return f"{self.corpus} {self.split}"

    def matches(self, row: Published) -> bool:
        """Whether a published result was measured on the same set."""
        return self.prepared and (self.corpus, self.split) == (row.corpus, row.split)


class TaskComparison(msgspec.Struct, frozen=True):
    """Scores of one task with its evaluation set, its systems and published results."""

    scores: SlueComparison
    judged_by: EvaluationSet
    systems: list[ComparedSystem]
    published: list[Published]


class EncoderComparison(msgspec.Struct, frozen=True):
    """Content of ``scores.json``."""

    tasks: dict[str, TaskComparison]
    format: int = 1


class _PreparedSplit(msgspec.Struct, frozen=True):
    split: str


class _PreparedCorpus(msgspec.Struct, frozen=True):
    """The fields read from ``summary.json``."""

    corpus: str
    splits: list[_PreparedSplit]


def shown_names(encoders: Sequence[str]) -> dict[str, str]:
    """Display name of each encoder: the folder's name where it is unique, else the full path.

    Raises:
        ConfigError: if there are no encoders, or one is given twice.
    """
    if not encoders:
        raise ConfigError("encoders is empty; set for example encoders=log-mel,embedded")
    if repeated := [name for name, count in Counter(encoders).items() if count > 1]:
        raise ConfigError(f"encoders: {repeated[0]} is given twice; remove one")
    short = Counter(Path(name).name for name in encoders)
    # Scoring reads NAME=PATH, so a name must not contain an equals sign.
    return {name: (Path(name).name if short[Path(name).name] == 1 else name).replace("=", "-") for name in encoders}


def systems_to_train(tasks: Sequence[str], encoders: Sequence[str], tuned: Sequence[str]) -> list[ComparedSystem]:
    """Systems of every task: one per frozen encoder, and one per fine-tuned encoder in ``tuned``.

    Raises:
        ConfigError: if an encoder to fine-tune is not among the encoders.
    """
    if unknown := sorted(set(tuned) - set(encoders)):
        raise ConfigError(f"systems.finetuned: {unknown[0]} is not in encoders; add it there")
    shown = shown_names(encoders)
    variants = [(name, False) for name in encoders] + [(name, True) for name in tuned]
    return [
        ComparedSystem(task, name, finetuned, f"{shown[name]}, {'fine-tuned' if finetuned else 'frozen'}", order)
        for task in tasks
        for order, (name, finetuned) in enumerate(variants)
    ]


def systems_to_evaluate(tasks: Mapping[str, TaskFolder], systems: Sequence[ComparedSystem]) -> list[ComparedSystem]:
    """The system of every task, ordered so that stores of layers are needed one after another.

    Raises:
        UserError: if systems were trained for a task that is not given.
    """
    evaluated = []
    for system in systems:
        if system.task not in tasks:
            raise UserError(f"{system.task}: systems were trained for it; add it to tasks, or run stage 2 again")
        names = [task.name for task in tasks.values() if task.trained_as == system.task]
        evaluated += [msgspec.structs.replace(system, task=name) for name in names]
    return sorted(evaluated, key=lambda system: (system.order, tasks[system.task].home, system.task))


def read_systems(folder: Path) -> list[ComparedSystem]:
    """The systems recorded below a folder, in the order of the encoders."""
    systems = [msgspec.json.decode(path.read_bytes(), type=ComparedSystem) for path in folder.rglob(RECORD)]
    return sorted(systems, key=lambda system: (system.task, system.order))


def write_predictions(
    task: TaskFolder,
    system: ComparedSystem,
    trained: Path,
    output: Path,
    *,
    split: str,
    compat: bool,
    device: str,
    layers: FeatureStore | None,
) -> None:
    """Write a system's predictions for a split to the folder ``output``, then the system's record.

    ``layers`` stores the utterances of the split, those of dev under the prefix `DEV` and passages under `DOCUMENT`;
    None for fine-tuned encoders.
    """
    from speechkit.data.manifest import write_jsonl
    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    manifest = task.split(split)
    dev = task.tuned_on(split)
    chosen = None if dev is None else tune_localisation(dev, trained, compat=compat, device=device, layers=layers)
    repairs: Counter[str] = Counter()
    rows = predict_with_system(
        task.name,
        manifest,
        trained,
        device=device,
        documents=task.documents(manifest),
        include_blank=chosen is not None and chosen.variant == WITH_SILENCE,
        offset=0.0 if chosen is None else chosen.offset,
        repairs=repairs,
        cache=layers,
    )
    write_jsonl(output / PREDICTIONS, rows)
    spans = None if chosen is None else f"{chosen.variant}, {chosen.offset:+.2f} s, as was best on dev"
    counted = {kind: count for kind, count in repairs.items() if count}
    write_json(output / RECORD, msgspec.structs.replace(system, spans=spans, mended=counted))


def tune_localisation(
    dev: Path, trained: Path, *, compat: bool, device: str, layers: FeatureStore | None
) -> OffsetChoice:
    """The time offset and handling of silence with the best localisation score on a development manifest."""
    from speechkit.slue.fields.localised import gold_localised, predicted_localised
    from speechkit.slue.metrics.localisation import tune_offset
    from speechkit.slue.rows import Row, read_rows
    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    gold = {row.id: gold_localised(row, Options()) for row in read_rows(dev)}
    variants = {
        variant: {
            row["id"]: predicted_localised(Row(row["id"], str(dev), row), Options())
            for row in predict_with_system(
                "localisation",
                dev,
                trained,
                device=device,
                include_blank=variant == WITH_SILENCE,
                cache=layers,
                prefix="" if layers is None else DEV,
            )
        }
        for variant in (WITHOUT_SILENCE, WITH_SILENCE)
    }
    return tune_offset(
        {name: words for name, (words, _) in gold.items() if words},
        variants,
        {name: spans for name, (_, spans) in gold.items()},
        compat=compat,
    )


def compare_task(
    task: TaskFolder,
    predictions: Path,
    systems: Sequence[ComparedSystem],
    *,
    split: str,
    options: Options,
    by: Unit,
    confidence: float,
    resamples: int,
) -> TaskComparison:
    """Scores of one task's systems on shared bootstrap draws, from their files in the folder ``predictions``."""
    reference = task.split(split)
    own = [system for system in systems if system.task == task.name]
    scores = score_files(
        task.name,
        reference,
        [f"{system.shown}={predictions / system.folder / PREDICTIONS}" for system in own],
        options=options,
        by=by,
        confidence=confidence,
        resamples=resamples,
    )
    return TaskComparison(scores, read_test_set(reference), own, published_for(task.name))


def read_test_set(reference: Path) -> EvaluationSet:
    """Corpus and split of a manifest, from the ``summary.json`` that ``speechkit prepare`` writes beside it."""
    split, summary = reference.stem, reference.with_name("summary.json")
    try:
        corpus = msgspec.json.decode(summary.read_bytes(), type=_PreparedCorpus)
    except (OSError, msgspec.MsgspecError):
        return EvaluationSet(reference.resolve().parent.name, split, prepared=False)
    return EvaluationSet(corpus.corpus, split, prepared=any(prepared.split == split for prepared in corpus.splits))


def best_system(scores: SlueComparison) -> str | None:
    """The system with the highest main measure, the first in a tie; None if no system has a value."""
    values = {system.name: system.score.value for system in scores.systems if system.score.value is not None}
    return max(values, key=lambda name: values[name]) if values else None


def reference_pairs(scores: SlueComparison) -> list[PairScore]:
    """Paired differences that involve the first or the best system."""
    anchors = {scores.systems[0].name, best_system(scores)}
    return [pair for pair in scores.pairs if anchors & {pair.first, pair.second}]
