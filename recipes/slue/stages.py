"""The work of the stages; heavy libraries load when they run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from speechkit.errors import ConfigError
from speechkit.pipeline import Context, Interrupted
from speechkit.runtime import item_seed

from .corpora import slurp_rows, split_of, squad_rows

SPLITS = ("train", "dev", "test")


def corpus(context: Context) -> None:
    """Rows of the corpus in three parts that share no text."""
    config = context.config
    if config.source is None:
        raise ConfigError("no corpus; give source=FILE: SLURP's jsonl for ner and intent, Spoken-SQuAD's for qa-text")
    path = Path(context.inputs["source"])
    parts: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in SPLITS}
    for row in squad_rows(path) if config.task == "qa-text" else slurp_rows(path):
        # Questions about one passage share it, and passages of one article its names.
        part = parts[split_of(row["article"] or row["context"] if config.task == "qa-text" else row["text"])]
        if row["id"] in part:
            context.drop(row["id"], "duplicate_id")
        else:
            part[row["id"]] = row
    for name, rows in parts.items():
        context.write(f"{name}.jsonl", rows.values())


def train(context: Context) -> None:
    """The text model of the task, with the weights that are best on the development rows."""
    from speechkit.slue.systems.text_examples import read_examples
    from speechkit.slue.systems.text_training import train_text_model

    config = context.config
    known, chosen_by = (read_examples(config.task, Path(context.inputs[name])) for name in ("train", "dev"))
    order = sorted(chosen_by, key=lambda row: item_seed(context.seed, row.id))
    result = train_text_model(
        config.task,
        known,
        order[: config.max_dev],
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


def analyse(context: Context) -> None:
    """Score on the test rows, with the text as written and under noise."""
    from speechkit.io.atomic import write_json
    from speechkit.metrics.sides import read_sides
    from speechkit.report.sensitivity_page import render_sensitivity_page
    from speechkit.slue.fields.options import Options
    from speechkit.slue.metrics.measures import Resampling
    from speechkit.slue.rows import read_rows
    from speechkit.slue.sensitivity import sensitivity
    from speechkit.slue.systems.text_understanding import understand_with

    config = context.config
    if config.pairs_reference is None or config.pairs_heard is None:
        raise ConfigError("nothing to fit the noise on; give sensitivity.pairs_reference and sensitivity.pairs_heard")
    rows = read_rows(Path(context.inputs["test"]))
    if config.max_test:
        rows = sorted(rows, key=lambda row: item_seed(context.seed, row.id))[: config.max_test]
    sides = read_sides(Path(config.pairs_reference), [f"heard={config.pairs_heard}"])
    heard = sides.hypotheses["heard"]
    found = sensitivity(
        config.task,
        rows,
        understand_with(config.task, str(context.inputs["model"]), rows, context.device),
        pairs={t.id: (t.text or "", heard[t.id]) for t in sides.references},
        fitted_on=Path(config.pairs_heard).name,
        levels=[float(level) / 100 for level in config.levels.split(",")],
        options=Options(tags="any"),
        normalizer=config.normalizer,
        resampling=Resampling(config.resamples, context.seed),
    )
    write_json(context.output("sensitivity.json"), found)
    render_sensitivity_page(context.output("report.html"), found)
