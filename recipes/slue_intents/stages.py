"""The work of the stages; heavy libraries load when they run."""

from __future__ import annotations

import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.load import listed, safe
from speechkit.errors import UserError
from speechkit.pipeline import Context, Interrupted
from speechkit.runtime import item_seed
from speechkit.slue.metrics.slots import Command
from speechkit.slue.systems.examples import NO_VALUE, row_of, slot_fields

from .sound_groups import folds_of_groups, sound_groups, sound_print

if TYPE_CHECKING:
    from speechkit.encoders.store import FeatureStore
    from speechkit.slue.systems.system_spec import SystemConfig


class Item(msgspec.Struct, frozen=True):
    """A recording with its fields, the group that it belongs to and the fold that judges it."""

    id: str
    fields: dict[str, str]
    group: str
    fold: int


class Prediction(msgspec.Struct, frozen=True):
    """What a system that was trained on a share of the recordings says of one that it did not hear."""

    id: str
    system: str
    share: float
    recordings: int
    fields: dict[str, str]
    text: str | None = None


class Heard(msgspec.Struct, frozen=True):
    """What a recogniser heard."""

    id: str
    recognizer: str
    text: str


def prepare(context: Context) -> None:
    """Group the recordings and give each a fold."""
    from speechkit.slue.systems.batches import waveform_of

    manifest = Path(context.inputs["manifest"])
    rows = list(context.read("manifest"))
    fields = [slot_fields(row_of(row, f"{manifest}:{number}")) for number, row in enumerate(rows, 1)]
    if all(row.speaker for row in rows):
        groups = [str(row.speaker) for row in rows]
        context.say(f"{len(rows)} recordings of {len(set(groups))} speakers")
    else:
        import numpy as np

        prints = []
        for row in rows:
            prints.append(sound_print(waveform_of(row, manifest)))
            context.progress.update(len(prints), len(rows))
        groups = [f"sound{number}" for number in sound_groups(np.stack(prints), context.config.groups)]
        context.say(f"{len(rows)} recordings without speakers in {len(set(groups))} groups that sound alike")
    if len(set(groups)) < context.config.folds:
        raise UserError(f"{len(set(groups))} groups cannot make {context.config.folds} folds; give fewer folds")
    folds = folds_of_groups(groups, context.config.folds)
    context.write(
        "items.jsonl",
        (Item(row.id, f, g, n) for row, f, g, n in zip(rows, fields, groups, folds, strict=True)),
    )


def encode(context: Context) -> None:
    """All layers of every recording, once for each encoder."""
    from speechkit.encoders import load_encoder
    from speechkit.slue.systems.endtoend import cache_layers

    names = listed(context.config.encoders)
    for done, name in enumerate(names):
        encoder = load_encoder(name, device=context.device)
        cache_layers(context.output("layers") / safe(name), encoder, {"": Path(context.inputs["manifest"])})
        context.progress.update(done + 1, len(names))


def train_heads(context: Context) -> None:
    """A head for each encoder, share and fold; what it says of the fold."""
    from speechkit.encoders.store import FeatureStore
    from speechkit.slue.systems.system_spec import SystemConfig

    config = context.config
    data = Data(context)
    found: list[Prediction] = []
    jobs = [(n, s, f) for n in listed(config.encoders) for s in sorted(config.shares) for f in range(config.folds)]
    for done, (name, share, fold) in enumerate(jobs):
        cache = FeatureStore(Path(context.inputs["layers"]) / safe(name), "all")
        settings = SystemConfig(
            encoder=name,
            pooling=config.pooling,
            width=config.width,
            dropout=config.dropout,
            patience=config.patience,
            batch_seconds=config.batch_seconds,
            augment=config.augment,
            loop=msgspec.structs.replace(config.loop, seed=fold),
        )
        folder = context.scratch / f"{safe(name)}-{share:g}-{fold}"
        found += run_system(context, data, f"{Path(name).name}, frozen", settings, folder, share, fold, cache)
        if share == max(config.shares):
            kept = context.output("systems") / folder.name
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("work"), dirs_exist_ok=True)
        context.progress.update(done + 1, len(jobs))
    context.write("predictions.jsonl", found)


