"""The recipe: the same heads on several encoders, one table with intervals, published results beside it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from speechkit.data.corpora import corpora_module
from speechkit.data.manifest import read_jsonl, read_manifest, write_manifest
from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.report.slue_encoders_page import (
    main_values,
    pairs_sentence,
    published_sentence,
    published_table,
    write_encoders_page,
)
from speechkit.shipped import load_module
from speechkit.slue.encoder_comparison import (
    EncoderComparison,
    EvaluationSet,
    best_system,
    read_test_set,
    reference_pairs,
    shown_names,
    systems_to_train,
)
from speechkit.slue.published import PUBLISHED, published_for
from speechkit.slue.task_folders import all_digests, check_manifests, read_task_folders, training_digests
from speechkit.slue.tasks import TASKS

recipe = recipe_module("slue_encoders").recipe
_spoken = load_module(Path(__file__).parents[3] / "scripts", "spoken_slurp")

TINY = Path(__file__).parents[3] / "recipes/slue_encoders/conf/tiny.yaml"


def absolute(path, rows):
    """Rows of a manifest, readable from another folder."""
    return [msgspec.structs.replace(row, audio_filepath=str(path.parent / row.audio_filepath)) for row in rows]


@pytest.fixture(scope="module")
def corpus(orders, tmp_path_factory):
    """The orders as a corpus with two splits."""
    folder = tmp_path_factory.mktemp("corpora") / "orders"
    for name, path in zip(("fine-tune", "test"), orders, strict=True):
        write_manifest(folder / f"{name}.jsonl", absolute(path, read_manifest(path)))
    return folder


@pytest.fixture(scope="module")
def located(orders, tmp_path_factory):
    """Development and test orders whose words have times, as a corpus of localisation without training part."""
    folder = tmp_path_factory.mktemp("corpora") / "located"
    rows = absolute(orders[0], read_manifest(orders[0]))
    write_manifest(folder / "dev.jsonl", rows[:8])
    write_manifest(folder / "test.jsonl", absolute(orders[1], read_manifest(orders[1])))
    return folder


@pytest.fixture(scope="module")
def settings(corpus, located, tiny_encoder):
    tasks = f"sentiment={corpus},slots={corpus},ner={corpus},localisation={located}"
    return [f"tasks={tasks}", f"encoders=log-mel,{tiny_encoder}", f"systems.finetuned={tiny_encoder}"]


@pytest.fixture(scope="module")
def done(settings, tmp_path_factory):
    exp = tmp_path_factory.mktemp("exp")
    assert run_recipe(recipe, exp, settings, config_files=[TINY], device="cpu", quiet=True) == 0
    return exp


@pytest.fixture(scope="module")
def found(done):
    content = (outputs(recipe, done, "compare") / "scores.json").read_bytes()
    return msgspec.json.decode(content, type=EncoderComparison)


@pytest.mark.slow
def test_every_task_has_every_encoder_with_an_interval_and_the_best_is_bold(done, found, tiny_encoder):
    names = ["log-mel, frozen", f"{tiny_encoder.name}, frozen", f"{tiny_encoder.name}, fine-tuned"]
    assert set(found.tasks) == {"sentiment", "slots", "ner", "localisation"}
    for of in found.tasks.values():
        assert [each.name for each in of.scores.systems] == names
        assert all(each.score.measures[of.scores.main].interval for each in of.scores.systems)
        assert len(of.scores.pairs) == 3
        assert all(system.learned == 48 for system in of.systems)
    table = (outputs(recipe, done, "compare") / "table.md").read_text()
    first = table.split("\n\n")[0].splitlines()
    assert first[0].count("orders test") == 3
    assert first[0].count("located test") == 1
    assert [line.split("|")[1].strip() for line in first[2:]] == names
    assert "**" in first[2] + first[3] + first[4]
    assert "| HuBERT-B | end to end | macro F1 of three classes | 49.4 | slue_voxceleb test (another set) |" in table
    assert "slots: For reference" not in table


@pytest.mark.slow
def test_an_encoder_hears_the_audio_of_a_folder_once(done):
    layers = outputs(recipe, done, "features") / "layers"
    assert [folder.name for each in layers.iterdir() for folder in each.iterdir()] == ["sentiment", "sentiment"]


@pytest.mark.slow
def test_localisation_reads_the_systems_for_entities_and_is_tuned_on_dev(done, found):
    systems = found.tasks["localisation"].systems
    assert all("as was best on dev" in system.spans for system in systems)
    said = outputs(recipe, done, "predict") / "predictions" / systems[0].folder / "predictions.jsonl"
    assert all("pred_spans" in row for row in read_jsonl(said, dict))


@pytest.mark.slow
def test_the_page_asks_nothing_of_the_network_and_names_the_published_rows_as_reference(done, found, tmp_path):
    written = (outputs(recipe, done, "compare") / "report.html").read_text()
    assert not re.search(r'(src|href)="http', written)
    assert written.count("For reference only") == 2
    assert "There are no published results for this task" in written
    assert "<small>" in written
    evil = msgspec.structs.replace(found.tasks["slots"], judged_by=EvaluationSet("<script>", "test", prepared=False))
    page = write_encoders_page(tmp_path / "a.html", EncoderComparison({"slots": evil}))
    assert "<script> test" not in page.read_text()


@pytest.mark.slow
def test_the_heads_learn_what_log_mel_shows(found):
    scores = {each.name: each.score for each in found.tasks["sentiment"].scores.systems}
    assert scores["log-mel, frozen"].measures["macro_f1"].value > 0.6


@pytest.mark.slow
def test_which_differences_hold_is_said(found):
    scores = found.tasks["sentiment"].scores
    level = [msgspec.structs.replace(pair, holm_p=0.5) for pair in scores.pairs]
    assert "0 of 3 pairs differ" in pairs_sentence(msgspec.structs.replace(scores, pairs=level))
    apart = [msgspec.structs.replace(pair, holm_p=0.001) for pair in scores.pairs]
    assert "All 3 pairs differ" in pairs_sentence(msgspec.structs.replace(scores, pairs=apart))
    assert "nothing to compare" in pairs_sentence(msgspec.structs.replace(scores, pairs=[]))
    anchors = {scores.systems[0].name, best_system(scores)}
    assert all(anchors & {pair.first, pair.second} for pair in reference_pairs(scores))
    assert str(main_values(scores, ["nobody"])[0]) == "–"


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_does_nothing_twice(settings, done, tmp_path, monkeypatch):
    """Stopped behind the first system of each stage, again and again, it ends with the scores of the other run."""
    import speechkit.slue.encoder_comparison as judging
    import speechkit.slue.systems.endtoend as endtoend
    from speechkit.pipeline.context import Context

    work: list[str] = []
    train, predict = endtoend.train_system, judging.write_predictions

    def counted_train(task, *args, **kwargs):
        work.append(f"train {task}")
        return train(task, *args, **kwargs)

    def counted_predict(task, *args, **kwargs):
        work.append(f"predict {task.name}")
        return predict(task, *args, **kwargs)

    monkeypatch.setattr(endtoend, "train_system", counted_train)
    monkeypatch.setattr(judging, "write_predictions", counted_predict)
    given = [settings[0].split(",ner=")[0], "encoders=log-mel,mfcc"]
    stops = iter([False, True])
    monkeypatch.setattr(Context, "interrupted", property(lambda self: bool(work) and next(stops, False)))
    code = run_recipe(recipe, tmp_path, given, config_files=[TINY], device="cpu", quiet=True)
    assert code == 130
    monkeypatch.setattr(Context, "interrupted", property(lambda self: False))
    assert run_recipe(recipe, tmp_path, given, config_files=[TINY], device="cpu", quiet=True) == 0
    assert sorted(work.count(each) for each in set(work)) == [2, 2, 2, 3]
    content = (outputs(recipe, tmp_path, "compare") / "scores.json").read_bytes()
    again = msgspec.json.decode(content, type=EncoderComparison).tasks["sentiment"].scores.systems[0]
    other = (outputs(recipe, done, "compare") / "scores.json").read_bytes()
    assert again == msgspec.json.decode(other, type=EncoderComparison).tasks["sentiment"].scores.systems[0]


def test_tasks_that_cannot_be_used_are_named(corpus, located, tmp_path):
    assert [task.name for task in read_task_folders(f"dialog_acts={corpus}, ner={corpus}")] == ["dialog-acts", "ner"]
    with pytest.raises(ConfigError, match=r"give TASK=FOLDER.*task.*sentiment"):
        read_task_folders(f"weather={corpus}")
    with pytest.raises(ConfigError, match="ner is given twice"):
        read_task_folders(f"ner={corpus},ner={corpus}")
    with pytest.raises(ConfigError, match=r"neither train\.jsonl nor fine-tune\.jsonl"):
        read_task_folders(f"ner={tmp_path}")
    with pytest.raises(ConfigError, match="tasks is empty"):
        read_task_folders("")
    with pytest.raises(ConfigError, match=r"has no blind\.jsonl"):
        read_task_folders(f"ner={corpus}")[0].split("blind")
    with pytest.raises(ConfigError, match=r"localisation uses the systems trained for ner"):
        read_task_folders(f"localisation={located}")


def test_what_would_end_hours_of_work_is_found_before_them(corpus, tmp_path):
    with pytest.raises(ConfigError, match=r"has no blind\.jsonl"):
        check_manifests(read_task_folders(f"ner={corpus}"), "blind")
    rows = [msgspec.structs.replace(row, custom={}) for row in read_manifest(corpus / "test.jsonl")]
    write_manifest(tmp_path / "train.jsonl", rows)
    write_manifest(tmp_path / "test.jsonl", rows)
    with pytest.raises(UserError, match=r"train\.jsonl:1: .* has no label"):
        check_manifests(read_task_folders(f"intent={tmp_path}"), "test")


def test_encoders_that_cannot_be_used_are_named_and_alike_ones_are_told_apart():
    with pytest.raises(ConfigError, match="encoders is empty"):
        shown_names([])
    with pytest.raises(ConfigError, match="mfcc is given twice"):
        shown_names(["mfcc", "log-mel", "mfcc"])
    with pytest.raises(ConfigError, match="embedded is not in encoders"):
        systems_to_train(["ner"], ["mfcc"], ["embedded"])
    assert list(shown_names(["a/base", "b/base", "c/step=9"]).values()) == ["a/base", "b/base", "step-9"]


def test_the_set_that_judges_chooses_no_offset(located, corpus):
    task = read_task_folders(f"ner={corpus},localisation={located}")[1]
    assert task.tuned_on("test") == located / "dev.jsonl"
    assert task.tuned_on("dev") is None


def test_new_references_do_not_train_again(corpus, located):
    text = f"ner={corpus},localisation={located}"
    learned, everything = training_digests(text), all_digests(text)
    path = located / "test.jsonl"
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    try:
        assert training_digests(text) == learned
        assert all_digests(text) != everything
    finally:
        path.write_bytes(content)


@pytest.mark.slow
def test_published_rows_say_whether_the_same_set_judges(found, tmp_path):
    of = found.tasks["ner"]
    assert "they are not comparable" in published_sentence(of)
    summary = {"corpus": "slue_voxpopuli", "splits": [{"split": "test", "utterances": 1842}], "licence": "CC0"}
    assert read_test_set(tmp_path / "test.jsonl") == EvaluationSet(tmp_path.name, "test", prepared=False)
    write_json(tmp_path / "summary.json", summary)
    assert not read_test_set(tmp_path / "dev.jsonl").prepared
    same = msgspec.structs.replace(of, judged_by=read_test_set(tmp_path / "test.jsonl"))
    assert "Rows on slue_voxpopuli test are on the test set used here" in published_sentence(same)
    judges = {row[4] for row in published_table("ner", same).rows}
    assert judges == {"slue_voxpopuli test", "slue_voxpopuli dev (another set)"}


def test_published_rows_are_of_tasks_that_exist_and_in_percent():
    assert {row.task for row in PUBLISHED} <= set(TASKS)
    assert all(0 < row.value < 100 for row in PUBLISHED)
    assert len({(row.task, row.system, row.way, row.split) for row in PUBLISHED}) == len(PUBLISHED)
    best = [row.value for row in published_for("ner") if row.split == "test"]
    assert best == sorted(best, reverse=True)
    assert not published_for("slots")


def test_without_flite_the_corpus_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", ["spoken_slurp", str(tmp_path / "devel.jsonl"), str(tmp_path / "out")])
    assert _spoken.main() == 2
    assert "apt install flite" in capsys.readouterr().err


def test_entities_of_slurp_get_the_tags_of_slue_and_others_are_left_out():
    given = [["time", 20, 4], ["event_name", 2, 7], ["place_name", 12, 4]]
    assert _spoken.slue_entities(given) == [["GPE", 12, 4], ["TIME", 20, 4]]


def test_questions_of_dev_may_ask_about_passages_of_their_own(speaker, tmp_path):
    folder = tmp_path / "asked"
    for split, count in (("train", 8), ("dev", 2), ("test", 4)):
        passages, questions = [], []
        for number in range(count):
            passage, times = speaker.say(f"{split}passage{number}", ["tea", "milk"])
            custom = {"document_id": passage.id, "answer_spans": [list(times[number % 2])]}
            question, _ = speaker.say(f"{split}question{number}", [["tea", "milk"][number % 2]], **custom)
            passages.append(passage)
            questions.append(question)
        write_manifest(folder / f"{split}.jsonl", absolute(speaker.folder / "any", questions))
        write_manifest(folder / f"{split}-documents.jsonl", absolute(speaker.folder / "any", passages))
    given = [f"tasks=qa={folder}", "encoders=log-mel,mfcc", "systems.head.loop.steps=20"]
    assert run_recipe(recipe, tmp_path / "exp", given, config_files=[TINY], device="cpu", quiet=True) == 0
    content = (outputs(recipe, tmp_path / "exp", "compare") / "scores.json").read_bytes()
    of = msgspec.json.decode(content, type=EncoderComparison).tasks["qa"]
    assert of.scores.utterances == 4
    assert len(of.scores.systems) == 2


def test_spoken_orders_of_people_are_compared(shared_data, tmp_path):
    CORPUS = corpora_module("audio_labels").CORPUS
    prepare = corpora_module("driver").prepare

    prepare(CORPUS, shared_data / "barista-intents", tmp_path / "all", lang="en")
    rows = absolute(tmp_path / "all" / "all.jsonl", list(read_manifest(tmp_path / "all" / "all.jsonl"))[:24])
    write_manifest(tmp_path / "barista/train.jsonl", rows[:16])
    write_manifest(tmp_path / "barista/test.jsonl", rows[16:])
    given = [f"tasks=slots={tmp_path / 'barista'}", "encoders=log-mel,mfcc", "systems.head.loop.steps=20"]
    assert run_recipe(recipe, tmp_path / "exp", given, config_files=[TINY], device="cpu", quiet=True) == 0
    table = (outputs(recipe, tmp_path / "exp", "compare") / "table.md").read_text()
    assert "barista test, %" in table.splitlines()[0]
    assert "Learned from 16 utterances; judged by 8 of barista test" in table
