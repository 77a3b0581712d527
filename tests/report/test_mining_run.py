"""The page of a run from the folders that its stages left."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from speechkit.cli.main import call
from speechkit.data import write_jsonl
from speechkit.errors import UserError
from speechkit.mining.export.sound import SentenceQuality
from speechkit.mining.records import RecognizedText
from speechkit.pipeline.folder import StageRecord, point_to
from speechkit.report.mining_data import Records
from speechkit.report.mining_run import EXPORT, STAGES, data_of_stages, load_run


@pytest.fixture
def finished(run: Records, audio_root: Path, tmp_path: Path) -> Path:
    stages = tmp_path / "mined" / "stages"
    files = {
        "documents": {},
        "regions": {"recordings.jsonl": run.recordings()},
        "hypotheses": {"hypotheses.jsonl": [RecognizedText("bees", "a bee", "made-up recogniser")]},
        "pairing": {},
        "alignment": {},
        "refinement": {"alignments.jsonl": run.alignments()},
        "selection": {
            "outcomes.jsonl": run.outcomes(),
            "utterances.jsonl": run.utterances(),
            "candidates.jsonl": run.candidates(),
            "summary.jsonl": [run.summary],
        },
    }
    for name, outputs in files.items():
        folder = stages / STAGES[name] / "0123456789abcdef"
        folder.mkdir(parents=True)
        for file, records in outputs.items():
            write_jsonl(folder / file, records)
        config = {"lang": "en", "audio": str(audio_root), "documents": "/somewhere/private/papers"}
        facts = {"config": config, "seconds": 5.0, "host": "secret-host"}
        record = StageRecord("mining", 1, name, "0" * 32, {}, {}, "0", None, {}, facts)
        (folder / "_stage.json").write_bytes(msgspec.json.encode(record))
        point_to(folder)
    return tmp_path / "mined"


def test_finished_run_gives_its_page(finished: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(["report", str(finished), "--max-megabytes", "0.6"]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (finished / "report.html").read_text()
    assert "made-up recogniser" in text
    assert "<h1>mined</h1>" in text
    assert "35<small>s</small>" in text  # seven stages of five seconds


def test_quality_columns_come_from_the_export_if_it_ran(finished: Path, run: Records) -> None:
    assert not any("snr_db" in row.quality for row in load_run(finished).sentence_rows)
    first = next(iter(run.utterances())).id
    folder = finished / "stages" / EXPORT / "0123456789abcdef"
    folder.mkdir(parents=True)
    write_jsonl(folder / "quality.jsonl", [SentenceQuality(first, {"snr_db": 21.5})])
    (folder / "_stage.json").write_bytes(
        msgspec.json.encode(StageRecord("mining", 8, "export", "0" * 32, {}, {}, "0", None, {}, {}))
    )
    point_to(folder)
    measured = {row.id: row.quality["snr_db"] for row in load_run(finished).sentence_rows if "snr_db" in row.quality}
    assert measured == {first: 21.5}


def test_page_tells_nobody_where_the_inputs_lay(finished: Path, audio_root: Path) -> None:
    assert call(["report", str(finished), "--out", str(finished / "page.html"), "--max-megabytes", "0.3"]) == 0
    text = (finished / "page.html").read_text()
    assert "/somewhere/private" not in text
    assert str(audio_root.parent) not in text
    assert "secret-host" not in text


def test_untimed_page_depends_on_nothing_but_the_results(finished: Path, audio_root: Path, tmp_path: Path) -> None:
    folders = {name: finished / "stages" / folder / "current" for name, folder in STAGES.items()}
    once = data_of_stages(folders, title="t")
    moved = tmp_path / "elsewhere"
    shutil.copytree(finished, moved, symlinks=True)
    again = data_of_stages({name: moved / "stages" / folder / "current" for name, folder in STAGES.items()}, title="t")
    assert once == again
    assert once.seconds_taken is None
    assert load_run(finished).seconds_taken == 35.0


def test_unfinished_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match=r"holds no finished mining run .stage documents"):
        load_run(tmp_path)
    assert call(["report", str(tmp_path / "absent")]) == 2
    assert "run speechkit mine first" in capsys.readouterr().err
