"""The work of stages 1 and 2; heavy libraries load when they run."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from speechkit.encoders.load import listed, safe
from speechkit.errors import ConfigError
from speechkit.pipeline import Context, Interrupted

from .tasks import TaskData, read_tasks

RECORD = "name.json"
DEV = "dev/"


class System(msgspec.Struct, frozen=True):
    """A trained system: its place in the comparison, and what it learned from.

    ``order`` is that of the encoders as they were given, the frozen ones first. ``left_out`` counts the utterances of
    train and dev that were no example, ``mended`` the entity symbols of predictions, ``spans`` says how localisation
    was tuned.
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
        """Below the folder of systems."""
        return f"{self.task}/{safe(self.encoder)}{'-finetuned' if self.finetuned else ''}"


def encode(context: Context) -> None:
    """All layers of what is learned from, once for each encoder and folder of manifests."""
    from speechkit.encoders import load_encoder
    from speechkit.slue.systems.endtoend import cache_layers

    tasks = read_tasks(context.config.tasks)
    encoders = listed(context.config.encoders)
    shown_names(encoders)
    check_manifests(tasks, context.config.split)
    homes: dict[str, list[TaskData]] = {}
    for task in tasks:
        if task.train is not None:
            homes.setdefault(task.home, []).append(task)
    done = 0
    for name in encoders:
        encoder = load_encoder(name, device=context.device)
        for home, sharing in homes.items():
            folder = context.scratch / safe(name) / home
            if not folder.is_dir():
                cache_layers(folder.with_suffix(".part"), encoder, manifests_to_learn(sharing, context.scratch))
                folder.with_suffix(".part").rename(folder)
            done += 1
            context.progress.update(done, len(encoders) * len(homes))
            if context.interrupted:
                raise Interrupted
    kept = context.output("layers")
    kept.mkdir()
    for name in encoders:
        (context.scratch / safe(name)).rename(kept / safe(name))


def check_manifests(tasks: Sequence[TaskData], split: str) -> None:
    """Find out before hours of work what would end them: a split that is not there, a row without its label.

    Raises:
        UserError: naming it.
    """
    from speechkit.slue.systems.examples import read_examples

    for task in tasks:
        task.split(split)
        for manifest in (task.train, task.dev) if task.train is not None else ():
            if manifest is not None:
                read_examples(task.name, manifest, max_seconds=float("inf"))


def manifests_to_learn(tasks: Sequence[TaskData], folder: Path) -> dict[str, Path]:
    """The manifests of one folder by the prefix of their ids in the layers; ``folder`` takes merged passages."""
    found: dict[str, Path] = {}
    for task in tasks:
        passages = task.passages(folder)
        found |= {"": task.train} if task.train is not None else {}
        found |= {DEV: task.dev} if task.dev is not None else {}
        found |= {"document/": passages} if passages is not None else {}
    return found


def shown_names(encoders: Sequence[str]) -> dict[str, str]:
    """Encoders as tables name them: without their folders, where that tells them apart.

    Raises:
        ConfigError: if there is none, or one stands twice.
    """
    if not encoders:
        raise ConfigError("encoders is empty; give for example encoders=log-mel,embedded")
    if twice := [name for name, count in Counter(encoders).items() if count > 1]:
        raise ConfigError(f"encoders: {twice[0]} stands twice; give it once")
    short = Counter(Path(name).name for name in encoders)
    # What stands before an equals sign names a system where scores are made.
    return {name: (Path(name).name if short[Path(name).name] == 1 else name).replace("=", "-") for name in encoders}


def train_systems(context: Context) -> None:
    """A system for each task and encoder; those that are done survive an interruption."""
    from speechkit.encoders.store import FeatureStore
    from speechkit.slue.systems.endtoend import train_system

    config = context.config
    tasks = {task.name: task for task in read_tasks(config.tasks) if task.train is not None}
    jobs = systems_to_train(list(tasks), listed(config.encoders), listed(config.finetuned))
    for done, system in enumerate(jobs):
        task, folder = tasks[system.task], context.scratch / system.folder
        assert task.train is not None
        if not (folder / "system.json").is_file():
            context.say(f"{system.task}: {system.shown}")
            layers = Path(context.inputs["layers"]) / safe(system.encoder) / task.home
            finished = train_system(
                system.task,
                task.train,
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
        _keep(folder, context.output("systems") / system.folder, counted(system, task, config.head.max_seconds))
        context.progress.update(done + 1, len(jobs))


def systems_to_train(tasks: Sequence[str], encoders: Sequence[str], tuned: Sequence[str]) -> list[System]:
    """Every task with every encoder frozen, and with those that are trained along.

    Raises:
        ConfigError: if an encoder to be trained along is not among the encoders.
    """
    if strange := sorted(set(tuned) - set(encoders)):
        raise ConfigError(f"systems.finetuned: {strange[0]} is none of encoders; name it there, too")
    shown = shown_names(encoders)
    kinds = [(name, False) for name in encoders] + [(name, True) for name in tuned]
    return [
        System(task, name, along, f"{shown[name]}, {'fine-tuned' if along else 'frozen'}", order)
        for task in tasks
        for order, (name, along) in enumerate(kinds)
    ]


def counted(system: System, task: TaskData, max_seconds: float) -> System:
    """The system with the number of its examples, and of the utterances that are none by the reason."""
    from speechkit.slue.systems.examples import read_examples

    assert task.train is not None
    left_out: Counter[str] = Counter()
    learned = 0
    for manifest in (task.train, task.dev):
        if manifest is not None:
            found = read_examples(task.name, manifest, max_seconds=max_seconds)
            left_out.update({f"{manifest.stem}, {reason}": count for reason, count in found.left_out.items()})
            learned += len(found.items) if manifest == task.train else 0
    return msgspec.structs.replace(system, learned=learned, left_out=dict(left_out))


def _keep(folder: Path, kept: Path, system: System) -> None:
    from speechkit.io.atomic import write_json

    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("work"))
    write_json(kept / RECORD, system)


def read_systems(folder: Path) -> list[System]:
    """The systems whose records lie below a folder, in the order of the encoders."""
    found = [msgspec.json.decode(path.read_bytes(), type=System) for path in folder.rglob(RECORD)]
    return sorted(found, key=lambda system: (system.task, system.order))
