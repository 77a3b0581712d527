"""Stages 1 to 6: folds, features, heads, fine-tuning, pipelines and report."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import msgspec

from speechkit.augment.waveforms import NO_AUGMENTATION, AugmentConfig
from speechkit.data.manifest import read_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digests, listed, load_encoder, safe
from speechkit.encoders.store import FeatureStore
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Output,
    Recipe,
    Resources,
    Stage,
    external,
    model,
    stage,
)
from speechkit.slue.learning_curves import FoldItem, FoldPrediction, count_correct, folds_of
from speechkit.slue.systems.pipeline import RecognizedText
from speechkit.slue.systems.system_spec import Pooling, SystemConfig, read_spec
from speechkit.training import TrainingConfig

ENCODERS = "log-mel,mfcc,embedded"
SHARES = (0.1, 0.25, 0.5, 1.0)


class FoldsConfig(msgspec.Struct, frozen=True):
    """Cross-validation folds.

    A speaker's recordings are in one fold. If the corpus names no speakers, recordings are clustered into ``groups`` by
    voice and microphone, and those of a group are in one fold.
    """

    manifest: Annotated[str | None, SHARED] = None
    folds: Annotated[int, SHARED, msgspec.Meta(ge=2, le=20)] = 3
    groups: Annotated[int, msgspec.Meta(ge=2)] = 60


def prepare(context: Context) -> None:
    """Group the recordings and assign folds."""
    from speechkit.slue.sound_groups import folds_of_groups, group_recordings
    from speechkit.slue.systems.examples import row_of, slot_fields

    manifest = Path(context.inputs["manifest"])
    rows = list(context.read("manifest"))
    fields = [slot_fields(row_of(row, f"{manifest}:{number}")) for number, row in enumerate(rows, 1)]
    groups, message = group_recordings(rows, manifest, context.config.groups, context.progress.update)
    context.say(message)
    folds = folds_of_groups(groups, context.config.folds)
    assigned = zip(rows, fields, groups, folds, strict=True)
    context.write("items.jsonl", (FoldItem(row.id, filled, group, fold) for row, filled, group, fold in assigned))


class FeaturesConfig(msgspec.Struct, frozen=True):
    """The encoders to compare: names, folders or hub ids, separated by commas."""

    manifest: Annotated[str | None, SHARED] = None
    encoders: Annotated[str, SHARED] = ENCODERS


def encode(context: Context) -> None:
    """Compute all layers of every recording, once for each encoder."""
    from speechkit.slue.systems.endtoend import cache_layers

    names = listed(context.config.encoders)
    for done, name in enumerate(names):
        encoder = load_encoder(name, device=context.device)
        cache_layers(context.output("layers") / safe(name), encoder, {"": Path(context.inputs["manifest"])})
        context.progress.update(done + 1, len(names))


class EndToEndConfig(msgspec.Struct, frozen=True):
    """Heads on frozen encoders; ``shares`` of the training recordings are the points of the learning curve."""

    manifest: Annotated[str | None, SHARED] = None
    encoders: Annotated[str, SHARED] = ENCODERS
    shares: Annotated[tuple[float, ...], SHARED] = SHARES
    pooling: Pooling = "peak"
    width: int = 128
    dropout: float = 0.3
    patience: int = 4
    batch_seconds: float = 80.0
    augment: AugmentConfig = msgspec.structs.replace(NO_AUGMENTATION, time_mask_every=100, time_width=10)
    loop: TrainingConfig = TrainingConfig(
        steps=400,
        learning_rates=(2e-3,),
        warmup_steps=30,
        weight_decay=0.05,
        average_decay=0.98,
        evaluate_every=40,
        save_every=200,
        log_every=40,
    )


def train_heads(context: Context) -> None:
    """Train a head for each encoder, share and fold, and predict the fold."""
    from speechkit.slue.systems.fold_systems import predict_fold

    config, items = context.config, list(context.read("items"))
    predictions: list[FoldPrediction] = []
    jobs = list(product(listed(config.encoders), sorted(config.shares), folds_of(items)))
    for done, (name, share, fold) in enumerate(jobs):
        folder = context.scratch / f"{safe(name)}-{share:g}-{fold}"
        layers = FeatureStore(Path(context.inputs["layers"]) / safe(name), "all")
        settings, shown = _settings(config, fold, encoder=name), f"{Path(name).name}, frozen"
        predictions += predict_fold(context, shown, settings, items, folder, share=share, fold=fold, layers=layers)
        if share == max(config.shares):
            kept = context.output("systems") / folder.name
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("work"), dirs_exist_ok=True)
        context.progress.update(done + 1, len(jobs))
    context.write("predictions.jsonl", predictions)


class FineTuneConfig(msgspec.Struct, frozen=True):
    """Fine-tuning of an encoder, starting from the heads of the previous stage; ``folds_tuned`` 0 skips it."""

    manifest: Annotated[str | None, SHARED] = None
    encoder: str = "embedded"
    folds_tuned: int = 3
    batch_seconds: float = 60.0
    encoder_rate: float = 0.1
    patience: int = 3
    augment: AugmentConfig = msgspec.structs.replace(NO_AUGMENTATION, speed=0.5, gain_db=(-20.0, 0.0))
    loop: TrainingConfig = TrainingConfig(
        steps=150,
        learning_rates=(1e-3,),
        warmup_steps=15,
        weight_decay=0.05,
        average_decay=0.95,
        evaluate_every=25,
        save_every=50,
        log_every=25,
    )


def fine_tune(context: Context) -> None:
    """Fine-tune the encoder, starting from the heads of `train_heads`."""
    from speechkit.slue.systems.fold_systems import predict_fold

    config, items = context.config, list(context.read("items"))
    predictions: list[FoldPrediction] = []
    for fold in folds_of(items)[: config.folds_tuned]:
        settings = _settings(config, fold, finetune=True)
        if heads := sorted(Path(context.inputs["systems"]).glob(f"{safe(config.encoder)}-*-{fold}")):
            head = read_spec(heads[-1]).config
            shape = {"pooling": head.pooling, "width": head.width, "dropout": head.dropout}
            settings = msgspec.structs.replace(settings, init=str(heads[-1]), **shape)
        name, folder = f"{Path(config.encoder).name}, fine-tuned", context.scratch / f"tuned-{fold}"
        predictions += predict_fold(context, name, settings, items, folder, share=1.0, fold=fold)
        context.progress.update(fold + 1, config.folds_tuned)
    context.write("predictions.jsonl", predictions)


def _settings(config: EndToEndConfig | FineTuneConfig, fold: int, **options: Any) -> SystemConfig:
    """Settings of a system: the fields of the stage's settings with the same names, and ``options``."""
    shared = {name: getattr(config, name) for name in SystemConfig.__struct_fields__ if hasattr(config, name)}
    return SystemConfig(**{**shared, "loop": msgspec.structs.replace(config.loop, seed=fold), **options})


