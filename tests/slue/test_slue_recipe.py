"""The recipe of text tasks, its corpora, and the script for earnings calls, on data that is made here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest

from speechkit.data.corpora import corpora_module
from speechkit.errors import UserError
from speechkit.pipeline import run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.shipped import load_module

_texts = corpora_module("slu_texts")
slurp_rows = _texts.slurp_rows
split_of = _texts.split_of
squad_rows = _texts.squad_rows
_earnings21 = load_module(Path(__file__).parents[2] / "scripts", "earnings21_entities")
call_pieces = _earnings21.call_pieces
write_rows = _earnings21.write_rows
slue_recipe = recipe_module("slue").recipe


def slurp(number, text, intent, entities=()):
    words = text.split()
    tokens = [{"surface": word, "id": index} for index, word in enumerate(words)]
    spans = [{"span": list(range(a, b)), "type": kind} for kind, a, b in entities]
    return {"slurp_id": number, "sentence": text, "intent": intent, "tokens": tokens, "entities": spans}


def test_slurp_entities_become_spans_of_characters(tmp_path):
    path = tmp_path / "devel.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(slurp(7, "wake me at five am", "alarm_set", [("time", 3, 5)])).encode()))
    (row,) = slurp_rows(path)
    assert row == {"id": "7", "text": "wake me at five am", "intent": "alarm_set", "ner": [["time", 11, 7]]}
    path.write_bytes(gzip.compress(b'{"slurp_id": 1}'))
    with pytest.raises(UserError, match=r"devel.jsonl.gz:1:.*no record.*SLURP"):
        list(slurp_rows(path))
    path.write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot be read"):
        list(slurp_rows(path))


def test_squad_questions_carry_their_passage_and_article(tmp_path):
    question = {"id": "q", "question": "where", "answers": [{"text": "rome", "answer_start": 3}]}
    content = {"data": [{"title": "T", "paragraphs": [{"context": "in rome", "qas": [question]}]}]}
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(content))
    (row,) = squad_rows(path)
    assert (row["context"], row["article"], row["answers"]) == ("in rome", "T", {"text": ["rome"], "answer_start": [3]})
    path.write_text("[]")
    with pytest.raises(UserError, match="is no file of Spoken-SQuAD"):
        list(squad_rows(path))


def test_equal_texts_are_on_one_side_of_the_split():
    assert split_of("Wake me") == split_of("wake me")
    parts = [split_of(f"sentence {number}") for number in range(2000)]
    assert parts.count("train") / 2000 == pytest.approx(0.7, abs=0.04)
    assert parts.count("test") / 2000 == pytest.approx(0.2, abs=0.04)


def test_the_recipe_goes_from_a_corpus_to_the_sensitivity_of_its_model(tmp_path):
    verbs, places = ["wake", "call", "remind", "tell"], ["rome", "paris", "oslo", "berlin", "madrid"]
    lines = [
        slurp(100 * a + 10 * b + c, f"{verb} me in {place} at {c}", verb, [("place", 3, 4)])
        for a, verb in enumerate(verbs)
        for b, place in enumerate(places)
        for c in range(3)
    ]
    source = tmp_path / "slurp.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = {str(n): " ".join(["we meet in rome today"] * 5) for n in range(10)}
    for name, wrong in (("said", "rome"), ("heard", "roam")):
        text = "".join(f"{i} {t.replace('rome', wrong)}\n" for i, t in said.items())
        (tmp_path / name).write_text(text)
    settings = {
        "source": source,
        "task": "intent",
        "train.text.steps": 10,
        "train.text.evaluate_every": 10,
        "train.text.small.layers": 1,
        "train.text.small.width": 32,
        "sensitivity.pairs_reference": tmp_path / "said",
        "sensitivity.pairs_heard": tmp_path / "heard",
        "sensitivity.levels": "20",
        "sensitivity.resamples": 20,
    }
    run_recipe(slue_recipe, tmp_path / "exp", [f"{key}={value}" for key, value in settings.items()], device="cpu")
    found = json.loads((tmp_path / "exp/03-sensitivity/current/sensitivity.json").read_text())
    assert [point["kind"] for point in found["points"]] == ["oracle", "noise"]
    assert found["points"][1]["wer"]["value"] > 0.05
    assert (tmp_path / "exp/02-train/current/model/model.safetensors").is_file()


HEAD = "token|speaker|ts|endTs|punctuation|case|tags|wer_tags\n"


def nlp(words, tags=()):
    lines = []
    for index, word in enumerate(words):
        mark = "." if word[-1] == "." else ""
        lines.append(f"{word.rstrip('.')}|0|||{mark}|LC|[]|{list(tags[index]) if tags else []}")
    return HEAD + "\n".join(lines) + "\n"


def test_pieces_of_a_call_take_the_words_recognised_in_their_place(tmp_path):
    second = "we had a good year in rome and we are very happy now."
    first = "good morning and welcome to the monro call of today everybody here."
    words = [*first.split(), *second.split()]
    tags = [["5"] if word == "monro" else ["6", "7"] if word == "rome" else [] for word in words]
    reference, heard = tmp_path / "1.nlp", tmp_path / "h.nlp"
    reference.write_text(nlp(words, tags))
    heard.write_text(nlp([word for word in words if word != "good"] + ["bye"]).replace("monro", "mono"))
    pieces = list(call_pieces(reference, {"asr": heard}))
    assert [piece["text"].split()[0] for piece, _ in pieces] == ["good", "we"]
    assert pieces[0][1]["asr"].startswith("morning and welcome to the mono call")
    spans = [[piece["text"][b : b + n] for _, b, n in piece["ner"]] for piece, _ in pieces]
    assert spans == [["monro"], ["rome"]]
    with pytest.raises(UserError, match="holds 0 calls"):
        write_rows(tmp_path, tmp_path / "out", {})


def test_pieces_of_earnings_calls_are_drawn_alike_on_both_sides(shared_data, tmp_path):
    source, systems = shared_data / "earnings21-text", {"google": "output/google"}
    counts = write_rows(source, tmp_path / "a", systems, {"dev": 20, "test": 40})
    assert (counts["dev"], counts["test"], counts["google-test"]) == (20, 40, 40)
    assert counts["pairs"] == counts["google-pairs"] > counts["train"] > 1000
    ids = [
        [msgspec.json.decode(line)["id"] for line in (tmp_path / "a" / f"{name}.jsonl").open("rb")]
        for name in ("test", "google-test")
    ]
    assert ids[0] == ids[1]
    write_rows(source, tmp_path / "b", systems, {"dev": 20, "test": 40})
    assert (tmp_path / "a" / "test.jsonl").read_bytes() == (tmp_path / "b" / "test.jsonl").read_bytes()
