"""The work of stages 1 and 2; heavy libraries load when they run."""

from __future__ import annotations

from pathlib import Path

import msgspec

from recipes.slue_intents.stages import listed, safe
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import Context, Interrupted

TRAINABLE = ("sentiment", "intent", "dialog-acts", "slots", "ner", "qa", "summarisation")
SPLITS_TO_TRAIN = ("train", "fine-tune")
PREDICTIONS = "predictions.jsonl"


class TaskData(msgspec.Struct, frozen=True):
    """The manifests of a task; ``documents`` of qa by split."""

    name: str
    folder: Path
    train: Path
    dev: Path | None

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
        path = manifest.with_name(f"{manifest.stem}-documents.jsonl")
        return path if self.name == "qa" and path.is_file() else None


def read_tasks(text: str) -> list[TaskData]:
    """The tasks of ``TASK=FOLDER,TASK=FOLDER``.

    Raises:
        ConfigError: naming what is no task, stands twice, or holds no manifest to learn from.
    """
    found: dict[str, TaskData] = {}
    for part in listed(text):
        name, equals, place = part.partition("=")
        name, folder = name.strip().replace("_", "-"), Path(place.strip())
        if not equals or name not in TRAINABLE:
            raise ConfigError(f"tasks: {part!r}: give TASK=FOLDER with a task of {', '.join(TRAINABLE)}")
        if name in found:
            raise ConfigError(f"tasks: {name} stands twice; give it once")
        train = next((path for s in SPLITS_TO_TRAIN if (path := folder / f"{s}.jsonl").is_file()), None)
        if train is None:
            raise ConfigError(
                f"tasks: {folder} holds neither train.jsonl nor fine-tune.jsonl; speechkit prepare writes them"
            )
        dev = folder / "dev.jsonl"
        found[name] = TaskData(name, folder, train, dev if dev.is_file() else None)
    if not found:
        raise ConfigError("tasks is empty; give for example tasks=sentiment=data/voxceleb,ner=data/voxpopuli")
    return list(found.values())


def task_digests(text: str) -> str:
    """What the folders of the tasks hold."""
    from speechkit.io.hashing import digest_file

    return "; ".join(
        " ".join([task.name, *(f"{path.name} {digest_file(path)}" for path in sorted(task.folder.glob("*.jsonl")))])
        for task in read_tasks(text)
    )


class SystemName(msgspec.Struct, frozen=True):
    """A task, an encoder, and whether the encoder is trained along: the folder, and the name in tables."""

    task: str
    encoder: str
    finetuned: bool

    @property
    def shown(self) -> str:
        """As tables name it."""
        return f"{Path(self.encoder).name}, {'fine-tuned' if self.finetuned else 'frozen'}"

    @property
    def folder(self) -> str:
        """Below the folder of systems."""
        return f"{self.task}/{safe(self.encoder)}{'-finetuned' if self.finetuned else ''}"


def train_systems(context: Context) -> None:
    """A system for each task and encoder; those that are done survive an interruption."""
    from speechkit.slue.systems.endtoend import train_system

    config = context.config
    encoders, tuned = listed(config.encoders), listed(config.finetuned)
    if strange := sorted(set(tuned) - set(encoders)):
        raise ConfigError(f"systems.finetuned: {strange[0]} is none of encoders; name it there, too")
    tasks = read_tasks(config.tasks)
    jobs = [SystemName(task.name, encoder, False) for task in tasks for encoder in encoders]
    jobs += [SystemName(task.name, encoder, True) for task in tasks for encoder in tuned]
    by_name = {task.name: task for task in tasks}
    for done, name in enumerate(jobs):
        task, folder = by_name[name.task], context.scratch / name.folder
        if not (folder / "system.json").is_file():
            context.say(f"{name.task}: {name.shown}")
            finished = train_system(
                name.task,
                task.train,
                folder,
                msgspec.structs.replace(config.head, encoder=name.encoder, finetune=name.finetuned),
                dev_manifest=task.dev,
                documents=task.documents(task.train),
                device=context.device,
                should_stop=lambda: context.interrupted,
                log=context.log,
            )
            if not finished:
                raise Interrupted
        _keep(folder, context.output("systems") / name.folder, name)
        context.progress.update(done + 1, len(jobs))


def _keep(folder: Path, kept: Path, name: SystemName) -> None:
    import shutil

    from speechkit.io.atomic import write_json

    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("work"))
    write_json(kept / "name.json", name)


def predict(context: Context) -> None:
    """What every system says of the split to be judged by."""
    from speechkit.data.manifest import write_jsonl
    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    tasks = {task.name: task for task in read_tasks(context.config.tasks)}
    systems = read_names(Path(context.inputs["systems"]))
    for done, name in enumerate(systems):
        if name.task not in tasks:
            raise UserError(f"{name.task}: systems were trained for it, but tasks does not name it; run stage 1 again")
        task, part = tasks[name.task], context.scratch / name.folder / PREDICTIONS
        manifest = task.split(context.config.split)
        if not part.is_file():
            rows = predict_with_system(
                name.task,
                manifest,
                Path(context.inputs["systems"]) / name.folder,
                device=context.device,
                documents=task.documents(manifest),
            )
            write_jsonl(part, rows)
        if context.interrupted:
            raise Interrupted
        _keep(part.parent, context.output("predictions") / name.folder, name)
        context.progress.update(done + 1, len(systems))


def read_names(folder: Path) -> list[SystemName]:
    """The systems whose names lie below a folder, in order of task, encoder and training."""
    found = [msgspec.json.decode(path.read_bytes(), type=SystemName) for path in folder.rglob("name.json")]
    return sorted(found, key=lambda name: (name.task, name.encoder, name.finetuned))
