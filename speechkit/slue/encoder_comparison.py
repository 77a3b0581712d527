"""Systems of several encoders compared on several tasks: which there are, what they learned from, and their scores."""

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
WITH, WITHOUT = "with the silence around them", "without the silence around them"


class ComparedSystem(msgspec.Struct, frozen=True):
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

    def counted(self, task: TaskFolder, max_seconds: float) -> ComparedSystem:
        """The system with the number of its examples, and of the utterances that are none by the reason."""
        left_out: Counter[str] = Counter()
        learned = 0
        for manifest in task.learned_from:
            examples = read_examples(task.name, manifest, max_seconds=max_seconds)
            left_out.update({f"{manifest.stem}, {reason}": count for reason, count in examples.left_out.items()})
            learned += len(examples.items) if manifest == task.train else 0
        return msgspec.structs.replace(self, learned=learned, left_out=dict(left_out))


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
    systems: list[ComparedSystem]
    published: list[Published]


class EncoderComparison(msgspec.Struct, frozen=True):
    """What ``scores.json`` holds."""

    tasks: dict[str, TaskComparison]
    format: int = 1


class _PreparedSplit(msgspec.Struct, frozen=True):
    split: str


class _PreparedCorpus(msgspec.Struct, frozen=True):
    """What is read of ``summary.json``."""

    corpus: str
    splits: list[_PreparedSplit]


def shown_names(encoders: Sequence[str]) -> dict[str, str]:
    """Encoders as tables name them: without their folders, where that tells them apart.

    Raises:
        ConfigError: if there is none, or one stands twice.
    """
    if not encoders:
        raise ConfigError("encoders is empty; give for example encoders=log-mel,embedded")
    if repeated := [name for name, count in Counter(encoders).items() if count > 1]:
        raise ConfigError(f"encoders: {repeated[0]} stands twice; give it once")
    short = Counter(Path(name).name for name in encoders)
    # What stands before an equals sign names a system where scores are made.
    return {name: (Path(name).name if short[Path(name).name] == 1 else name).replace("=", "-") for name in encoders}


def systems_to_train(tasks: Sequence[str], encoders: Sequence[str], tuned: Sequence[str]) -> list[ComparedSystem]:
    """Every task with every encoder frozen, and with those that are trained along.

    Raises:
        ConfigError: if an encoder to be trained along is not among the encoders.
    """
    if strange := sorted(set(tuned) - set(encoders)):
        raise ConfigError(f"systems.finetuned: {strange[0]} is none of encoders; name it there, too")
    shown = shown_names(encoders)
    kinds = [(name, False) for name in encoders] + [(name, True) for name in tuned]
    return [
        ComparedSystem(task, name, along, f"{shown[name]}, {'fine-tuned' if along else 'frozen'}", order)
        for task in tasks
        for order, (name, along) in enumerate(kinds)
    ]


def systems_to_judge(tasks: Mapping[str, TaskFolder], systems: Sequence[ComparedSystem]) -> list[ComparedSystem]:
    """The systems of every task, in an order in which one store of layers after the other is needed.

    Raises:
        UserError: if systems were trained for a task that is not given now.
    """
    judged = []
    for system in systems:
        if system.task not in tasks:
            raise UserError(f"{system.task}: systems were trained for it; name it in tasks, or run stage 2 again")
        answered = [task.name for task in tasks.values() if task.learned_as == system.task]
        judged += [msgspec.structs.replace(system, task=name) for name in answered]
    return sorted(judged, key=lambda system: (system.order, tasks[system.task].home, system.task))


def read_systems(folder: Path) -> list[ComparedSystem]:
    """The systems whose records lie below a folder, in the order of the encoders."""
    systems = [msgspec.json.decode(path.read_bytes(), type=ComparedSystem) for path in folder.rglob(RECORD)]
    return sorted(systems, key=lambda system: (system.task, system.order))


def judge(
    task: TaskFolder,
    system: ComparedSystem,
    trained: Path,
    kept: Path,
    *,
    split: str,
    compat: bool,
    device: str,
    layers: FeatureStore | None,
) -> None:
    """Write into ``kept`` what a system says of a split, and behind it the system's record.

    ``layers`` hold the utterances of the split, those of dev behind `DEV`, and passages behind `DOCUMENT`; None where
    the encoder was trained along.
    """
    from speechkit.data.manifest import write_jsonl
    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    manifest = task.split(split)
    dev = task.tuned_on(split)
    chosen = None if dev is None else tuned(dev, trained, compat=compat, device=device, layers=layers)
    mended: Counter[str] = Counter()
    rows = predict_with_system(
        task.name,
        manifest,
        trained,
        device=device,
        documents=task.documents(manifest),
        include_blank=chosen is not None and chosen.variant == WITH,
        offset=0.0 if chosen is None else chosen.offset,
        mended=mended,
        cache=layers,
    )
    write_jsonl(kept / PREDICTIONS, rows)
    spans = None if chosen is None else f"{chosen.variant}, {chosen.offset:+.2f} s, as was best on dev"
    repairs = {kind: count for kind, count in mended.items() if count}
    write_json(kept / RECORD, msgspec.structs.replace(system, spans=spans, mended=repairs))


def tuned(dev: Path, trained: Path, *, compat: bool, device: str, layers: FeatureStore | None) -> OffsetChoice:
    """The offset and the treatment of silence that are best for localisation on a development manifest."""
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
                include_blank=variant == WITH,
                cache=layers,
                prefix="" if layers is None else DEV,
            )
        }
        for variant in (WITHOUT, WITH)
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
    """The systems of one task scored over the same draws, from what they said below the folder ``predictions``."""
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
    return TaskComparison(scores, judged_by(reference), own, published_for(task.name))


def judged_by(reference: Path) -> JudgedBy:
    """The corpus and split of a manifest, by the ``summary.json`` that ``speechkit prepare`` writes beside it."""
    split, summary = reference.stem, reference.with_name("summary.json")
    try:
        corpus = msgspec.json.decode(summary.read_bytes(), type=_PreparedCorpus)
    except (OSError, msgspec.MsgspecError):
        return JudgedBy(reference.resolve().parent.name, split, prepared=False)
    return JudgedBy(corpus.corpus, split, prepared=any(each.split == split for each in corpus.splits))


def best_of(scores: SlueComparison) -> str | None:
    """The system of the highest main measure, of equals the first; None where none has a value."""
    values = {each.name: each.score.value for each in scores.systems if each.score.value is not None}
    return max(values, key=lambda name: values[name]) if values else None


def telling_pairs(scores: SlueComparison) -> list[PairScore]:
    """The differences from the first system and from the best one."""
    anchors = {scores.systems[0].name, best_of(scores)}
    return [pair for pair in scores.pairs if anchors & {pair.first, pair.second}]