def fine_tune(context: Context) -> None:
    """The encoder trained along, beginning with the heads of `train_heads`."""
    from speechkit.slue.systems.system_spec import SystemConfig

    config = context.config
    data = Data(context)
    found: list[Prediction] = []
    for fold in range(min(config.folds_tuned, config.folds)):
        begun = sorted(Path(context.inputs["systems"]).glob(f"{safe(config.encoder)}-*-{fold}"))
        earlier = msgspec.json.decode((begun[-1] / "system.json").read_bytes())["config"] if begun else {}
        shape = {name: earlier[name] for name in ("pooling", "width", "dropout") if name in earlier}
        settings = SystemConfig(
            encoder=config.encoder,
            finetune=True,
            init=str(begun[-1]) if begun else None,
            encoder_rate=config.encoder_rate,
            patience=config.patience,
            batch_seconds=config.batch_seconds,
            augment=config.augment,
            loop=msgspec.structs.replace(config.loop, seed=fold),
            **shape,
        )
        folder = context.scratch / f"tuned-{fold}"
        name = f"{Path(config.encoder).name}, fine-tuned"
        found += run_system(context, data, name, settings, folder, 1.0, fold, None)
        context.progress.update(fold + 1, config.folds_tuned)
    context.write("predictions.jsonl", found)


class Data:
    """The recordings, their fields and folds."""

    def __init__(self, context: Context) -> None:
        self.manifest = Path(context.inputs["manifest"])
        self.rows = {row.id: row for row in read_manifest(self.manifest)}
        self.items: list[Item] = list(context.read("items"))

    def parts(self, fold: int, share: float) -> tuple[list[Item], list[Item]]:
        """A share of the recordings outside a fold, and the fold. A smaller share is a part of a larger one."""
        outside = sorted((i for i in self.items if i.fold != fold), key=lambda item: item_seed(0, item.id))
        return outside[: max(4, round(share * len(outside)))], [item for item in self.items if item.fold == fold]

    def absolute(self, item: Item) -> Utterance:
        """Its row, readable from any folder."""
        from speechkit.data.manifest import audio_path

        row = self.rows[item.id]
        return msgspec.structs.replace(row, audio_filepath=str(audio_path(self.manifest, row).resolve()))


def run_system(
    context: Context,
    data: Data,
    system: str,
    settings: SystemConfig,
    folder: Path,
    share: float,
    fold: int,
    cache: FeatureStore | None,
) -> list[Prediction]:
    """Train unless it was done before an interruption, and predict the fold."""
    import torch

    from speechkit.slue.systems.endtoend import load_system, train_system
    from speechkit.slue.systems.endtoend_prediction import class_prediction, states_of

    learned, judged = data.parts(fold, share)
    if not (folder / "system.json").is_file():
        manifest = context.scratch / f"train-{share:g}-{fold}.jsonl"
        write_manifest(manifest, [data.absolute(item) for item in learned])
        done = train_system(
            "slots",
            manifest,
            folder,
            settings,
            cache=cache,
            device=context.device,
            should_stop=lambda: context.interrupted,
            log=context.log,
        )
        if not done:
            raise Interrupted
    _, head, encoder = load_system(folder, context.device)
    found = []
    for item in judged:
        if cache is not None:
            states = torch.from_numpy(cache.layers(item.id))[None].to(context.device)
            frames = torch.tensor([states.shape[2]], device=context.device)
        else:
            states, frames = states_of(encoder, data.rows[item.id], data.manifest, context.device)
        with torch.no_grad():
            said = class_prediction("slots", head, states, frames)  # type: ignore[arg-type]
        fields = {**({"intent": said["pred_intent"]} if "pred_intent" in said else {}), **said["pred_slots"]}
        found.append(Prediction(item.id, system, share, len(learned), fields))
    right = sum(p.fields == i.fields for p, i in zip(found, judged, strict=True))
    context.say(f"{system}, {share:.0%} ({len(learned)} recordings), fold {fold}: {right}/{len(found)} commands right")
    return found


