"""Text models learn, stop, go on and are refused what they cannot use."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from speechkit.cli.slue import app
from speechkit.errors import ConfigError, UserError
from speechkit.slue.fields import Options
from speechkit.slue.scoring import score_files
from speechkit.slue.systems.pipeline import predict_texts
from speechkit.slue.systems.small_text_model import SmallTextModel
from speechkit.slue.systems.text_examples import read_text_examples
from speechkit.slue.systems.text_training import TextTrainingConfig, train_text_model

PLACES, VERBS = ["rome", "paris", "oslo", "new york"], ["meet", "eat", "sing", "walk"]
SMALL = SmallTextModel(layers=1, width=32, heads=2, vocabulary=200, positions=64, dropout=0.0)
FAST = TextTrainingConfig(
    small=SMALL, steps=120, batch_size=8, learning_rate=5e-3, warmup_steps=5, evaluate_every=40, average_decay=0.9
)


def rows(task):
    found = []
    for place in PLACES:
        for verb in VERBS:
            text, at = f"we {verb} in {place} today", len(f"we {verb} in ")
            row = {"id": f"{place}-{verb}", "text": text}
            if task == "ner":
                row["ner"] = [["place_name", at, len(place)]]
            elif task == "qa-text":
                answers = {"text": [place.title()], "answer_start": [at]}
                row = {"id": row["id"], "question": "where", "context": text, "answers": answers}
            elif task == "summarisation":
                row["summary"] = f"{verb} in {place}"
            else:
                row["intent"] = verb
            found.append(row)
    return found


@pytest.fixture
def write(tmp_path):
    def call(name, content):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return path

    return call


@pytest.mark.parametrize("task", ["ner", "intent", "qa-text", "summarisation"])
def test_each_text_model_learns_its_task_from_nothing_and_predicts_from_its_folder(task, write, tmp_path):
    path = write("rows.jsonl", rows(task))
    examples = read_text_examples(task, path)
    result = train_text_model(task, examples, examples, FAST, tmp_path / "exp", log=lambda line: None)
    assert result.complete
    predicted = list(predict_texts(task, path, str(tmp_path / "exp" / "model")))
    scored = score_files(task, path, [str(write("hyp.jsonl", predicted))], options=Options(tags="any"))
    assert scored.systems[0].score.measures[result.measure].value == pytest.approx(result.best)
    assert result.best > 0.9


def test_label_sets_are_learnt_too(write, tmp_path):
    acts = {"meet": ["thanks"], "eat": ["thanks", "other"], "sing": [], "walk": ["other"]}
    labelled = [{"id": r["id"], "text": r["text"], "dialog_acts": acts[r["intent"]]} for r in rows("intent")]
    path = write("rows.jsonl", labelled)
    examples = read_text_examples("dialog-acts", path)
    train_text_model("dialog-acts", examples, examples, FAST, tmp_path / "exp", log=lambda line: None)
    predicted = {
        r["id"]: r["pred_dialog_acts"] for r in predict_texts("dialog-acts", path, str(tmp_path / "exp/model"))
    }
    assert sum(sorted(predicted[r["id"]]) == sorted(r["dialog_acts"]) for r in labelled) >= 14


def test_an_interrupted_training_ends_with_the_same_weights(write, tmp_path):
    examples = read_text_examples("intent", write("rows.jsonl", rows("intent")))
    train_text_model("intent", examples, examples, FAST, tmp_path / "whole", log=lambda line: None)
    asked = iter(range(100))
    stopped = train_text_model(
        "intent",
        examples,
        examples,
        FAST,
        tmp_path / "parts",
        should_stop=lambda: next(asked) == 29,
        log=lambda line: None,
    )
    assert not stopped.complete
    lines = []
    result = train_text_model("intent", examples, examples, FAST, tmp_path / "parts", log=lines.append)
    assert result.complete
    assert "resuming from step-00000030" in lines[0]
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert all((one[name] == two[name]).all() for name in one)
    again = train_text_model("intent", examples, examples, FAST, tmp_path / "parts", log=lines.append)
    assert again.scores == result.scores
    assert "is complete" in lines[-1]


def test_training_ends_when_the_score_does_not_rise_and_the_best_weights_stay(write, tmp_path):
    examples = read_text_examples("intent", write("rows.jsonl", rows("intent")))
    config = TextTrainingConfig(small=SMALL, steps=400, batch_size=8, learning_rate=5e-3, evaluate_every=20, patience=2)
    result = train_text_model("intent", examples, examples, config, tmp_path / "exp", log=lambda line: None)
    assert result.complete
    assert len(result.scores) < 20
    assert result.scores.index(max(result.scores)) == len(result.scores) - 3


def test_a_model_in_a_folder_is_tuned_to_other_labels(write, tmp_path):
    examples = read_text_examples("intent", write("rows.jsonl", rows("intent")))
    train_text_model("intent", examples, examples, FAST, tmp_path / "first", log=lambda line: None)
    two = write("two.jsonl", [{**r, "intent": "far" if "york" in r["id"] else "near"} for r in rows("intent")])
    config = TextTrainingConfig(
        init=str(tmp_path / "first/model"), steps=120, batch_size=8, learning_rate=5e-3, evaluate_every=40
    )
    tuned = train_text_model(
        "intent", *[read_text_examples("intent", two)] * 2, config, tmp_path / "two", log=lambda line: None
    )
    assert tuned.best > 0.9
    assert {r["pred_intent"] for r in predict_texts("intent", two, str(tmp_path / "two/model"))} == {"far", "near"}


def test_a_model_without_a_head_gets_a_new_one_but_no_new_layer(write, tmp_path):
    examples = read_text_examples("qa-text", write("rows.jsonl", rows("qa-text")))
    train_text_model(
        "intent", *[read_text_examples("intent", write("i.jsonl", rows("intent")))] * 2, FAST, tmp_path / "a"
    )
    body = TextTrainingConfig(init=str(tmp_path / "a/model"), steps=2, batch_size=8, evaluate_every=2)
    assert train_text_model("qa-text", examples, examples, body, tmp_path / "reader").complete
    path = tmp_path / "a/model/model.safetensors"
    save_file({n: v for n, v in load_file(path).items() if ".layer.0.attention." not in n}, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"model:.*weights lack.*layer\.0\.attention\..*7 more"):
        train_text_model("qa-text", examples, examples, body, tmp_path / "torn")


def test_labels_of_the_development_rows_that_were_never_trained_are_named(write, tmp_path):
    path, other = write("rows.jsonl", rows("intent")), write("dev.jsonl", [{"id": "x", "text": "fly", "intent": "fly"}])
    options = [
        "--out",
        str(tmp_path / "exp"),
        "--steps",
        "2",
        "--evaluate-every",
        "1",
        "--width",
        "32",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, ["train-text", "intent", str(path), str(other), *options], catch_exceptions=False)
    assert "has labels that" in done.output
    assert "fly" in done.output
    assert (tmp_path / "exp/model/model.safetensors").is_file()


BAD = {
    "one class": ("intent", [{"id": "a", "text": "x", "intent": "y"}], "have 1 label"),
    "no entity": ("ner", [{"id": "a", "text": "x", "ner": None}], "no training row has an entity"),
    "no answer": (
        "qa-text",
        [{"id": "a", "question": "q", "context": "x", "answers": ["z"]}],
        "no training passage contains its answer",
    ),
    "no text": ("intent", [{"id": "a", "intent": "y"}], "rows.jsonl:1: a has no text"),
    "no place": ("ner", [{"id": "a", "text": "x", "ner": [["T", "x"]]}], "has no position in the text"),
    "outside": ("ner", [{"id": "a", "text": "x", "ner": [["T", 3, 4]]}], "is outside the text"),
    "reversed": ("ner", [{"id": "a", "text": "x y", "ner": [["T", 2, -2]]}], "is outside the text"),
    "overlap": ("ner", [{"id": "a", "text": "x y", "ner": [["T", 0, 3], ["T", 2, 1]]}], "overlaps the entity before"),
    "task": ("localisation", [{"id": "a"}], "no text model can be trained"),
    "no summary": ("summarisation", [{"id": "a", "text": "x"}], "a has no summary (title, abstract, summary)"),
    "empty": ("intent", [], "the split is empty"),
    "left out": ("sentiment", [{"id": "a", "text": "x", "sentiment": "<mixed>"}], "the split is empty"),
}


def learn(task, path, folder):
    examples = read_text_examples(task, path)
    train_text_model(task, examples, examples, FAST, folder, log=lambda line: None)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_learnt_from_is_one_sentence(name, write, tmp_path):
    task, content, why = BAD[name]
    path = write("rows.jsonl", content)
    with pytest.raises(UserError) as error:
        learn(task, path, tmp_path / "exp")
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_another_training_and_impossible_settings_are_refused(write, tmp_path):
    examples = read_text_examples("intent", write("rows.jsonl", rows("intent")))
    short = TextTrainingConfig(small=SMALL, steps=1, evaluate_every=1)
    train_text_model("intent", examples, examples, short, tmp_path / "exp", log=lambda line: None)
    with pytest.raises(UserError, match=r"training run with another task, settings or rows"):
        train_text_model("intent", examples, examples, FAST, tmp_path / "exp", log=lambda line: None)
    with pytest.raises(ConfigError, match=r"steps.*0.*must.*least 1.*max_pieces.*3"):
        TextTrainingConfig(steps=0, max_pieces=3)
    wrong = TextTrainingConfig(init=str(tmp_path))
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        train_text_model("intent", examples, examples, wrong, tmp_path / "other", log=lambda line: None)
