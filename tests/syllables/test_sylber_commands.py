"""The recipe's two commands say in one sentence what is wrong."""

from pathlib import Path

import pytest

from speechkit.data import Utterance, write_manifest
from speechkit.shipped import load_module

SCRIPTS = Path(__file__).parents[2] / "scripts"
SPEECH = SCRIPTS.parent / "recipes" / "mining" / "sample" / "audio" / "bees.ogg"
judging = load_module(SCRIPTS, "judge_syllables")
draw = load_module(SCRIPTS, "draw_alignments")


@pytest.fixture
def silver(tmp_path):
    rows = [Utterance(id=name, audio_filepath="gone.wav", duration=1.0, sample_rate=16_000) for name in ("a", "b")]
    write_manifest(tmp_path / "silver.jsonl", rows)
    return tmp_path / "silver.jsonl"


def called(command, monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
    code = command.main()
    return code, capsys.readouterr().err.splitlines()


def test_ids_that_are_not_there_are_refused_by_name(silver, monkeypatch, capsys):
    code, lines = called(draw, monkeypatch, capsys, silver, silver, "--out", silver.parent / "out", "--ids", "a", "x")
    assert (code, lines) == (2, [f"draw_alignments: {silver}: has no utterance 'x'; give ids such as 'a'"])
    assert not (silver.parent / "out").exists()
    assert [row.id for row in draw.chosen_rows(silver, ["b"])] == ["b"]
    assert [row.id for row in draw.chosen_rows(silver, [])] == ["a", "b"]


def test_errors_of_drawing_are_one_sentence(silver, monkeypatch, capsys):
    code, lines = called(draw, monkeypatch, capsys, silver, silver, "--out", silver.parent / "out")
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith(("draw_alignments: a has no tier 'phone'", "draw_alignments: drawing needs matplotlib"))
    (silver.parent / "empty.jsonl").touch()
    code, lines = called(draw, monkeypatch, capsys, silver.parent / "empty.jsonl", silver, "--out", silver.parent)
    assert (code, len(lines)) == (2, 1)
    assert "has no utterance; there is nothing to draw" in lines[0]


def test_errors_of_judging_are_one_sentence(silver, monkeypatch, capsys):
    exp = silver.parent / "exp"
    code, lines = called(judging, monkeypatch, capsys, silver, "--exp", exp, "--lang", "de")
    assert code == 2
    assert lines == [f"judge_syllables: {exp}: stage segment has no result yet; run the recipe first"]


def test_a_plain_install_is_judged_on_real_speech_beside_a_metronome(tmp_path, monkeypatch, capsys):
    text = "A beekeeper begins the year by listening."
    row = Utterance(id="a", audio_filepath=str(SPEECH), offset=0.8, duration=2.9, sample_rate=16_000, text=text)
    write_manifest(tmp_path / "m.jsonl", [row])
    monkeypatch.setattr("sys.argv", ["judge", str(tmp_path / "m.jsonl"), "--lang", "en"])
    assert judging.main() == 0
    shown = capsys.readouterr().out
    assert "1 utterances of 1 speakers" in shown
    rows = {line.split("|")[1].strip(): line.split("|")[2:] for line in shown.splitlines() if line.startswith("| ")}
    trained = [f"{segmenter}, embedded-syllables" for segmenter in ("dynamic", "greedy")]
    assert list(rows) == ["system", "metronome", "envelope", *trained, "greedy", "dynamic", "peaks"]
    for name in ("envelope", trained[0]):
        assert float(rows[name][0].split("(")[0]) > float(rows["metronome"][0].split("(")[0])
