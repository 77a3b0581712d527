"""Answers of spoken questions in spoken passages."""

from __future__ import annotations

import json

import pytest
import torch

from speechkit.cli.main import call
from speechkit.data.manifest import write_jsonl
from speechkit.errors import UserError
from speechkit.slue.scoring import score_files
from speechkit.slue.systems.endtoend import train_system
from speechkit.slue.systems.endtoend_prediction import predict_with_system
from speechkit.slue.systems.heads import SpanHead, best_span


def quiet(_):
    """Log nothing."""


@pytest.fixture(scope="module")
def questions(speaker):
    """A question is one word; its answer is where the passage, three words, says it."""
    documents, rows = [], []
    for number, words in enumerate([["tea", "milk", "cola"]] * 6):
        for again in range(8):
            name = f"passage{number}_{again}"
            row, times = speaker.say(name, words)
            documents.append(row)
            asked = (number + again) % 3
            question, _ = speaker.say(
                f"question{number}_{again}", [words[asked]], document_id=name, answer_spans=[list(times[asked])]
            )
            rows.append(question)
    order = sorted(range(len(rows)), key=lambda n: n * 29 % 48)
    rows = [rows[n] for n in order]
    return speaker.write("q_train", rows[:40]), speaker.write("q_test", rows[40:]), speaker.write("docs", documents)


@pytest.mark.slow
def test_the_loss_falls_and_scoring_reads_the_spans(questions, quick, tmp_path):
    train, test, documents = questions
    config = quick(steps=120, rate=1e-2, patience=0, longest_answer_seconds=0.6)
    assert train_system("qa", train, tmp_path, config, documents=documents, log=quiet)
    lines = [json.loads(line) for line in (tmp_path / "work/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    rows = list(predict_with_system("qa", test, tmp_path, documents=documents))
    assert all(0 <= row["pred_span"][0] < row["pred_span"][1] for row in rows)
    write_jsonl(tmp_path / "hyp.jsonl", rows)
    score = score_files("qa", test, [str(tmp_path / "hyp.jsonl")], resamples=0).systems[0].score
    assert score.value is not None
    assert len(score.utterances) == len(rows)


def test_the_best_span_is_that_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    for longest in (1, 3, 9):
        scores = torch.randn(7, 2, generator=generator)
        pairs = [(a, b) for a in range(7) for b in range(a, min(7, a + longest))]
        expected = max(pairs, key=lambda pair: float(scores[pair[0], 0] + scores[pair[1], 1]))
        assert best_span(scores, longest) == expected


def test_padding_changes_no_score():
    torch.manual_seed(0)
    head = SpanHead(1, 8, width=8).eval()
    passage, question = torch.randn(1, 1, 30, 8), torch.randn(1, 1, 12, 8)
    alone = head.logits(passage, torch.tensor([30]), question, torch.tensor([12]))
    wide = torch.cat([passage, torch.ones(1, 1, 20, 8)], dim=2).repeat(2, 1, 1, 1)
    asked = torch.cat([question, torch.ones(1, 1, 9, 8)], dim=2).repeat(2, 1, 1, 1)
    together = head.logits(wide, torch.tensor([30, 50]), asked, torch.tensor([12, 21]))
    assert torch.allclose(together[0, : alone.shape[1]], alone[0], atol=1e-5)


def test_questions_without_documents_are_told(questions, quick, tmp_path, capsys):
    train, test, _ = questions
    assert call(["slue", "train", "qa", str(train), "--out", str(tmp_path / "s")]) == 2
    assert "give --documents" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"is not in .*test"):
        train_system("qa", train, tmp_path / "t", quick(), documents=test, log=quiet)
