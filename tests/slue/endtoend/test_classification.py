"""Class heads: they learn, write what scoring reads, and resume as if they had never stopped."""

from __future__ import annotations

import json

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from speechkit.data.manifest import read_manifest, write_jsonl
from speechkit.errors import UserError
from speechkit.slue.scoring import score_files
from speechkit.slue.systems.endtoend import load_system, train_system
from speechkit.slue.systems.endtoend_prediction import predict_with_system
from speechkit.slue.systems.examples import label_sets, read_examples
from speechkit.slue.systems.heads import ClassHead, Subsampling, composition


def quiet(_):
    """Log nothing."""


def losses(folder, name="loss"):
    lines = [json.loads(line) for line in (folder / "work/metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


@pytest.mark.parametrize("pooling", ["mean", "attention", "peak"])
def test_every_pooling_learns_intents_of_unseen_utterances(orders, quick, tmp_path, pooling):
    train, test = orders
    assert train_system("intent", train, tmp_path, quick(pooling=pooling, patience=0, steps=60), log=quiet)
    found = losses(tmp_path)
    assert found[-1] < 0.5 * found[0]
    write_jsonl(tmp_path / "hyp.jsonl", predict_with_system("intent", test, tmp_path))
    score = score_files("intent", test, [str(tmp_path / "hyp.jsonl")], resamples=0).systems[0].score
    assert score.measures["accuracy"].value > 0.8


def test_slots_and_intent_are_predicted_together_and_a_slot_may_stay_empty(orders, quick, tmp_path):
    train, test = orders
    assert train_system("slots", train, tmp_path, quick(pooling="peak", steps=80), log=quiet)
    right = total = empty = 0
    for row, said in zip(read_manifest(test), predict_with_system("slots", test, tmp_path), strict=True):
        assert said["id"] == row.id
        assert set(said) == {"id", "pred_intent", "pred_slots"}
        assert "none" not in said["pred_slots"].values()
        empty += "size" not in said["pred_slots"]
        right += said["pred_slots"].get("size") == row.custom["slots"].get("size")
        total += 1
    assert right / total > 0.7
    assert empty


def test_dialog_acts_are_sets_of_labels_that_scoring_reads(orders, quick, tmp_path):
    train, test = orders
    assert train_system("dialog-acts", train, tmp_path, quick(steps=80), log=quiet)
    found = losses(tmp_path)
    assert found[-1] < 0.5 * found[0]
    write_jsonl(tmp_path / "hyp.jsonl", predict_with_system("dialog-acts", test, tmp_path))
    score = score_files("dialog-acts", test, [str(tmp_path / "hyp.jsonl")], resamples=0).systems[0].score
    assert score.classes["thanks"].f1 > 0.7


def test_an_interrupted_training_goes_on_to_the_same_weights(orders, quick, tmp_path):
    train, _ = orders
    config = quick(steps=40, patience=0)
    assert train_system("sentiment", train, tmp_path / "whole", config, log=quiet)
    asked = iter(range(1000))
    done = train_system(
        "sentiment", train, tmp_path / "halves", config, should_stop=lambda: next(asked) == 25, log=quiet
    )
    assert not done
    assert not (tmp_path / "halves/system.json").exists()
    assert train_system("sentiment", train, tmp_path / "halves", config, log=quiet)
    whole, halves = (load_file(tmp_path / name / "head.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_fine_tuning_changes_the_transformer_and_not_the_convolutions(orders, quick, tiny_encoder, tmp_path):
    train, test = orders
    config = quick(steps=12, encoder=str(tiny_encoder), finetune=True, encoder_rate=0.5)
    assert train_system("intent", train, tmp_path, config, log=quiet)
    before, after = (load_file(f / "model.safetensors") for f in (tiny_encoder, tmp_path / "encoder"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("encoder.layers.1") for name in changed)
    assert not any(name.startswith("feature_extractor") for name in changed)
    assert all("pred_intent" in row for row in predict_with_system("intent", test, tmp_path))


def test_padding_changes_nothing_that_a_head_says():
    torch.manual_seed(0)
    head = ClassHead(2, 16, {"a": ["x", "y z"]}, pooling="peak", width=8).eval()
    short, long = torch.randn(1, 2, 21, 16), torch.randn(1, 2, 40, 16)
    padded = torch.cat([short, torch.full((1, 2, 19, 16), 7.0)], dim=2)
    together = head.logits(torch.cat([padded, long]), torch.tensor([21, 40]))[0]
    alone = head.logits(short, torch.tensor([21]))[0]
    assert torch.allclose(together[0], alone[0], atol=1e-5)
    assert Subsampling(16, 8, 0.0)(torch.zeros(1, 21, 16), torch.tensor([21]))[1].item() == 6


def test_classes_with_words_in_common_share_parts():
    table = composition(["none", "soy milk", "a bit of soy milk"])
    assert torch.allclose(table.norm(dim=1), torch.ones(3))
    assert float(table[1] @ table[2]) > 0.4
    assert float(table[0] @ table[1]) == 0


def test_a_system_is_refused_for_another_task_and_for_an_encoder_with_other_weights(orders, quick, tmp_path):
    train, test = orders
    train_system("intent", train, tmp_path, quick(steps=2), log=quiet)
    with pytest.raises(UserError, match=r"trained.*intent, not.*sentiment"):
        list(predict_with_system("sentiment", test, tmp_path))
    stored = msgspec.json.decode((tmp_path / "system.json").read_bytes())
    stored["encoder"]["weights"] = "others"
    (tmp_path / "system.json").write_bytes(msgspec.json.encode(stored))
    with pytest.raises(UserError, match="weights is 'others'"):
        load_system(tmp_path)
    with pytest.raises(UserError, match="not an end-to-end system"):
        load_system(tmp_path / "work")


def test_missing_labels_and_a_single_class_are_told(speaker):
    row, _ = speaker.say("plain", ["tea"])
    manifest = speaker.write("plain", [row])
    with pytest.raises(UserError, match="plain has no label"):
        read_examples("intent", manifest)
    row, _ = speaker.say("one", ["tea"], slots={"drink": "tea"})
    one = read_examples("slots", speaker.write("one", [row]))
    with pytest.raises(UserError, match="only one class"):
        label_sets("slots", one.items)
    with pytest.raises(UserError, match=r"longer than 0\.1 s"):
        read_examples("slots", speaker.folder / "one.jsonl", max_seconds=0.1)


def test_a_development_class_that_training_lacks_costs_nothing_and_is_never_right(orders, quick, tmp_path):
    torch.manual_seed(0)
    head = ClassHead(1, 8, {"a": ["x", "y"], "b": ["x", "y"]}, width=8).eval()
    states, frames = torch.randn(2, 1, 20, 8), torch.tensor([20, 20])
    unseen, values = head.loss(states, frames, {"targets": torch.tensor([[-100, 0], [-100, 1]])})
    logits = head.logits(states, frames)[1]
    assert unseen.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).item() / 2)
    assert values["exact"] == 0
    train, _ = orders
    few = list(read_manifest(train))
    lacking = tmp_path / "lacking.jsonl"
    write_jsonl(
        lacking,
        [
            msgspec.structs.replace(r, audio_filepath=str(train.parent / r.audio_filepath))
            for r in few
            if r.custom["slots"]["drink"] != "cola"
        ],
    )
    said = []
    assert train_system("slots", lacking, tmp_path / "s", quick(steps=2), dev_manifest=train, log=said.append)
    assert any("development examples have a class without training examples" in line for line in said)
