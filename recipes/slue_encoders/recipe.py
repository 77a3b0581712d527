"""Stages 1 to 4: features, training of the same heads on several encoders, predictions and comparison."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from speechkit.encoders.load import encoder_digests, listed, safe
from speechkit.pipeline import NEUTRAL, SHARED, Context, Interrupted, Output, Recipe, Resources, Stage, model, stage
from speechkit.slue.encoder_comparison import (
    DEV,
    DOCUMENT,
    RECORD,
    EncoderComparison,
    compare_task,
    read_systems,
    shown_names,
    systems_to_evaluate,
    systems_to_train,
)
from speechkit.slue.systems.system_spec import SystemConfig
from speechkit.slue.task_folders import TaskFolder, all_digests, check_manifests, read_task_folders, training_digests

if TYPE_CHECKING:
    from speechkit.encoders.store import FeatureStore

ENCODERS = "log-mel,mfcc,embedded"


class FeaturesConfig(msgspec.Struct, frozen=True):
    """Tasks and encoders.

    Attributes:
        tasks: TASK=FOLDER, separated by commas. A folder holds what `speechkit prepare` writes: ``train.jsonl`` or
            ``fine-tune.jsonl``, ``test.jsonl``, ``dev.jsonl`` if there is one, and for qa the ``-documents`` of each.
        encoders: names, folders or hub ids, separated by commas; all are compared with the first and with the best.
        split: the test split, whose presence is checked before anything is computed.
    """

    tasks: Annotated[str, SHARED] = ""
    encoders: Annotated[str, SHARED] = ENCODERS
    split: Annotated[str, SHARED, NEUTRAL] = "test"


def encode(context: Context) -> None:
    """Compute all layers of the training data, once for each encoder and folder of manifests."""
    tasks, encoders = read_task_folders(context.config.tasks), listed(context.config.encoders)
    shown_names(encoders)
    check_manifests(tasks, context.config.split)
    homes: dict[str, dict[str, Path]] = {}
    for task in tasks:
        if task.train is not None:
            manifests = {"": task.train, DEV: task.dev, DOCUMENT: task.passages(context.scratch)}
            homes.setdefault(task.home, {}).update({k: path for k, path in manifests.items() if path is not None})
    for done, (name, home) in enumerate((name, home) for name in encoders for home in homes):
        folder = context.scratch / safe(name) / home
        if not folder.is_dir():
            _layers(context, name, folder.with_suffix(".part"), homes[home])
            folder.with_suffix(".part").rename(folder)
        context.progress.update(done + 1, len(encoders) * len(homes))
        if context.interrupted:
            raise Interrupted
    kept = context.output("layers")
    kept.mkdir()
    for name in encoders:
        (context.scratch / safe(name)).rename(kept / safe(name))


def _layers(context: Context, encoder: str, folder: Path, manifests: dict[str, Path]) -> FeatureStore:
    from speechkit.encoders import load_encoder
    from speechkit.slue.systems.endtoend import cache_layers

    return cache_layers(folder, load_encoder(encoder, device=context.device), manifests)


class SystemsConfig(msgspec.Struct, frozen=True):
    """Training of the systems.

    Attributes:
        tasks: see `FeaturesConfig`.
        encoders: see `FeaturesConfig`.
        finetuned: those encoders that are fine-tuned too, each as a further system.
        head: the head and its training; its ``encoder`` and ``finetune`` are set for each system.
    """

    tasks: Annotated[str, SHARED] = ""
    encoders: Annotated[str, SHARED] = ENCODERS
    finetuned: str = ""
    head: SystemConfig = SystemConfig()


def train_systems(context: Context) -> None:
    """Train a system for each task and encoder; finished ones survive an interruption."""
    from speechkit.encoders.store import FeatureStore
    from speechkit.io.atomic import write_json
    from speechkit.slue.systems.endtoend import train_system

    config = context.config
    tasks = {task.name: task for task in read_task_folders(config.tasks) if task.train is not None}
    jobs = systems_to_train(list(tasks), listed(config.encoders), listed(config.finetuned))
    for done, system in enumerate(jobs):
        task, folder = tasks[system.task], context.scratch / system.folder
        if not (folder / "system.json").is_file():
            context.say(f"{system.task}: {system.shown}")
            layers = Path(context.inputs["layers"]) / safe(system.encoder) / task.home
            finished = train_system(
                system.task,
                task.learned_from[0],
                folder,
                msgspec.structs.replace(config.head, encoder=system.encoder, finetune=system.finetuned),
                dev_manifest=task.dev,
                documents=task.passages(context.scratch),
                cache=None if system.finetuned else FeatureStore(layers, "all"),
                dev_prefix=DEV,
                device=context.device,
                should_stop=lambda: context.interrupted,
                log=context.log,
            )
            if not finished:
                raise Interrupted
        kept = context.output("systems") / system.folder
        shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("work"))
        write_json(kept / RECORD, system.counted(task, config.head.max_seconds))
        context.progress.update(done + 1, len(jobs))


class PredictConfig(msgspec.Struct, frozen=True):
    """The test split of every task; with ``compat`` the offset of localisation is tuned as in the toolkit."""

    tasks: Annotated[str, SHARED] = ""
    split: Annotated[str, SHARED] = "test"
    compat: Annotated[bool, SHARED] = False


def predict(context: Context) -> None:
    """Predict with every system; a frozen encoder encodes each folder once for all systems."""
    from speechkit.slue.encoder_comparison import write_predictions

    config, trained = context.config, Path(context.inputs["systems"])
    tasks = {task.name: task for task in read_task_folders(config.tasks)}
    jobs = systems_to_evaluate(tasks, read_systems(trained))
    held: Path | None = None
    for done, system in enumerate(jobs):
        task, kept = tasks[system.task], context.scratch / system.folder
        if not (kept / RECORD).is_file():
            folder = None if system.finetuned else context.scratch / "layers" / safe(system.encoder) / task.home
            if held is not None and held != folder:
                shutil.rmtree(held)
            held, layers = folder, None
            if folder is not None:
                sharing = [each for each in tasks.values() if each.home == task.home]
                layers = _layers(context, system.encoder, folder, _judged_manifests(sharing, config.split))
            source = trained / msgspec.structs.replace(system, task=task.trained_as).folder
            options = {"split": config.split, "compat": config.compat, "device": context.device, "layers": layers}
            write_predictions(task, system, source, kept, **options)
        if context.interrupted:
            raise Interrupted
        shutil.copytree(kept, context.output("predictions") / system.folder)
        context.progress.update(done + 1, len(jobs))


def _judged_manifests(tasks: Sequence[TaskFolder], split: str) -> dict[str, Path]:
    """The manifests of one folder by the prefix of their ids among the layers."""
    manifests: dict[str, Path] = {}
    for task in tasks:
        paths = {"": task.split(split), DOCUMENT: task.documents(task.split(split)), DEV: task.tuned_on(split)}
        manifests |= {prefix: path for prefix, path in paths.items() if path is not None}
    return manifests


class CompareConfig(msgspec.Struct, frozen=True):
    """``by``: unit of resampling; ``tags``: types of entities; ``compat``: score as the reference toolkit does."""

    tasks: Annotated[str, SHARED] = ""
    split: Annotated[str, SHARED] = "test"
    by: Literal["utterance", "speaker"] = "utterance"
    tags: Literal["combined", "raw", "any"] = "combined"
    compat: Annotated[bool, SHARED] = False
    confidence: float = 0.95
    resamples: int = 2000


def compare(context: Context) -> None:
    """Score all systems of each task with the same bootstrap draws, and write the table and the page."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.slue_encoders_page import markdown, write_encoders_page
    from speechkit.slue.fields import Options

    config, predictions = context.config, Path(context.inputs["predictions"])
    systems = read_systems(predictions)
    comparison = EncoderComparison(
        {
            task.name: compare_task(
                task,
                predictions,
                systems,
                split=config.split,
                options=Options(tags=config.tags, compat=config.compat),
                by=config.by,
                confidence=config.confidence,
                resamples=config.resamples,
            )
            for task in read_task_folders(config.tasks)
        }
    )
    for name, task in comparison.tasks.items():
        for warning in task.scores.warnings:
            context.say(f"{name}: {warning}")
    write_json(context.output("scores.json"), comparison)
    text = markdown(comparison)
    write_text(context.output("table.md"), text)
    write_encoders_page(context.output("report.html"), comparison)
    for line in text.splitlines():
        context.say(line)
    context.main_figure = f"{len(systems)} systems on {', '.join(comparison.tasks)}: the table above is table.md"


