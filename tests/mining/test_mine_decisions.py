"""`speechkit mine --decisions` on the sample: what a curator decided becomes the data set, and nothing else is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechkit.cli.main import call
from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.mining import mine
from speechkit.mining.mined_set import publish
from speechkit.mining.records import Outcome, UnmatchedStretch
from tests.mining.test_mine import SAMPLE, assert_covered, precision_of_half, transcripts  # noqa: F401


@pytest.fixture
def strict(transcripts: Path, tmp_path: Path):  # noqa: F811
    settings = {
        "recognizer": f"words:{transcripts}",
        "overrides": ["regions.vad=energy", "export.min_snr_db=-1", "report.beside=false"],
    }
    inputs = (SAMPLE / "audio", SAMPLE / "documents", tmp_path / "out")
    settings["min_precision"] = precision_of_half(mine(*inputs, **settings))
    return mine(*inputs, **settings), settings


def written(folder: Path, run: str, *decisions: dict) -> Path:
    path = folder / "decisions.json"
    path.write_text(json.dumps({"format": "speechkit-decisions", "version": 1, "run": run, "decisions": decisions}))
    return path


def test_what_an_earlier_export_had_and_this_one_lacks_goes_and_other_files_stay(tmp_path: Path) -> None:
    out, first, second = (tmp_path / name for name in ("out", "first", "second"))
    row = Utterance(id="a", audio_filepath=str(tmp_path / "a.wav"), duration=1.0, sample_rate=16000)
    for folder, names in (
        (first, ("train.jsonl", "manifest.jsonl", "ctm/words.ctm", "srt/a.srt")),
        (second, ("srt/a.srt",)),
    ):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("x") if "/" in name else write_manifest(folder / name, [row])
    write_manifest(second / "manifest.jsonl", [])
    publish(first, out)
    assert [item.audio_filepath for item in read_jsonl(out / "train.jsonl", Utterance)] == ["../a.wav"]
    (out / "notes.txt").write_text("mine")
    for _ in range(2):
        publish(second, out)
        left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert left == {"manifest.jsonl", "notes.txt", "srt/a.srt", "stages/published.json"}
        assert not (out / "ctm").exists()


@pytest.mark.slow
def test_decisions_become_the_set_and_only_the_export_is_made_again(strict, tmp_path: Path) -> None:
    first, settings = strict
    out = Path(first.folder)
    stages = sorted((out / "stages").glob("[0-9]*/current"))
    made = {stage.parent.name: (stage.resolve(), (stage / "_stage.json").stat().st_mtime_ns) for stage in stages}
    kept = list(first.utterances())
    (candidates,) = (out / "stages").glob("07-selection/current/candidates.jsonl")
    refused = [item for item in read_jsonl(candidates, Utterance) if item.custom["reason"] == "low_confidence"]
    assert kept
    assert refused
    edited = f"{kept[1].text} indeed"
    before = Path(first.manifest).read_bytes()
    decisions = written(
        tmp_path,
        first.summary.run,
        {"id": refused[0].id, "decision": "accept"},
        {"id": kept[0].id, "decision": "reject"},
        {"id": kept[1].id, "decision": "accept", "text": edited},
    )
    second = mine(SAMPLE / "audio", SAMPLE / "documents", out, decisions=decisions, **settings)
    for stage in sorted((out / "stages").glob("[0-9]*/current")):
        now = (stage.resolve(), (stage / "_stage.json").stat().st_mtime_ns)
        assert (now != made[stage.parent.name]) == (stage.parent.name == "08-export"), stage
    rows = {item.id: item for item in second.utterances()}
    assert set(rows) == {item.id for item in kept} - {kept[0].id} | {refused[0].id}
    assert rows[kept[1].id].text == edited
    assert rows[kept[1].id].custom["mined_text"] == kept[1].text
    assert rows[refused[0].id].custom["curator"] == "accepted"
    assert "snr_db" in rows[refused[0].id].custom
    assert ("curator", kept[0].id) in {(drop.reason, drop.id) for drop in second.left_out}
    rejected = {item.sentence: item.reason for item in read_jsonl(out / "rejected.jsonl", Outcome)}
    assert rejected[kept[0].custom["sentence"]] == "curator"
    assert refused[0].custom["sentence"] not in rejected
    assert second.summary.kept == len(rows)
    assert second.decisions["rejected"] == 1
    assert second.summary.rejected["curator"] == 1
    stretches = list(read_jsonl(out / "unmatched.jsonl", UnmatchedStretch))
    middle = kept[0].offset + kept[0].duration / 2
    (there,) = (s for s in stretches if s.recording == kept[0].custom["recording"] and s.start <= middle <= s.end)
    assert there.reason == "rejected_sentence"
    assert_covered(second)
    card = json.loads((out / "card.json").read_text())
    assert card["decisions"]["accepted"] == 2
    assert card["decisions"]["rejected"] == 1
    assert "## Decisions of a curator" in (out / "README.md").read_text()
    third = mine(SAMPLE / "audio", SAMPLE / "documents", out, **settings)
    assert Path(third.manifest).read_bytes() == before


@pytest.mark.slow
def test_decisions_of_another_run_or_sentence_stop_before_anything_is_written(strict, tmp_path: Path) -> None:
    first, settings = strict
    before = Path(first.manifest).read_bytes()
    for run, name, message in (
        ("another", "bees-000000.99-bees-00001", "another run"),
        (first.summary.run, "nobody", "no sentence 'nobody'"),
    ):
        decisions = written(tmp_path, run, {"id": name, "decision": "accept"})
        with pytest.raises(UserError, match=message):
            mine(SAMPLE / "audio", SAMPLE / "documents", first.folder, decisions=decisions, **settings)
    assert Path(first.manifest).read_bytes() == before


def test_decisions_that_cannot_be_read_are_found_before_the_first_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "bad.json").write_text("{")
    arguments = ["mine", str(SAMPLE / "audio"), str(SAMPLE / "documents"), "--out", str(tmp_path / "out")]
    assert call([*arguments, "--decisions", str(tmp_path / "bad.json")]) == 2
    assert "is not a file of decisions" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
