"""Summaries: what is written comes back, and a decoder learns to write it."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.data.manifest import write_jsonl
from speechkit.errors import UserError
from speechkit.slue.scoring import score_files
from speechkit.slue.systems.endtoend import train_system
from speechkit.slue.systems.endtoend_prediction import predict_with_system
from speechkit.slue.systems.summary_decoder import BEGIN, END, SummaryDecoder, Symbols


def quiet(_):
    """Log nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [0, 24])
def test_summaries_are_learned_in_characters_and_in_pieces(orders, quick, tmp_path, pieces):
    train, test = orders
    config = quick(steps=200, rate=1e-3, patience=0, pieces=pieces, depth=1)
    assert train_system("summarisation", train, tmp_path, config, log=quiet)
    lines = [json.loads(line) for line in (tmp_path / "work/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.4 * losses[0]
    write_jsonl(tmp_path / "hyp.jsonl", predict_with_system("summarisation", test, tmp_path))
    score = score_files("summarisation", test, [str(tmp_path / "hyp.jsonl")], resamples=0).systems[0].score
    assert score.value > 0.5


@given(st.text(alphabet="abc é", max_size=20))
def test_characters_come_back(text):
    symbols = Symbols.learn(["abc é"])
    assert symbols.decode([BEGIN, *symbols.encode(text), END]) == text
    assert symbols.decode(symbols.encode("ax")) == "a"


def test_pieces_come_back_from_their_file():
    symbols = Symbols.learn(["the cat sat on the mat", "the dog sat"], pieces=40)
    again = Symbols(pieces=symbols.pieces)
    assert again.decode(again.encode("the cat sat")) == "the cat sat"
    assert len(again) == len(symbols)
    with pytest.raises(UserError, match="summaries are empty"):
        Symbols.learn(["", " "])


def test_beam_search_writes_what_trying_every_text_finds():
    torch.manual_seed(3)
    decoder = SummaryDecoder(1, 8, 6, width=8, depth=1, heads=2).eval()
    states, frames = torch.randn(1, 1, 16, 8), torch.tensor([16])
    found = decoder.generate(states, frames, max_symbols=3, beams=50)
    memory, absent = decoder.memory(states, frames)

    def mean(symbols):
        written = torch.tensor([[BEGIN, *symbols]])
        with torch.no_grad():
            log_probs = decoder.logits(memory, absent, written)[0].log_softmax(-1)
        following = [*symbols, END]
        return float(log_probs[range(len(following)), following].mean())

    texts = [[], [4], [5], *([a, b] for a in (4, 5) for b in (4, 5))]
    assert mean(found) == pytest.approx(max(map(mean, texts)), abs=1e-5)