def pipelines(context: Context) -> None:
    """Recognise everything once; train the text classifier on each share and judge it on each fold."""
    from speechkit.runtime import choose_device

    config = context.config
    data = Data(context)
    texts: dict[str, dict[str, str]] = {}
    if all(data.rows[item.id].text for item in data.items):
        texts["oracle"] = {item.id: data.rows[item.id].text or "" for item in data.items}
    for name in listed(config.recognizers):
        texts[name] = recognized(context, data, name, choose_device(context.device))
    found: list[Prediction] = []
    for name, heard in texts.items():
        shown = "transcripts" if name == "oracle" else shown_recognizer(name)
        for share in sorted(config.shares):
            right = 0
            for fold in range(config.folds):
                learned, judged = data.parts(fold, share)
                said = classify(
                    [heard[i.id] for i in learned],
                    [i.fields for i in learned],
                    [heard[i.id] for i in judged],
                    config.regularization,
                )
                right += sum(fields == item.fields for fields, item in zip(said, judged, strict=True))
                found += [
                    Prediction(item.id, f"{shown} + text classifier", share, len(learned), fields, heard[item.id])
                    for item, fields in zip(judged, said, strict=True)
                ]
            context.say(f"{shown} + text classifier, {share:.0%}: {right}/{len(data.items)} commands right")
    context.write("predictions.jsonl", found)
    context.write("texts.jsonl", (Heard(i, name, text) for name, of in texts.items() for i, text in of.items()))


def recognized(context: Context, data: Data, name: str, device: str) -> dict[str, str]:
    """What a recogniser hears in every recording; kept over interruptions."""
    from speechkit.asr import load_recognizer
    from speechkit.data.manifest import audio_path

    path = context.scratch / f"{safe(name)}.jsonl"
    heard = {h.id: h.text for h in _lines(path)}
    recognizer = None
    for done, item in enumerate(data.items):
        if item.id in heard:
            continue
        if context.interrupted:
            raise Interrupted
        recognizer = recognizer or load_recognizer(name, context.config.lang, device)
        row = data.rows[item.id]
        cut = (round(row.offset * 16_000), round((row.offset + row.duration) * 16_000))
        heard[item.id] = " ".join(recognizer.recognize(str(audio_path(data.manifest, row)), [cut]).text.split())
        with path.open("ab") as file:
            file.write(msgspec.json.encode(Heard(item.id, name, heard[item.id])) + b"\n")
        context.progress.update(done + 1, len(data.items))
    return heard


def _lines(path: Path) -> Iterator[Heard]:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield msgspec.json.decode(line, type=Heard)
        except msgspec.DecodeError:  # the torn last line of an interrupted run
            return


def classify(
    texts: Sequence[str], fields: Sequence[dict[str, str]], judged: Sequence[str], regularization: float
) -> list[dict[str, str]]:
    """Logistic regression over words, pairs of words and pieces of words: one classifier a field, "none" a class."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    features: Any = make_union(
        TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"\S+"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    plain = [re.sub(r"[^\w' ]+", " ", text.lower()) or "silence" for text in texts]
    learned = features.fit_transform(plain)
    asked = features.transform([re.sub(r"[^\w' ]+", " ", text.lower()) for text in judged])
    answers: list[dict[str, str]] = [{} for _ in judged]
    for name in sorted({name for each in fields for name in each}):
        classes = [each.get(name, NO_VALUE) for each in fields]
        if len(set(classes)) == 1:
            said = classes[:1] * len(judged)
        else:
            model = LogisticRegression(C=regularization, max_iter=300)
            with warnings.catch_warnings():  # many values for few recordings are no mistake here
                warnings.filterwarnings("ignore", "The number of unique classes")
                said = model.fit(learned, classes).predict(asked).tolist()
        for answer, value in zip(answers, said, strict=True):
            if value != NO_VALUE:
                answer[name] = value
    return answers


def majority(fields: Sequence[dict[str, str]]) -> dict[str, str]:
    """The commonest value of each field: what can be had without listening."""
    found = {}
    for name in sorted({name for each in fields for name in each}):
        value = Counter(each.get(name, NO_VALUE) for each in fields).most_common(1)[0][0]
        if value != NO_VALUE:
            found[name] = value
    return found


def command_of(fields: dict[str, str]) -> Command:
    """Fields as scoring takes them."""
    return Command(fields.get("intent"), {name: value for name, value in fields.items() if name != "intent"})


def shown_recognizer(name: str) -> str:
    """A recogniser's name without the folder that it lies in."""
    kind, _, rest = name.rpartition(":")
    return f"{kind}:{Path(rest).name}" if kind else Path(name).name
