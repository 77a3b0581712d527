"""The recipe: groups stay in one fold, every system is judged on what it did not hear, and the page shows it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from speechkit.asr.hypothesis import Hypothesis
from speechkit.cli.main import call
from speechkit.data.manifest import read_jsonl, write_jsonl
from speechkit.data.records import Utterance
from speechkit.encoders.load import safe
from speechkit.errors import UserError
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.report.slue_intents_page import write_intents_page
from speechkit.slue.learning_curves import (
    FoldItem,
    FoldPrediction,
    LearningCurves,
    count_correct,
    most_frequent_values,
    split_at_fold,
)
from speechkit.slue.metrics.slots import Command, score_commands
from speechkit.slue.sound_groups import acoustic_profile, cluster_profiles, folds_of_groups, group_recordings
from speechkit.slue.systems.fold_systems import classify
from speechkit.slue.systems.pipeline import recognized_texts

recipe = recipe_module("slue_intents").recipe

TINY = Path(__file__).parents[3] / "recipes/slue_intents/conf/tiny.yaml"


@pytest.fixture(scope="module")
def run(orders, tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    settings = [f"manifest={orders[0]}", f"encoders=log-mel,{tiny_encoder}", f"finetune.encoder={tiny_encoder}"]
    assert run_recipe(recipe, folder, settings, config_files=[TINY], device="cpu", quiet=True) == 0
    return {stage.name: outputs(recipe, folder, stage.name) for stage in recipe.stages}


@pytest.mark.slow
def test_all_six_stages_run_and_every_recording_is_judged_by_a_fold_that_did_not_learn_from_its_group(run):
    found = run
    items = {item.id: item for item in read_jsonl(found["prepare"] / "items.jsonl", FoldItem)}
    folds: dict[str, set[int]] = {}
    for item in items.values():
        folds.setdefault(item.group, set()).add(item.fold)
    assert all(len(each) == 1 for each in folds.values())
    said = list(read_jsonl(found["endtoend"] / "predictions.jsonl", FoldPrediction))
    for system in {each.system for each in said}:
        for share in (0.5, 1.0):
            assert sorted(p.id for p in said if (p.system, p.share) == (system, share)) == sorted(items)


@pytest.mark.slow
def test_the_report_holds_each_system_its_curve_and_the_top_line(run, tmp_path):
    found = run
    scores = msgspec.json.decode((found["report"] / "scores.json").read_bytes(), type=LearningCurves)
    systems = {point.system for point in scores.points}
    assert {"no listening", "log-mel, frozen", "transcripts + text classifier"} <= systems
    assert any("fine-tuned" in system for system in systems)
    full = {p.system: p.measures["command_accuracy"] for p in scores.points if p.share == 1.0}
    assert full["transcripts + text classifier"].value > full["no listening"].value
    assert full["transcripts + text classifier"].interval is not None
    page = (found["report"] / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r'(src|href)="http', page)
    assert "| log-mel, frozen |" in (found["report"] / "table.md").read_text()
    once = msgspec.structs.replace(scores, points=[point for point in scores.points if point.share == 1.0])
    page = write_intents_page(tmp_path / "once.html", once, title="t", confidence=0.95).read_text()
    assert page.count("One share only") == 2


@given(st.lists(st.sampled_from("abcdefg"), min_size=6, max_size=40), st.integers(2, 4))
def test_folds_are_even_up_to_a_group_and_never_split_one(groups, folds):
    assume(len(set(groups)) >= folds)
    found = folds_of_groups(groups, folds)
    assert all(len({f for g, f in zip(groups, found, strict=True) if g == name}) == 1 for name in groups)
    sizes = np.bincount(found, minlength=folds)
    assert sizes.max() - sizes.min() <= max(groups.count(name) for name in groups)


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(UserError, match=r"2 groups .* 3 folds"):
        folds_of_groups(["a", "a", "b"], 3)


@given(st.integers(8, 40), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_nothing_is_learned_from_the_fold_that_judges_and_a_smaller_share_is_part_of_a_larger(count, one, other):
    items = [FoldItem(str(n), {"size": "big"}, f"group{n}", n % 2) for n in range(count)]
    small, large = (split_at_fold(items, 1, share)[0] for share in sorted((one, other)))
    judged = split_at_fold(items, 1, one)[1]
    assert small == large[: len(small)]
    assert {item.fold for item in large} == {0}
    assert {item.fold for item in judged} == {1}
    predictions = [FoldPrediction(item.id, "x", 1.0, 4, {"size": "big"}) for item in judged]
    assert count_correct(items, predictions) == len(judged)


def test_named_speakers_are_the_groups(tmp_path):
    rows = [Utterance(id=n, audio_filepath="no.wav", duration=1.0, sample_rate=16_000, speaker=f"s{n}") for n in "ab"]
    groups, message = group_recordings(rows, tmp_path / "m.jsonl", 5, lambda *_: None)
    assert groups == ["sa", "sb"]
    assert "2 speakers" in message


def test_recordings_of_one_microphone_fall_into_one_group():
    generator = np.random.default_rng(0)
    prints = []
    for colour in (0.0, 0.95):
        for _ in range(6):
            noise = generator.normal(0, 0.1, 16_000)
            for place in range(1, len(noise)):
                noise[place] += colour * noise[place - 1]
            prints.append(acoustic_profile(noise.astype(np.float32)))
    assert cluster_profiles(np.stack(prints), 2) == [0] * 6 + [1] * 6
    assert cluster_profiles(np.stack(prints[:2]), 5) == [0, 1]
    assert acoustic_profile(np.zeros(100, np.float32)).shape == prints[0].shape


def test_commands_are_right_as_a_whole_and_slots_by_their_pairs():
    gold = [Command("a", {"size": "big ", "milk": "soy"}), Command("b", {}), Command(None, {"size": "wee"})]
    said = [Command("a", {"size": "big"}), Command("a", {}), Command(None, {"size": "wee"})]
    score = score_commands(gold, said)
    assert score.measures["slot_f1"].value == pytest.approx(0.8)
    assert score.measures["command_accuracy"].value == pytest.approx(1 / 3)
    assert score.measures["intent_accuracy"].value == pytest.approx(2 / 3)
    assert score.classes["milk"].recall == 0


def test_the_command_scores_slots(orders, tmp_path, capsys):
    from speechkit.data.manifest import read_manifest

    rows = [{"id": r.id, "pred_intent": r.custom["intent"], "pred_slots": {}} for r in read_manifest(orders[1])]
    write_jsonl(tmp_path / "hyp.jsonl", rows)
    assert call(["slue", "score", "slots", str(orders[1]), str(tmp_path / "hyp.jsonl"), "--resamples", "0"]) == 0
    assert "intent_accuracy" in capsys.readouterr().out
    write_jsonl(tmp_path / "torn.jsonl", [{"id": r["id"]} for r in rows])
    assert call(["slue", "score", "slots", str(orders[1]), str(tmp_path / "torn.jsonl")]) == 2


def test_the_text_classifier_learns_words_and_says_none_where_nothing_was_said():
    texts = ["a big tea please", "a tea", "big milk", "milk now", "big tea", "one milk"]
    fields = [{"drink": "tea", "size": "big"}, {"drink": "tea"}, {"drink": "milk", "size": "big"}, {"drink": "milk"}]
    fields += [{"drink": "tea", "size": "big"}, {"drink": "milk"}]
    assert classify(texts, fields, ["some tea", "", "big milk!"], 100.0)[::2] == [
        {"drink": "tea"},
        {"drink": "milk", "size": "big"},
    ]
    assert most_frequent_values(fields)["drink"] == "tea" or most_frequent_values(fields)["drink"] == "milk"


def test_recognition_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    import speechkit.asr.load

    asked = []

    class Parrot:
        def recognize(self, path, speech, channel=None):
            asked.append(path)
            times = np.arange(8.0)
            return Hypothesis("big  tea", times, times + 1, np.zeros(8, np.float32))

    monkeypatch.setattr(speechkit.asr.load, "load_recognizer", lambda *_: Parrot())
    rows = [Utterance(id=n, audio_filepath=f"{n}.wav", duration=8.0, sample_rate=16_000) for n in ("a", "b", "c")]
    for row in rows:
        write_audio(tmp_path / row.audio_filepath, np.zeros(8 * 16_000, np.float32), 16_000)
    kept = tmp_path / "parrot.jsonl"
    kept.write_text('{"id":"a","recognizer":"parrot","text":"kept"}\n{"id":"b","reco')

    def texts():
        return recognized_texts("parrot", rows, tmp_path / "m.jsonl", kept, lang="en", device="cpu")

    assert next(line for line in texts() if line.id == "b").text == "big tea"
    assert len(asked) == 1
    assert {line.id: line.text for line in texts()} == {"a": "kept", "b": "big tea", "c": "big tea"}
    assert len(asked) == 2
    assert safe("some/folder") != safe("some_folder")
