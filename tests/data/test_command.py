import json

import pytest

from speechkit.cli.main import main
from speechkit.data import read_manifest, write_manifest

from .made import make_audio
from .test_check_stats_split import row


@pytest.fixture
def folder(tmp_path):
    make_audio(tmp_path)
    rows = [row("a", speaker="x"), row("b", begin=8000, speaker="y", score=0.5), row("c", speaker="z", text=None)]
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["manifest", *map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", ["check", "stats", "head", "split", "convert", "formats"])
def test_every_command_has_examples(command, capsys):
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert f"speechkit manifest {command}" in shown
    assert "--json" in shown


def test_check_ends_with_2_and_one_line_when_there_is_a_problem(folder, capsys):
    assert run("check", folder / "m.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert run("check", folder / "m.jsonl") == 0
    write_manifest(folder / "bad.jsonl", [row("a", begin=999_999)])
    assert run("check", folder / "bad.jsonl") == 2
    told = capsys.readouterr()
    assert "bad.jsonl:1: 'a' ends at" in told.out
    assert told.err.count("\n") == 1
    assert run("check", folder / "bad.jsonl", "--no-audio") == 0


def test_stats_and_head_print_rows_or_json(folder, capsys):
    assert run("stats", folder / "m.jsonl") == 0
    assert "utterances" in capsys.readouterr().out
    assert run("stats", folder / "m.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["speakers"] == 3
    assert run("head", folder / "m.jsonl", "-n", 2, "--json") == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]
    assert run("head", folder / "m.jsonl") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_split_and_convert_write_what_they_say(folder, capsys):
    assert run("split", folder / "m.jsonl", "--out", folder / "s", "--into", "train=rest,test=30%", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert sum(report["rows"].values()) == 3
    assert len(list(read_manifest(folder / "s" / "test.jsonl"))) == report["rows"]["test"]
    assert run("split", folder / "m.jsonl", "--out", folder / "s", "--into", "train=rest,test=9h") == 0
    assert "note: test holds 0.00 h instead of 9.00 h" in capsys.readouterr().out
    assert run("convert", folder / "m.jsonl", folder / "k", "--to", "kaldi") == 0
    shown = capsys.readouterr().out
    assert "lost: score of 1 rows" in shown
    assert "changed: text missing, no line in the file text (1 rows)" in shown
    assert run("convert", folder / "k", folder / "back.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    assert run("formats", "--json") == 0
    assert "kaldi" in json.loads(capsys.readouterr().out)


def test_faults_of_the_user_end_with_2_and_one_line(folder, capsys):
    torn = folder / "torn.jsonl"
    torn.write_bytes((folder / "m.jsonl").read_bytes()[:-9])
    for arguments in (
        ("check", folder / "none.jsonl"), ("stats", torn), ("convert", folder / "m.jsonl", folder / "x"),
        ("split", folder / "m.jsonl", "--out", folder / "s", "--into", "a=2,b=3"),
        ("convert", folder / "m.jsonl", folder / "x.csv", "--by-path"),
    ):  # fmt: skip
        assert run(*arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert run("stats", torn, "--recover") == 0
    assert "torn" in capsys.readouterr().err
