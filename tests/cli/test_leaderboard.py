"""Several systems on several test sets."""

from __future__ import annotations

import csv
import json

import pytest
import typer
from typer.testing import CliRunner

from speechkit.cli.leaderboard import leaderboard
from speechkit.errors import UserError


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(leaderboard)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def board(tmp_path):
    """Two sets of 30 utterances: good has an error in each tenth one of clean, poor one in each utterance of both."""
    said = "the cat sat on the mat"
    for name in ("clean", "calls"):
        ids = [f"{name}{i}" for i in range(30)]
        wrong = {key for i, key in enumerate(ids) if i % 10 == 0 and name == "clean"}
        refs = [{"id": k, "text": f"{said} x", "audio_filepath": "a.wav", "duration": 2.0} for k in ids]
        good = [{"id": k, "pred_text": said if k in wrong else f"{said} x", "compute_seconds": 0.5} for k in ids]
        poor = [{"id": k, "pred_text": "the dog sat on the mat x"} for k in ids]
        for folder, rows in (("refs", refs), ("good", good), ("poor", poor)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_average_ranks_speed_and_tests_are_those_of_the_sets(run, board):
    result = run(board / "poor", board / "good", "--set", board / "refs", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [s["name"] for s in found["systems"]] == ["good", "poor"]
    rates = {s["name"]: {n: r["rate"] for n, r in s["systems"].items()} for s in found["sets"]}
    assert rates == {"calls": {"poor": 1 / 7, "good": 0.0}, "clean": {"poor": 1 / 7, "good": 3 / 210}}
    good, poor = found["systems"]
    assert good["rate"] == pytest.approx(3 / 420)
    assert good["interval"]["low"] < good["rate"] < good["interval"]["high"]
    assert (good["rank"], good["mean_rank"], poor["mean_rank"]) == (1, 1.0, 2.0)
    assert good["speed"] == {"compute_seconds": 30.0, "audio_seconds": 120.0}
    assert poor["speed"] is None
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"]) == ("good", "poor")
    assert pair["difference"]["difference"] == pytest.approx(3 / 420 - 1 / 7)
    assert pair["holm_p"] < 0.001


def test_all_forms_are_written_and_the_table_is_ranked(run, board):
    result = run(board / "poor", board / "good", "--set", board / "refs", "--out", board / "out")
    assert result.exit_code == 0, result.output
    lines = [line.split()[:3] for line in result.stdout.splitlines()]
    assert ["1", "good", "0.71"] in lines
    assert ["2", "poor", "14.29"] in lines
    assert (board / "out" / "leaderboard.tex").read_text().count(r"\toprule") == 3
    assert "| 1 | **good** | **0.71** |" in (board / "out" / "leaderboard.md").read_text()
    rows = list(csv.DictReader((board / "out" / "leaderboard.csv").open()))
    assert float(rows[1]["clean"]) == pytest.approx(100 / 7)
    assert rows[0]["RTFx"] == "4.0"
    assert rows[0]["RTF"] == "0.25"
    page = (board / "out" / "report.html").read_text()
    assert "Differences" in page
    assert "https://" not in page


def test_a_system_without_a_file_for_a_set_and_one_that_is_no_folder_are_named(run, board):
    (board / "poor" / "calls.jsonl").unlink()
    assert "poor: has no file for the set calls" in str(run(board / "poor", "--set", board / "refs").exception)
    (board / "good" / "calls.trn").write_text("")
    assert "good: has 2 files for the set calls" in str(run(board / "good", "--set", board / "refs").exception)
    wrong = run(board / "refs" / "clean.jsonl", "--set", board / "refs").exception
    assert isinstance(wrong, UserError)
    assert "is not a folder" in str(wrong)


def test_sets_of_one_size_are_drawn_apart(run, board):
    found = json.loads(run(board / "poor", board / "good", "--set", board / "refs", "--json").stdout)
    again = json.loads(run(board / "poor", board / "good", "--set", board / "refs", "--json").stdout)
    assert found == again
    assert found["sets"][0]["units"] == found["sets"][1]["units"] == 30
