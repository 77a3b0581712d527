from __future__ import annotations

import csv
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


def test_table_has_rates_counts_interval_and_both_normalisers(run, files):
    result = run(*files, "--normalizer", "english")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith("hyp ")]
    assert [row[0:2] + row[5:10] for row in rows] == [
        ["hyp", "40.00", "5", "4", "1", "0", "1"],
        ["hyp", "60.00", "5", "3", "2", "0", "1"],
    ]
    assert "normaliser english version" in result.output
    assert "normaliser simple version" in result.output
    assert "rough under 20" in result.output


def test_json_holds_the_same_and_survives_a_reader(run, files, tmp_path):
    (tmp_path / "utt2spk").write_text("s1-a s1\ns1-b s1\ns2-c s2\n")
    result = run(*files, "--by", "speaker", "--utt2spk", tmp_path / "utt2spk", "--json", "--per-utterance")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = found["tables"][0]
    assert table["normalizer"] == {"name": "none", "version": table["normalizer"]["version"]}
    wer = table["systems"][0]["wer"]
    assert wer["tokens"] == 5
    assert wer["interval"]["units"] == found["units"] == 2
    assert {n: s["rate"] for n, s in table["systems"][0]["speakers"].items()} == {"s1": 0.75, "s2": 1.0}
    assert [u["id"] for u in found["utterance_words"]["none"]["hyp"]] == ["s1-a", "s1-b", "s2-c"]


def test_infinite_rates_are_null_in_json_and_do_not_break_the_page(run, tmp_path):
    (tmp_path / "r").write_text("a\n")
    (tmp_path / "h").write_text("a x\n")
    found = json.loads(run(tmp_path / "r", tmp_path / "h", "--json", "--out", tmp_path / "out").stdout)
    wer = found["tables"][0]["systems"][0]["wer"]
    assert wer["rate"] is None
    assert wer["insertions"] == 1
    assert "∞" in (tmp_path / "out" / "report.html").read_text()


def test_ids_that_differ_and_speakers_that_lack_are_user_errors(run, files, tmp_path):
    (tmp_path / "short").write_text("s1-a x\n")
    assert isinstance(run(files[0], tmp_path / "short").exception, UserError)
    assert "lacks 2 of 3" in str(run(files[0], tmp_path / "short").exception)
    empty = run(files[0], tmp_path / "short", "--missing", "empty")
    assert empty.exit_code == 0
    assert "2 utterances have no hypothesis and count as empty" in empty.output
    assert "has no speaker" in str(run(*files, "--by", "speaker").exception)


def test_several_systems_stand_side_by_side_with_their_tests(run, files, tmp_path):
    (tmp_path / "good.trn").write_text("Hello, world (s1-a)\ntwo cats (s1-b)\nyes (s2-c)\n")
    result = run(*files, f"best={tmp_path / 'good.trn'}", "--breakdown")
    assert result.exit_code == 0, result.output
    assert any(line.startswith("best ") and " 0.00 " in line for line in result.output.splitlines())
    assert "hyp - best" in result.output
    assert "reference words" in result.output


def test_a_gate_that_is_crossed_ends_with_code_2_after_everything_is_written(run, files, tmp_path):
    crossed = run(*files, "--normalizer", "simple", "--fail-if", "wer>12.5", "--out", tmp_path / "out")
    assert isinstance(crossed.exception, UserError)
    assert crossed.exception.exit_code == 2
    assert "wer of hyp is 60.00 % (wer>12.5)" in str(crossed.exception)
    assert (tmp_path / "out" / "scores.json").is_file()
    assert (tmp_path / "out" / "report.html").is_file()
    assert run(*files, "--normalizer", "simple", "--fail-if", "wer>60").exit_code == 0
    assert "is not a condition" in str(run(*files, "--fail-if", "per>3").exception)


def test_alternatives_and_weights_are_named_in_the_result(run, tmp_path):
    (tmp_path / "r.trn").write_text("it cost { twenty / 20 } colour (a)\n")
    (tmp_path / "h.trn").write_text("it cost 20 color (a)\n")
    (tmp_path / "groups").write_text("colour\tcolor\n")
    result = run(
        tmp_path / "r.trn", tmp_path / "h.trn", "--alternatives", "braces", "--alternatives", tmp_path / "groups",
        "--weights", "sclite", "--json",
    )  # fmt: skip
    found = json.loads(result.stdout)
    assert found["tables"][0]["systems"][0]["wer"]["rate"] == 0
    assert found["alternatives"] == ["braces", "1 groups of phrases"]
    assert found["weights"] == "sclite"


def test_tables_are_written_as_markdown_latex_and_csv(run, files, tmp_path):
    (tmp_path / "best_of.trn").write_text("Hello, world (s1-a)\ntwo cats (s1-b)\nyes (s2-c)\n")
    result = run(*files, tmp_path / "best_of.trn", "--out", tmp_path / "out", "--table", tmp_path / "t.tex")
    assert result.exit_code == 0, result.output
    tex = (tmp_path / "out" / "scores.tex").read_text()
    assert (tmp_path / "t.tex").read_text() == tex
    assert tex.count(r"\toprule") == 3
    assert r"best\_of" in tex
    assert "| best_of | **0.00** |" in (tmp_path / "out" / "scores.md").read_text()
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [(r["normaliser"], r["system"], r["rank"]) for r in rows] == [
        ("none", "hyp", "2"), ("none", "best_of", "1"), ("simple", "hyp", "2"), ("simple", "best_of", "1"),
    ]  # fmt: skip
    assert float(rows[2]["WER %"]) == 60.0
    assert float(rows[2]["match error rate %"]) == 50.0  # 3 errors at 6 places
    assert float(rows[2]["WIL %"]) == pytest.approx(100 * (1 - 3 / 5 * 3 / 6))
    assert "give .md, .tex or .csv" in str(run(*files, "--table", tmp_path / "t.xlsx").exception)


def test_a_set_of_chinese_and_english_has_a_mixed_error_rate(run, tmp_path):
    (tmp_path / "r.trn").write_text("我 要 买iphone手机 (a)\n")
    (tmp_path / "h.trn").write_text("我要卖 iphone 手机 (a)\n")
    found = json.loads(run(tmp_path / "r.trn", tmp_path / "h.trn", "--json").stdout)
    system = found["tables"][0]["systems"][0]
    assert (system["mixed"]["tokens"], system["mixed"]["substitutions"], system["mixed"]["rate"]) == (6, 1, 1 / 6)
    assert "mixed ER %" in run(tmp_path / "r.trn", tmp_path / "h.trn").output