class PipelineConfig(msgspec.Struct, frozen=True):
    """Recognisers, separated by commas, each followed by a text classifier with ``regularization``.

    If the manifest has texts, there is also the system ``oracle``: the classifier on transcripts.
    """

    manifest: Annotated[str | None, SHARED] = None
    recognizers: str = "embedded"
    lang: str = "en"
    shares: Annotated[tuple[float, ...], SHARED] = SHARES
    regularization: float = 10.0


def pipelines(context: Context) -> None:
    """Recognise all recordings once; train the text classifier on each share and predict each fold."""
    from speechkit.slue.systems.fold_systems import classify_folds, recognize_all
    from speechkit.slue.systems.pipeline import shown_recognizer

    config, manifest = context.config, Path(context.inputs["manifest"])
    items: list[FoldItem] = list(context.read("items"))
    rows = {row.id: row for row in read_manifest(manifest)}
    utterances = [rows[item.id] for item in items]
    texts: dict[str, list[RecognizedText]] = {}
    if all(row.text for row in utterances):
        texts["oracle"] = [RecognizedText(row.id, "oracle", row.text or "") for row in utterances]
    for name in listed(config.recognizers):
        texts[name] = recognize_all(context, name, utterances, manifest, config.lang)
    predictions: list[FoldPrediction] = []
    for name, lines in texts.items():
        for share in sorted(config.shares):
            shown = "transcripts" if name == "oracle" else shown_recognizer(name)
            system, text_of = f"{shown} + text classifier", {line.id: line.text for line in lines}
            predicted = classify_folds(system, items, text_of, share=share, regularization=config.regularization)
            context.say(f"{system}, {share:.0%}: {count_correct(items, predicted)}/{len(items)} commands right")
            predictions += predicted
    context.write("predictions.jsonl", predictions)
    context.write("texts.jsonl", (line for lines in texts.values() for line in lines))


