"""The recipe: the same heads on several encoders, one table with intervals, published results beside it."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from recipes.slue_encoders.compare import EncoderComparison, said_of_pairs
from recipes.slue_encoders.recipe import recipe
from recipes.slue_encoders.stages import read_tasks
from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.errors import ConfigError
from speechkit.pipeline import outputs, run_recipe
from speechkit.slue.published import PUBLISHED, published_for
from speechkit.slue.tasks import TASKS

SETTINGS = [
    "systems.head.width=48",
    "systems.head.batch_seconds=20",
    "systems.head.loop.steps=60",
    "systems.head.loop.learning_rates=[5e-3]",
    "systems.head.loop.warmup_steps=5",
    "systems.head.loop.average_decay=0.9",
    "systems.head.loop.evaluate_every=20",
    "compare.resamples=100",
]


@pytest.fixture(scope="module")
def corpus(orders, tmp_path_factory):
    """The orders as a corpus with two splits, readable from another folder."""
    folder = tmp_path_factory.mktemp("corpora") / "orders"
    for name, path in zip(("fine-tune", "test"), orders, strict=True):
        rows = [
            msgspec.structs.replace(row, audio_filepath=str(path.parent / row.audio_filepath))
            for row in read_manifest(path)
        ]
        write_manifest(folder / f"{name}.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def done(corpus, tiny_encoder, tmp_path_factory):
    exp = tmp_path_factory.mktemp("exp")
    given = [
        f"tasks=sentiment={corpus},slots={corpus}",
        f"encoders=log-mel,{tiny_encoder}",
        f"systems.finetuned={tiny_encoder}",
        *SETTINGS,
    ]
    assert run_recipe(recipe, exp, given, device="cpu", quiet=True) == 0
    return exp


def test_every_task_has_every_encoder_with_an_interval_and_the_best_is_bold(done, tiny_encoder):
    folder = outputs(recipe, done, "compare")
    found = msgspec.json.decode((folder / "scores.json").read_bytes(), type=EncoderComparison)
    names = {"log-mel, frozen", f"{tiny_encoder.name}, frozen", f"{tiny_encoder.name}, fine-tuned"}
    assert set(found.tasks) == {"sentiment", "slots"}
    for comparison in found.tasks.values():
        assert {each.name for each in comparison.systems} == names
        assert all(each.score.measures[comparison.main].interval for each in comparison.systems)
        assert len(comparison.pairs) == 3
    table = (folder / "table.md").read_text()
    first = table.split("\n\n")[0].splitlines()
    assert first[0].count("orders test") == 2
    assert {line.split("|")[1].strip() for line in first[2:]} == names
    assert "**" in first[2] + first[3] + first[4]
    assert "| HuBERT-B | end to end | macro F1 | 49.4 | slue-voxceleb test | SLUE leaderboard v0.2 |" in table
    assert "Published for slots" not in table


def test_the_page_asks_nothing_of_the_network_and_names_the_published_rows_as_reference(done):
    page = (outputs(recipe, done, "compare") / "report.html").read_text()
    assert not re.search(r'(src|href)="http', page)
    assert "for reference only" in page
    assert page.count("<table") == 2


def test_the_heads_learn_what_log_mel_shows(done):
    found = json.loads((outputs(recipe, done, "compare") / "scores.json").read_bytes())
    scores = {each["name"]: each["score"] for each in found["tasks"]["sentiment"]["systems"]}
    assert scores["log-mel, frozen"]["measures"]["macro_f1"]["value"] > 0.6


def test_which_differences_hold_is_said(done):
    found = msgspec.json.decode((outputs(recipe, done, "compare") / "scores.json").read_bytes(), type=EncoderComparison)
    comparison = found.tasks["sentiment"]
    level = [msgspec.structs.replace(pair, holm_p=0.5) for pair in comparison.pairs]
    assert "0 of 3 pairs differ" in said_of_pairs(msgspec.structs.replace(comparison, pairs=level))
    apart = [msgspec.structs.replace(pair, holm_p=0.001) for pair in comparison.pairs]
    assert "All 3 pairs differ" in said_of_pairs(msgspec.structs.replace(comparison, pairs=apart))


def test_tasks_that_cannot_be_used_are_named(corpus, tmp_path):
    assert [task.name for task in read_tasks(f"dialog_acts={corpus}, ner={corpus}")] == ["dialog-acts", "ner"]
    with pytest.raises(ConfigError, match="give TASK=FOLDER with a task of sentiment"):
        read_tasks(f"weather={corpus}")
    with pytest.raises(ConfigError, match="stands twice"):
        read_tasks(f"ner={corpus},ner={corpus}")
    with pytest.raises(ConfigError, match=r"neither train\.jsonl nor fine-tune\.jsonl"):
        read_tasks(f"ner={tmp_path}")
    with pytest.raises(ConfigError, match="tasks is empty"):
        read_tasks("")
    with pytest.raises(ConfigError, match=r"holds no blind\.jsonl"):
        read_tasks(f"ner={corpus}")[0].split("blind")


def test_published_rows_are_of_tasks_that_exist_and_in_percent():
    assert {row.task for row in PUBLISHED} <= set(TASKS)
    assert all(0 < row.value < 100 for row in PUBLISHED)
    assert len({(row.task, row.system, row.way) for row in PUBLISHED}) == len(PUBLISHED)
    best = published_for("ner")
    assert [row.value for row in best] == sorted((row.value for row in best), reverse=True)
    assert not published_for("slots")