LEARNED_FROM = model("tasks", digest=training_digests)
TASKS = model("tasks", digest=all_digests)
ENCODER_DIGESTS = model("encoders", digest=encoder_digests)
GPU = Resources(cpus=2, gpus=1)
recipe = Recipe(
    "slue_encoders",
    (
        Stage(
            number=1,
            name="features",
            run=encode,
            inputs=(LEARNED_FROM, ENCODER_DIGESTS),
            outputs=(Output("layers"),),
            config=FeaturesConfig,
            resources=GPU,
        ),
        Stage(
            number=2,
            name="systems",
            run=train_systems,
            inputs=(LEARNED_FROM, ENCODER_DIGESTS, stage("features", "layers")),
            outputs=(Output("systems"),),
            config=SystemsConfig,
            resources=GPU,
        ),
        Stage(
            number=3,
            name="predict",
            run=predict,
            inputs=(stage("systems", "systems"), TASKS),
            outputs=(Output("predictions"),),
            config=PredictConfig,
            resources=GPU,
        ),
        Stage(
            number=4,
            name="compare",
            run=compare,
            inputs=(stage("predict", "predictions"), TASKS),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=CompareConfig,
        ),
    ),
    description="Compare encoders on understanding: one table of tasks with intervals, published results beside it.",
)