class ReportConfig(msgspec.Struct, frozen=True):
    """Intervals and title of the report."""

    confidence: float = 0.95
    resamples: int = 2000
    title: Annotated[str, NEUTRAL] = "Spoken commands"


def report(context: Context) -> None:
    """Score all predictions, with intervals from resampled groups."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.slue_intents_page import markdown, write_intents_page
    from speechkit.slue.learning_curves import learning_curves

    config = context.config
    predictions = (row for name in ("endtoend", "finetune", "pipelines") for row in context.read(name))
    curves = learning_curves(
        list(context.read("items")), predictions, confidence=config.confidence, resamples=config.resamples
    )
    write_json(context.output("scores.json"), curves)
    text = markdown(curves)
    write_text(context.output("table.md"), text)
    context.say(text.rstrip())
    context.main_figure = curves.best_summary()
    write_intents_page(context.output("report.html"), curves, title=config.title, confidence=config.confidence)


MANIFEST = external("manifest", schema=Utterance)
ITEMS = stage("prepare", "items.jsonl")
FOLDED = Output("items.jsonl", schema=FoldItem, min_records=4)
PREDICTIONS = Output("predictions.jsonl", schema=FoldPrediction)
GPU = Resources(cpus=2, gpus=1)
recipe = Recipe(
    "slue_intents",
    (
        Stage(number=1, name="prepare", run=prepare, inputs=(MANIFEST,), outputs=(FOLDED,), config=FoldsConfig),
        Stage(
            number=2,
            name="features",
            run=encode,
            inputs=(MANIFEST, model("encoders", digest=encoder_digests)),
            outputs=(Output("layers"),),
            config=FeaturesConfig,
            resources=GPU,
        ),
        Stage(
            number=3,
            name="endtoend",
            run=train_heads,
            inputs=(MANIFEST, ITEMS, stage("features", "layers")),
            outputs=(PREDICTIONS, Output("systems")),
            config=EndToEndConfig,
            resources=GPU,
        ),
        Stage(
            number=4,
            name="finetune",
            run=fine_tune,
            inputs=(MANIFEST, ITEMS, stage("endtoend", "systems"), model("encoder", digest=encoder_digests)),
            outputs=(Output("predictions.jsonl", schema=FoldPrediction, min_records=0),),
            config=FineTuneConfig,
            resources=GPU,
        ),
        Stage(
            number=5,
            name="pipelines",
            run=pipelines,
            inputs=(MANIFEST, ITEMS),
            # Without a recogniser only recordings with a text have one to be understood.
            outputs=(
                Output("predictions.jsonl", schema=FoldPrediction, min_records=0),
                Output("texts.jsonl", schema=RecognizedText, min_records=0),
            ),
            config=PipelineConfig,
            resources=GPU,
        ),
        Stage(
            number=6,
            name="report",
            run=report,
            inputs=(
                ITEMS,
                *(stage(name, "predictions.jsonl", name=name) for name in ("endtoend", "finetune", "pipelines")),
            ),
            outputs=(Output("scores.json"), Output("report.html"), Output("table.md")),
            config=ReportConfig,
        ),
    ),
    description="Understand spoken commands: intents and slots, end to end and by pipelines, with learning curves.",
)
