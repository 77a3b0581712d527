"""The work of stage 3: what the systems say of the split by which they are judged."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.encoders.load import safe
from speechkit.errors import UserError
from speechkit.pipeline import Context, Interrupted

from .stages import DEV, RECORD, System, read_systems
from .tasks import LOCALISATION, TaskData, read_tasks

if TYPE_CHECKING:
    from speechkit.encoders.store import FeatureStore
    from speechkit.slue.metrics.localisation import OffsetChoice

PREDICTIONS = "predictions.jsonl"
WITH, WITHOUT = "with the silence around them", "without the silence around them"


def predict(context: Context) -> None:
    """What every system says; a frozen encoder hears the audio of a folder once, whatever is asked of it."""
    tasks = {task.name: task for task in read_tasks(context.config.tasks)}
    jobs = systems_to_judge(tasks, read_systems(Path(context.inputs["systems"])))
    heard: Path | None = None
    for done, system in enumerate(jobs):
        task, kept = tasks[system.task], context.scratch / system.folder
        if not (kept / RECORD).is_file():
            layers = None if system.finetuned else context.scratch / "layers" / safe(system.encoder) / task.home
            if heard is not None and heard != layers:
                shutil.rmtree(heard)
            heard = layers
            cache = None if layers is None else judged_layers(context, system.encoder, tasks, task.home, layers)
            judge(context, task, system, cache, kept)
        if context.interrupted:
            raise Interrupted
        shutil.copytree(kept, context.output("predictions") / system.folder)
        context.progress.update(done + 1, len(jobs))


def systems_to_judge(tasks: Mapping[str, TaskData], systems: Sequence[System]) -> list[System]:
    """The systems of every task, in an order in which one store of layers after the other is needed.

    Raises:
        UserError: if systems were trained for a task that is not given now.
    """
    found = []
    for system in systems:
        if system.task not in tasks:
            raise UserError(f"{system.task}: systems were trained for it; name it in tasks, or run stage 2 again")
        answered = [task.name for task in tasks.values() if task.learned_as == system.task]
        found += [msgspec.structs.replace(system, task=name) for name in answered]
    return sorted(found, key=lambda system: (system.order, tasks[system.task].home, system.task))


def judged_layers(
    context: Context, encoder: str, tasks: Mapping[str, TaskData], home: str, folder: Path
) -> FeatureStore:
    """The layers of all that is judged in one folder of manifests, computed unless they are there."""
    from speechkit.encoders import load_encoder
    from speechkit.slue.systems.endtoend import cache_layers

    manifests: dict[str, Path] = {}
    for task in tasks.values():
        if task.home == home:
            manifest = task.split(context.config.split)
            documents, dev = task.documents(manifest), tuned_on(task, context.config.split)
            manifests |= {"": manifest}
            manifests |= {"document/": documents} if documents is not None else {}
            manifests |= {DEV: dev} if dev is not None else {}
    return cache_layers(folder, load_encoder(encoder, device=context.device), manifests)


def tuned_on(task: TaskData, split: str) -> Path | None:
    """The manifest that chooses the offset of localisation, which must not be the one that judges."""
    return task.dev if task.name == LOCALISATION and split != "dev" else None


def judge(context: Context, task: TaskData, system: System, cache: FeatureStore | None, kept: Path) -> None:
    """Write the predictions of a system, and behind them its record."""
    from speechkit.data.manifest import write_jsonl
    from speechkit.io.atomic import write_json
    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    trained = Path(context.inputs["systems"]) / msgspec.structs.replace(system, task=task.learned_as).folder
    manifest = task.split(context.config.split)
    mended: Counter[str] = Counter()
    chosen = tuned(context, task, trained, cache)
    rows = predict_with_system(
        task.name,
        manifest,
        trained,
        device=context.device,
        documents=task.documents(manifest),
        include_blank=chosen is not None and chosen.variant == WITH,
        offset=0.0 if chosen is None else chosen.offset,
        mended=mended,
        cache=cache,
    )
    write_jsonl(kept / PREDICTIONS, rows)
    said = None if chosen is None else f"{chosen.variant}, {chosen.offset:+.2f} s, as was best on dev"
    write_json(
        kept / RECORD, msgspec.structs.replace(system, spans=said, mended={kind: n for kind, n in mended.items() if n})
    )


def tuned(context: Context, task: TaskData, trained: Path, cache: FeatureStore | None) -> OffsetChoice | None:
    """The offset and the treatment of silence that are best for localisation on dev; None where nothing is tuned."""
    from speechkit.slue.fields.localised import gold_localised, predicted_localised
    from speechkit.slue.fields.options import Options
    from speechkit.slue.metrics.localisation import tune_offset
    from speechkit.slue.rows import Row, read_rows
    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    dev = tuned_on(task, context.config.split)
    if dev is None:
        return None
    gold = {row.id: gold_localised(row, Options()) for row in read_rows(dev)}
    variants = {
        name: {
            row["id"]: predicted_localised(Row(row["id"], str(dev), row), Options())
            for row in predict_with_system(
                task.name,
                dev,
                trained,
                device=context.device,
                include_blank=name == WITH,
                cache=cache,
                prefix="" if cache is None else DEV,
            )
        }
        for name in (WITHOUT, WITH)
    }
    return tune_offset(
        {name: words for name, (words, _) in gold.items() if words},
        variants,
        {name: spans for name, (_, spans) in gold.items()},
        compat=context.config.compat,
    )
