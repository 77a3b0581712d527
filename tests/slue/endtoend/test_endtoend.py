"""Transcripts with entity symbols: training, mending, beam search with a language model, and the command."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.asr.beam import beam_search
from speechkit.cli.main import call
from speechkit.data.manifest import read_manifest
from speechkit.encoders import load_encoder
from speechkit.errors import ConfigError, UserError
from speechkit.lm.ngram_training import estimate, write_arpa
from speechkit.slue.metrics.entity_tags import END_SYMBOL, SYMBOLS
from speechkit.slue.metrics.entity_text import parse_entities
from speechkit.slue.rows import Row
from speechkit.slue.systems.endtoend import all_layers, trainable_encoder
from speechkit.slue.systems.endtoend_prediction import predict_with_system
from speechkit.slue.systems.entity_decoding import read_transcript, repair_symbols
from speechkit.slue.systems.examples import marked_transcript, read_examples

STARTS = sorted(SYMBOLS["raw"].values())


def quiet(_):
    """Log nothing."""


def test_the_loss_of_symbols_falls_and_entities_come_out(orders, ner_system):
    lines = [json.loads(line) for line in (ner_system / "work/metrics.jsonl").read_text().splitlines()]
    found = [line["loss"] for line in lines if "loss" in line]
    assert found[-1] < 0.3 * found[0]
    rows = list(predict_with_system("ner", orders[1], ner_system))
    said = {tuple(entity) for row in rows for entity in row["pred_ner"]}
    assert said & {("GPE", "rome"), ("GPE", "oslo")}
    assert all(set(row) == {"id", "pred_text", "pred_ner"} for row in rows)
    assert not any(mark in row["pred_text"] for row in rows for mark in [*STARTS, END_SYMBOL])


def test_the_command_trains_predicts_with_a_language_model_and_is_scored(orders, ner_system, tmp_path, capsys):
    train, test = orders
    sentences = [example.target.split() for example in read_examples("ner", train).items]
    write_arpa(estimate(sentences, 2, "witten-bell")[0], tmp_path / "lm.arpa")
    common = ["slue", "predict", "ner", str(test), "--system", str(ner_system), "--device", "cpu"]
    hypotheses = []
    for name, options in {
        "greedy": [],
        "beam": ["--lm", str(tmp_path / "lm.arpa"), "--beam", "8"],
        "rescored": ["--lm", str(tmp_path / "lm.arpa"), "--rescore", str(tmp_path / "lm.arpa"), "--beam", "8"],
    }.items():
        out = tmp_path / f"{name}.jsonl"
        assert call([*common, "--out", str(out), *options]) == 0
        hypotheses.append(f"{name}={out}")
    assert call(["slue", "score", "ner", str(test), *hypotheses, "--resamples", "0", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    values = {system["name"]: system["score"]["measures"]["f1"]["value"] for system in scores["systems"]}
    assert values["beam"] >= values["greedy"]
    assert values["beam"] > 0.5
    assert call([*common, "--model", "x", "--out", str(tmp_path / "no.jsonl")]) == 2
    assert "needs no transcripts" in capsys.readouterr().err
    out = str(tmp_path / "system")
    small = ["--encoder", "log-mel", "--steps", "4", "--evaluate-every", "2", "--width", "16", "--device", "cpu"]
    assert call(["slue", "train", "sentiment", str(train), "--dev", str(test), "--out", out, *small]) == 0
    assert "the system is in" in capsys.readouterr().out
    assert call(["slue", "train", "sentiment", str(train), "--out", out, "--width", "6"]) == 2


@pytest.mark.parametrize(
    ("line", "mended", "kinds"),
    [
        ("we met in % rome ] today", "we met in % rome ] today", {}),
        ("in %rome] today", "in % rome ] today", {"glued": 1}),
        ("% rome } ann ]", "% rome ] } ann ]", {"overlapping": 1}),
        ("rome ] today", "rome today", {"unopened": 1}),
        ("in % ] rome", "in rome", {"empty": 1}),
        ("in % rome", "in % rome ]", {"unclosed": 1}),
        ("in %", "in", {"unclosed": 1, "empty": 1}),
        ("% % rome", "% rome ]", {"overlapping": 1, "empty": 1, "unclosed": 1}),
    ],
)
def test_each_damage_of_symbols_is_mended_and_counted(line, mended, kinds):
    found = repair_symbols(line)
    assert found.transcript == mended
    counted = {kind: getattr(found, kind) for kind in ("glued", "overlapping", "unopened", "empty", "unclosed")}
    assert Counter(counted) == Counter(kinds)


@given(st.lists(st.sampled_from([*STARTS[:4], END_SYMBOL, "a", "b%", "]c", "rome"]), max_size=12))
def test_a_mended_transcript_keeps_every_letter_and_needs_no_mending(tokens):
    line = " ".join(tokens)
    mended = repair_symbols(line)
    assert repair_symbols(mended.transcript).repairs == 0
    marks = {*STARTS, END_SYMBOL}
    assert [c for c in mended.transcript if c not in marks and c != " "] == [
        c for c in line if c not in marks and c != " "
    ]
    words, entities, _ = read_transcript(line)
    assert entities == parse_entities(mended.transcript)
    assert not marks & set(words.split())


def test_transcripts_are_marked_from_spans_and_from_phrases():
    spans = Row("a", "f:1", {"text": "Ann's Rome, 50% off", "ner": [["PERSON", 0, 3], ["GPE", 6, 4]]})
    assert marked_transcript(spans) == "} ann ] 's % rome ] 50 off"
    phrases = Row("a", "f:1", {"text": "from Rome to Rome", "ner": [["GPE", "Rome"], ["GPE", "Rome"]]})
    assert marked_transcript(phrases) == "from % rome ] to % rome ]"
    assert marked_transcript(phrases, "combined") == "from % rome ] to % rome ]".replace(
        "%", SYMBOLS["combined"]["PLACE"]
    )
    with pytest.raises(UserError, match=r"f:1: a:.*phrase 'Oslo'.*not.*text"):
        marked_transcript(Row("a", "f:1", {"text": "from Rome", "ner": [["GPE", "Oslo"]]}))
    with pytest.raises(UserError, match="has no entities"):
        marked_transcript(Row("a", "f:1", {"text": "from Rome"}))


def test_a_trainable_encoder_gives_what_the_frozen_one_gives_under_padding(tiny_encoder, orders):
    frozen = load_encoder(str(tiny_encoder), device="cpu", dtype="float32")
    trainable = trainable_encoder(str(tiny_encoder)).eval()
    generator = np.random.default_rng(0)
    waveforms = [generator.normal(0, 0.1, size).astype(np.float32) for size in (9000, 16_000)]
    ready = [torch.from_numpy(trainable.prepare(waveform)) for waveform in waveforms]
    batch = torch.nn.utils.rnn.pad_sequence(ready, batch_first=True)
    with torch.no_grad():
        states, frames = all_layers(trainable, batch, torch.tensor([len(item) for item in ready]))
    for item, count, waveform in zip(states, frames.tolist(), waveforms, strict=True):
        assert count == len(waveform) // 320
        assert np.allclose(item[:, :count].numpy(), frozen.encode_layers(waveform), atol=1e-4)


def test_the_encoder_in_the_package_learns_along_and_one_without_weights_is_refused():
    trainable = trainable_encoder("embedded")
    assert any(value.requires_grad for value in trainable.parameters())
    with pytest.raises(ConfigError, match="mfcc has no weights"):
        trainable_encoder("mfcc")


def test_beam_search_without_a_model_reads_symbols_as_greedy_does(orders, ner_system):
    greedy = [row["pred_text"] for row in predict_with_system("ner", orders[1], ner_system)]
    beam = [
        row["pred_text"]
        for row in predict_with_system(
            "ner", orders[1], ner_system, decode=lambda frames, vocabulary: beam_search(frames, vocabulary)[0].text
        )
    ]
    assert sum(a == b for a, b in zip(greedy, beam, strict=True)) >= len(greedy) - 3
    assert len(beam) == len(list(read_manifest(orders[1])))
