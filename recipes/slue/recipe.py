"""Stages 1 to 3: splits of a corpus, training of a text model, and its sensitivity to recognition errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from speechkit.errors import ConfigError
from speechkit.pipeline import SHARED, Context, Interrupted, Output, Recipe, Resources, Stage, external, stage
from speechkit.runtime import item_seed
from speechkit.slue.systems.text_training import TextTrainingConfig

TextTask = Literal["ner", "intent", "qa-text"]
SPLITS = ("train", "dev", "test")


class CorpusConfig(msgspec.Struct, frozen=True):
    """The corpus file of the task: SLURP's jsonl for ner and intent, Spoken-SQuAD's JSON for qa-text.

    Sentences of SLURP, and whole articles of Spoken-SQuAD, go to train, dev and test in 7 : 1 : 2 by a hash.
    """

    source: Annotated[str | None, SHARED] = None
    task: Annotated[TextTask, SHARED] = "ner"


def corpus(context: Context) -> None:
    """Split the corpus into three parts without common texts."""
    from speechkit.data.corpora import corpora_module

    config = context.config
    if config.source is None:
        raise ConfigError("no corpus; give source=FILE: SLURP's jsonl for ner and intent, Spoken-SQuAD's for qa-text")
    path = Path(context.inputs["source"])
    parts: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in SPLITS}
    texts = corpora_module("slu_texts")
    for row in texts.squad_rows(path) if config.task == "qa-text" else texts.slurp_rows(path):
        # Questions about one passage share it, and passages of one article its names.
        part = parts[texts.split_of(row["article"] or row["context"] if config.task == "qa-text" else row["text"])]
        if row["id"] in part:
            context.drop(row["id"], "duplicate_id")
        else:
            part[row["id"]] = row
    for name, rows in parts.items():
        context.write(f"{name}.jsonl", rows.values())


class TrainConfig(msgspec.Struct, frozen=True):
    """Training of the text model; the weights are chosen on ``max_dev`` validation rows."""

    task: Annotated[TextTask, SHARED] = "ner"
    max_dev: int = 200
    text: TextTrainingConfig = TextTrainingConfig()


def train(context: Context) -> None:
    """Train the text model of the task, and keep the weights with the best validation score."""
    from speechkit.slue.systems.text_examples import read_text_examples
    from speechkit.slue.systems.text_training import train_text_model

    config = context.config
    train_rows, dev_rows = (read_text_examples(config.task, Path(context.inputs[name])) for name in ("train", "dev"))
    result = train_text_model(
        config.task,
        train_rows,
        sorted(dev_rows, key=lambda row: item_seed(context.seed, row.id))[: config.max_dev],
        config.text,
        context.scratch,
        device=context.device,
        should_stop=lambda: context.interrupted,
        log=context.log,
    )
    if not result.complete:
        raise Interrupted
    shutil.copytree(context.scratch / "model", context.output("model"), dirs_exist_ok=True)
    shutil.copyfile(context.scratch / "selection.json", context.output("selection.json"))


class SensitivityConfig(msgspec.Struct, frozen=True):
    """Text pairs to which the noise model is fitted, and noise levels.

    Attributes:
        pairs_reference: references, a file or folder in any format of `speechkit score`.
        pairs_heard: hypotheses of a recogniser, in any such format.
        levels: word error rates in percent, separated by commas.
        normalizer: normaliser of the pairs, of word errors and of noisy text.
        max_test: largest number of test rows; 0 for all.
        resamples: bootstrap resamples.
    """

    task: Annotated[TextTask, SHARED] = "ner"
    pairs_reference: str | None = None
    pairs_heard: str | None = None
    levels: str = "5,10,20,30,40,60"
    normalizer: str = "english"
    max_test: int = 0
    resamples: int = 2000


def analyse(context: Context) -> None:
    """Score the model on the test rows, without and with noise."""
    from speechkit.io.atomic import write_json
    from speechkit.metrics.sides import read_text_pairs
    from speechkit.report.sensitivity_page import render_sensitivity_page
    from speechkit.slue.fields import Options
    from speechkit.slue.metrics.measures import Resampling
    from speechkit.slue.rows import read_rows
    from speechkit.slue.sensitivity import sensitivity
    from speechkit.slue.systems.pipeline import cached_predictor

    config = context.config
    rows = read_rows(Path(context.inputs["test"]))
    if config.max_test:
        rows = sorted(rows, key=lambda row: item_seed(context.seed, row.id))[: config.max_test]
    result = sensitivity(
        config.task,
        rows,
        cached_predictor(config.task, str(context.inputs["model"]), rows, context.device),
        pairs=read_text_pairs(Path(config.pairs_reference), Path(config.pairs_heard)),
        fitted_on=Path(config.pairs_heard).name,
        levels=[float(level) / 100 for level in config.levels.split(",")],
        options=Options(tags="any"),
        normalizer=config.normalizer,
        resampling=Resampling(config.resamples, context.seed),
    )
    write_json(context.output("sensitivity.json"), result)
    render_sensitivity_page(context.output("report.html"), result)
    slope = result.slope.value
    if slope is not None:
        context.main_figure = f"{result.title}: {result.measure} changes by {slope:+.2f} for a point of WER"


def check(configs: Mapping[str, Any]) -> Iterator[str]:
    """What stage 3 would miss after the training."""
    config = configs.get("sensitivity")
    if config is not None and None in (config.pairs_reference, config.pairs_heard):
        yield "nothing to fit the noise on; give sensitivity.pairs_reference and sensitivity.pairs_heard"


recipe = Recipe(
    "slue",
    (
        Stage(
            number=1,
            name="corpus",
            run=corpus,
            inputs=(external("source"),),
            outputs=tuple(Output(f"{name}.jsonl") for name in SPLITS),
            config=CorpusConfig,
            drop_reasons=("duplicate_id",),
        ),
        Stage(
            number=2,
            name="train",
            run=train,
            inputs=(stage("corpus", "train.jsonl"), stage("corpus", "dev.jsonl")),
            outputs=(Output("model"), Output("selection.json")),
            config=TrainConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=3,
            name="sensitivity",
            run=analyse,
            inputs=(stage("corpus", "test.jsonl"), stage("train", "model")),
            outputs=(Output("sensitivity.json"), Output("report.html")),
            config=SensitivityConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
    ),
    description="Entities, intents or answers from text, and their scores against the word error rate.",
    check=check,
    next_command="speechkit slue predict TASK MANIFEST --model {exp}/02-train/current/model --out predictions.jsonl",
)
