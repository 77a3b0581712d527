"""The tasks to compare on: folders of manifests as ``speechkit prepare`` writes them, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from speechkit.encoders.load import listed
from speechkit.errors import ConfigError
from speechkit.slue.systems.examples import LEARNED

LOCALISATION = "localisation"
COMPARED = (*LEARNED, LOCALISATION)
SPLITS_TO_TRAIN = ("train", "fine-tune")
DOCUMENTS = "-documents"


class TaskData(msgspec.Struct, frozen=True):
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

    def split(self, name: str) -> Path:
        """The manifest of a split.

        Raises:
            ConfigError: if it is not there.
        """
        path = self.folder / f"{name}.jsonl"
        if not path.is_file():
            raise ConfigError(f"tasks: {self.folder} holds no {path.name}, by which {self.name} is to be judged")
        return path

    def documents(self, manifest: Path) -> Path | None:
        """The passages beside a manifest of questions."""
        path = manifest.with_name(f"{manifest.stem}{DOCUMENTS}.jsonl")
        return path if self.name == "qa" and path.is_file() else None

    def passages(self, folder: Path) -> Path | None:
        """The passages of the questions to learn from and of those of dev, as one manifest in ``folder``; for qa."""
        from speechkit.data.manifest import audio_path, read_manifest, write_manifest

        parts = [self.documents(manifest) for manifest in (self.train, self.dev) if manifest is not None]
        rows = {
            row.id: msgspec.structs.replace(row, audio_filepath=str(audio_path(part, row).resolve()))
            for part in parts
            if part is not None
            for row in read_manifest(part)
        }
        if not rows:
            return None
        write_manifest(folder / f"{self.name}{DOCUMENTS}.jsonl", rows.values())
        return folder / f"{self.name}{DOCUMENTS}.jsonl"


def read_tasks(text: str) -> list[TaskData]:
    """The tasks of ``TASK=FOLDER,TASK=FOLDER``.

    Raises:
        ConfigError: naming what is no task, stands twice, or holds no manifest to learn from.
    """
    found: dict[str, TaskData] = {}
    homes: dict[Path, str] = {}
    for part in listed(text):
        name, equals, place = part.partition("=")
        name, folder = name.strip().replace("_", "-"), Path(place.strip())
        if not equals or name not in COMPARED:
            raise ConfigError(f"{part!r}: give TASK=FOLDER with a task of {', '.join(COMPARED)}")
        if name in found:
            raise ConfigError(f"{name} stands twice; give it once")
        train = next((path for s in SPLITS_TO_TRAIN if (path := folder / f"{s}.jsonl").is_file()), None)
        if name == LOCALISATION:
            train = None
        elif train is None:
            raise ConfigError(f"{folder} holds neither train.jsonl nor fine-tune.jsonl; speechkit prepare writes them")
        dev = folder / "dev.jsonl"
        home = homes.setdefault(folder.resolve(), name)
        found[name] = TaskData(name, folder, home, train, dev if dev.is_file() else None)
    if not found:
        raise ConfigError("tasks is empty; give for example tasks=sentiment=data/voxceleb,ner=data/voxpopuli")
    if LOCALISATION in found and "ner" not in found:
        raise ConfigError("localisation reads the frames of systems for ner; name ner=FOLDER as well")
    return list(found.values())


def training_digests(text: str) -> str:
    """What the manifests to learn from hold: those that judge are not among them."""
    tasks = [task for task in read_tasks(text) if task.train is not None]
    return _digests(
        tasks,
        lambda task: [
            path
            for manifest in (task.train, task.dev)
            if manifest is not None
            for path in (manifest, task.documents(manifest))
            if path is not None
        ],
    )


def all_digests(text: str) -> str:
    """What all manifests of the tasks' folders hold."""
    return _digests(read_tasks(text), lambda task: sorted(task.folder.glob("*.jsonl")))


def _digests(tasks: Sequence[TaskData], manifests: Callable[[TaskData], list[Path]]) -> str:
    from speechkit.io.hashing import digest_file

    return "; ".join(
        " ".join([task.name, task.home, *(f"{path.name} {digest_file(path)}" for path in manifests(task))])
        for task in tasks
    )
