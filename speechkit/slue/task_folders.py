"""The tasks to compare on: folders of manifests as ``speechkit prepare`` writes them, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from speechkit.data.manifest import read_manifest, rebase, write_manifest
from speechkit.encoders.load import listed
from speechkit.errors import ConfigError
from speechkit.io.hashing import digest_file
from speechkit.slue.systems.examples import LEARNED, read_examples

LOCALISATION = "localisation"
COMPARED = (*LEARNED, LOCALISATION)
SPLITS_TO_TRAIN = ("train", "fine-tune")
DOCUMENTS = "-documents"


class TaskFolder(msgspec.Struct, frozen=True):
    """The manifests of a task. ``home`` is the first task with the same folder: they share the layers of its audio.

    ``train`` is None for localisation alone, whose spans are those of the systems for ner.
    """

    name: str
    folder: Path
    home: str
    train: Path | None
    dev: Path | None

    @property
    def learned_as(self) -> str:
        """The task whose systems answer this one."""
        return "ner" if self.name == LOCALISATION else self.name

    @property
    def learned_from(self) -> list[Path]:
        """The manifests to learn from, and to say when to stop."""
        return [path for path in (self.train, self.dev) if path is not None] if self.train is not None else []

    def split(self, name: str) -> Path:
        """The manifest of a split.

        Raises:
            ConfigError: if it is not there.
        """
        path = self.folder / f"{name}.jsonl"
        if not path.is_file():
            raise ConfigError(f"tasks: {self.folder} holds no {path.name}, by which {self.name} is to be judged")
        return path

    def tuned_on(self, split: str) -> Path | None:
        """The manifest that chooses the offset of localisation, which must not be the one that judges."""
        return self.dev if self.name == LOCALISATION and split != "dev" else None

    def documents(self, manifest: Path) -> Path | None:
        """The passages beside a manifest of questions."""
        path = manifest.with_name(f"{manifest.stem}{DOCUMENTS}.jsonl")
        return path if self.name == "qa" and path.is_file() else None

    def passages(self, folder: Path) -> Path | None:
        """The passages of the questions to learn from and of those of dev, as one manifest in ``folder``; for qa."""
        parts = [part for manifest in self.learned_from if (part := self.documents(manifest)) is not None]
        rows = {row.id: row for part in parts for row in rebase(read_manifest(part), part.parent, folder)}
        if not rows:
            return None
        write_manifest(folder / f"{self.name}{DOCUMENTS}.jsonl", rows.values())
        return folder / f"{self.name}{DOCUMENTS}.jsonl"


def read_task_folders(text: str) -> list[TaskFolder]:
    """The tasks of ``TASK=FOLDER,TASK=FOLDER``.

    Raises:
        ConfigError: naming what is no task, stands twice, or holds no manifest to learn from.
    """
    tasks: dict[str, TaskFolder] = {}
    homes: dict[Path, str] = {}
    for part in listed(text):
        name, equals, given = part.partition("=")
        name, folder = name.strip().replace("_", "-"), Path(given.strip())
        if not equals or name not in COMPARED:
            raise ConfigError(f"{part!r}: give TASK=FOLDER with a task of {', '.join(COMPARED)}")
        if name in tasks:
            raise ConfigError(f"{name} stands twice; give it once")
        train = next((path for s in SPLITS_TO_TRAIN if (path := folder / f"{s}.jsonl").is_file()), None)
        if name == LOCALISATION:
            train = None
        elif train is None:
            raise ConfigError(f"{folder} holds neither train.jsonl nor fine-tune.jsonl; speechkit prepare writes them")
        dev = folder / "dev.jsonl"
        home = homes.setdefault(folder.resolve(), name)
        tasks[name] = TaskFolder(name, folder, home, train, dev if dev.is_file() else None)
    if not tasks:
        raise ConfigError("tasks is empty; give for example tasks=sentiment=data/voxceleb,ner=data/voxpopuli")
    if LOCALISATION in tasks and "ner" not in tasks:
        raise ConfigError("localisation reads the frames of systems for ner; name ner=FOLDER as well")
    return list(tasks.values())


def check_manifests(tasks: Sequence[TaskFolder], split: str) -> None:
    """Find out before hours of work what would end them: a split that is not there, a row without its label.

    Raises:
        UserError: naming it.
    """
    for task in tasks:
        task.split(split)
        for manifest in task.learned_from:
            read_examples(task.name, manifest, max_seconds=float("inf"))


def training_digests(text: str) -> str:
    """What the manifests to learn from hold: those that judge are not among them."""

    def manifests(task: TaskFolder) -> list[Path]:
        pairs = [(manifest, task.documents(manifest)) for manifest in task.learned_from]
        return [path for pair in pairs for path in pair if path is not None]

    return _digests([task for task in read_task_folders(text) if task.train is not None], manifests)


def all_digests(text: str) -> str:
    """What all manifests of the tasks' folders hold."""
    return _digests(read_task_folders(text), lambda task: sorted(task.folder.glob("*.jsonl")))


def _digests(tasks: Sequence[TaskFolder], manifests: Callable[[TaskFolder], list[Path]]) -> str:
    return "; ".join(
        " ".join([task.name, task.home, *(f"{path.name} {digest_file(path)}" for path in manifests(task))])
        for task in tasks
    )
