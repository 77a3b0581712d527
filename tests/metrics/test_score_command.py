from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from speechkit.cli.score import score
from speechkit.errors import UserError


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(score)

    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return call


@pytest.fixture
def files(tmp_path):
    reference, hypothesis = tmp_path / "text", tmp_path / "hyp.trn"
    reference.write_text("s1-a Hello, world\ns1-b two cats\ns2-c yes\n")
    hypothesis.write_text("hello word (s1-a)\n2 cats (s1-b)\nyes yes (s2-c)\n")
    return reference, hypothesis


def test_table_has_rates_counts_interval_and_normaliser(run, files):
    result = run(*files, "--normalizer", "english")
    assert result.exit_code == 0, result.output
    wer = next(line for line in result.output.splitlines() if line.startswith("WER"))
    assert wer.split() == ["WER", "40.00", *wer.split()[2:5], "5", "4", "1", "0", "1"]
    assert "normaliser english version" in result.output


def test_json_holds_the_same_and_survives_a_reader(run, files, tmp_path):
    (tmp_path / "utt2spk").write_text("s1-a s1\ns1-b s1\ns2-c s2\n")
    result = run(*files, "--by", "speaker", "--utt2spk", tmp_path / "utt2spk", "--json", "--per-utterance")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["wer"]["tokens"] == 5
    assert found["normalizer"] == {"name": "none", "version": found["normalizer"]["version"]}
    assert found["wer"]["interval"]["units"] == found["speakers"] == 2
    assert found["speaker_wer"] == {"s1": 0.75, "s2": 1.0}
    assert [u["id"] for u in found["utterance_words"]] == ["s1-a", "s1-b", "s2-c"]


def test_infinite_rates_are_null_in_json(run, tmp_path):
    (tmp_path / "r").write_text("a\n")
    (tmp_path / "h").write_text("a x\n")
    found = json.loads(run(tmp_path / "r", tmp_path / "h", "--json").output)
    assert found["wer"]["rate"] is None
    assert found["wer"]["insertions"] == 1


def test_ids_that_differ_and_speakers_that_lack_are_user_errors(run, files, tmp_path):
    (tmp_path / "short").write_text("s1-a x\n")
    assert isinstance(run(files[0], tmp_path / "short").exception, UserError)
    assert "has no speaker" in str(run(*files, "--by", "speaker").exception)
