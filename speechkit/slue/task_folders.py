"""Task folders of the encoder comparison: manifests written by ``speechkit prepare``, by task and split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from speechkit.data.manifest import read_manifest, rebase, write_manifest
from speechkit.encoders.load import listed
from speechkit.errors import ConfigError
from speechkit.io.hashing import digest_file
from speechkit.slue.systems.examples import TRAINABLE_TASKS, read_examples

LOCALISATION = "localisation"
COMPARED = (*TRAINABLE_TASKS, LOCALISATION)
SPLITS_TO_TRAIN = ("train", "fine-tune")
DOCUMENTS = "-documents"


class TaskFolder(msgspec.Struct, frozen=True):
    """Manifests of a task. ``home`` is the first task with the same folder, with which it shares encoder layers.

    ``train`` is None for localisation, which uses the systems trained for ner.
    """

    name: str
    folder: Path
    home: str
    train: Path | None
    dev: Path | None

    @property
    def trained_as(self) -> str:
        """The task whose systems are used for this task."""
        return "ner" if self.name == LOCALISATION else self.name

    @property
    def learned_from(self) -> list[Path]:
        """The training manifest, and the development manifest if there is one."""
        return [path for path in (self.train, self.dev) if path is not None] if self.train is not None else []

    def split(self, name: str) -> Path:
        """The manifest of a split.

        Raises:
            ConfigError: if it does not exist.
        """
        path = self.folder / f"{name}.jsonl"
        if not path.is_file():
            raise ConfigError(
                f"tasks: {self.folder} has no {path.name}, the evaluation set of {self.name}; prepare it or set split"
            )
        return path

    def tuned_on(self, split: str) -> Path | None:
        """The manifest to tune the offset of localisation on, which must not be the evaluation set."""
        return self.dev if self.name == LOCALISATION and split != "dev" else None

    def documents(self, manifest: Path) -> Path | None:
        """The manifest of passages beside a manifest of questions, for qa."""
        path = manifest.with_name(f"{manifest.stem}{DOCUMENTS}.jsonl")
        return path if self.name == "qa" and path.is_file() else None

    def passages(self, folder: Path) -> Path | None:
        """Write the passages of the training and development questions to one manifest in ``folder``, for qa."""
        parts = [part for manifest in self.learned_from if (part := self.documents(manifest)) is not None]
        rows = {row.id: row for part in parts for row in rebase(read_manifest(part), part.parent, folder)}
        if not rows:
            return None
        write_manifest(folder / f"{self.name}{DOCUMENTS}.jsonl", rows.values())
        return folder / f"{self.name}{DOCUMENTS}.jsonl"


def read_task_folders(text: str) -> list[TaskFolder]:
    """Parse ``TASK=FOLDER,TASK=FOLDER``.

    Raises:
        ConfigError: naming an unknown task, a duplicate one, or a folder without a training manifest.
    """
    tasks: dict[str, TaskFolder] = {}
    homes: dict[Path, str] = {}
    for part in listed(text):
        name, equals, given = part.partition("=")
        name, folder = name.strip().replace("_", "-"), Path(given.strip())
        if not equals or name not in COMPARED:
            raise ConfigError(f"{part!r}: give TASK=FOLDER with a task of {', '.join(COMPARED)}")
        if name in tasks:
            raise ConfigError(f"tasks: {name} is given twice; remove one")
        train = next((path for s in SPLITS_TO_TRAIN if (path := folder / f"{s}.jsonl").is_file()), None)
        if name == LOCALISATION:
            train = None
        elif train is None:
            raise ConfigError(
                f"{folder} has neither train.jsonl nor fine-tune.jsonl; write them with speechkit prepare"
            )
        dev = folder / "dev.jsonl"
        home = homes.setdefault(folder.resolve(), name)
        tasks[name] = TaskFolder(name, folder, home, train, dev if dev.is_file() else None)
    if not tasks:
        raise ConfigError("tasks is empty; set for example tasks=sentiment=data/voxceleb,ner=data/voxpopuli")
    if LOCALISATION in tasks and "ner" not in tasks:
        raise ConfigError("localisation uses the systems trained for ner; add ner=FOLDER to tasks")
    return list(tasks.values())


def check_manifests(tasks: Sequence[TaskFolder], split: str) -> None:
    """Validate all manifests before training starts.

    Raises:
        UserError: naming a missing split, or a row without its label.
    """
    for task in tasks:
        task.split(split)
        for manifest in task.learned_from:
            read_examples(task.name, manifest, max_seconds=float("inf"))


def training_digests(text: str) -> str:
    """Digests of the training and development manifests, without those used for evaluation only."""

    def manifests(task: TaskFolder) -> list[Path]:
        pairs = [(manifest, task.documents(manifest)) for manifest in task.learned_from]
        return [path for pair in pairs for path in pair if path is not None]

    return _digests([task for task in read_task_folders(text) if task.train is not None], manifests)


def all_digests(text: str) -> str:
    """Digests of all manifests in the tasks' folders."""
    return _digests(read_task_folders(text), lambda task: sorted(task.folder.glob("*.jsonl")))


def _digests(tasks: Sequence[TaskFolder], manifests: Callable[[TaskFolder], list[Path]]) -> str:
    return "; ".join(
        " ".join([task.name, task.home, *(f"{path.name} {digest_file(path)}" for path in manifests(task))])
        for task in tasks
    )
