"""Entities in time, from the frames of the model that writes them."""

from __future__ import annotations

import numpy as np

from speechkit.data.manifest import write_jsonl
from speechkit.slue.scoring import score_files
from speechkit.slue.systems.endtoend_prediction import predict_with_system
from speechkit.slue.systems.entity_decoding import entity_times


def frames_of(symbols, vocabulary):
    log_probs = np.full((len(symbols), len(vocabulary)), -9.0, np.float32)
    for frame, symbol in enumerate(symbols):
        log_probs[frame, vocabulary.index(symbol)] = -0.1
    return log_probs


def test_an_entity_lasts_from_its_first_letter_to_the_gap_or_with_its_silence():
    vocabulary = ["<blank>", " ", "%", "]", "r", "o"]
    symbols = [" ", "%", "<blank>", "r", "r", "o", " ", "]", " "]
    log_probs = frames_of(symbols, vocabulary)
    [(phrase, begin, end)] = entity_times(log_probs, vocabulary)
    assert (phrase, round(begin, 2), round(end, 2)) == ("ro", 0.06, 0.12)
    [(_, begin, end)] = entity_times(log_probs, vocabulary, include_blank=True, offset=0.1)
    assert (round(begin, 2), round(end, 2)) == (0.12, 0.26)


def test_entities_are_found_where_they_are_said(orders, ner_system, tmp_path):
    test = orders[1]
    write_jsonl(tmp_path / "hyp.jsonl", predict_with_system("localisation", test, ner_system, include_blank=True))
    score = score_files("localisation", test, [str(tmp_path / "hyp.jsonl")], resamples=0).systems[0].score
    assert score.measures["frame_f1"].value > 0.4
