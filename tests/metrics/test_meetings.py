"""Meetings: known values by hand and by meeteval's own reader, and what is said when something is missing."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from speechkit.cli.score_meetings import score_meetings
from speechkit.errors import MissingExtraError, UserError
from speechkit.metrics.meetings import Segment, compare_meetings, known_measures, meeting_counts, read_segments

REFERENCE = [
    Segment("m", "anna", "hello there world", 0.0, 3.0),
    Segment("m", "ben", "yes", 4.0, 5.0),
    Segment("m", "anna", "good bye", 6.0, 7.0),
]


def rate(hypothesis, measure, **options):
    return meeting_counts(REFERENCE, hypothesis, measure, **options)["m"]


def test_names_of_speakers_do_not_matter_and_a_swap_counts_in_cpwer_only():
    renamed = [Segment("m", {"anna": "2", "ben": "1"}[s.speaker], s.words, s.begin, s.end) for s in REFERENCE]
    assert [rate(renamed, m).errors for m in ("cpwer", "orcwer", "tcpwer")] == [0, 0, 0]
    swapped = [*renamed[:2], Segment("m", "1", "good bye", 6.0, 7.0)]  # ben is said to take leave
    assert [rate(swapped, m).errors for m in ("cpwer", "orcwer", "tcpwer")] == [4, 0, 4]


def test_right_words_at_the_wrong_time_count_in_tcpwer_only():
    late = [Segment("m", s.speaker, s.words, s.begin + 60, s.end + 60) for s in REFERENCE]
    assert rate(late, "cpwer").errors == 0
    assert rate(late, "tcpwer").errors == 12
    assert rate(late, "tcpwer", collar_seconds=100).errors == 0


def test_counts_equal_meeteval_on_its_own_reading_of_the_stm(tmp_path):
    meeteval = pytest.importorskip("meeteval")
    said = "m 1 anna 0.0 3.0 <o> hello there world\nm 1 ben 4.0 5.0 <o> yes\nn 1 cy 0.0 2.0 <o> one two\n"
    heard = "m 1 x 0.0 3.0 hello the world\nm 1 y 4.0 5.0 yes yes\nn 1 x 0.0 2.0 two\n"
    (tmp_path / "r.stm").write_text(said)
    (tmp_path / "h.stm").write_text(heard)
    ours = compare_meetings(
        read_segments(tmp_path / "r.stm"), {"h": read_segments(tmp_path / "h.stm", "hypothesis")}, normalizer="none"
    )
    sides = [meeteval.io.STM.parse(text.replace("<o> ", "")) for text in (said, heard)]
    for rates, theirs in zip(
        ours.rates,
        (meeteval.wer.cpwer(*sides), meeteval.wer.orcwer(*sides), meeteval.wer.tcpwer(*sides, collar=5)),
        strict=True,
    ):
        whole = meeteval.wer.combine_error_rates(theirs)
        found = rates.systems["h"]
        assert (found.rate, found.substitutions, found.deletions, found.insertions) == (
            whole.error_rate, whole.substitutions, whole.deletions, whole.insertions,
        )  # fmt: skip


def test_the_command_reads_manifests_and_writes_tables(tmp_path):
    def rows(name, speaker, field):
        lines = [
            {"id": f"{s.recording}-{i}", "recording": s.recording, "speaker": speaker(s.speaker), "offset": s.begin,
             "duration": s.end - s.begin, "audio_filepath": "m.wav", field: s.words}
            for i, s in enumerate(REFERENCE)
        ]  # fmt: skip
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(tmp_path / name)

    app = typer.Typer()
    app.command()(score_meetings)
    files = [rows("ref.jsonl", str, "text"), rows("hyp.jsonl", lambda name: name.upper(), "pred_text")]
    done = CliRunner().invoke(app, [*files, "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {r["measure"]: r["systems"]["hyp"]["rate"] for r in found["rates"]} == {
        "cpwer": 0, "orcwer": 0, "tcpwer": 0,
    }  # fmt: skip
    assert "| cpWER | hyp | 0.00 |" in (tmp_path / "out" / "scores.md").read_text()
    assert r"\toprule" in (tmp_path / "out" / "scores.tex").read_text()


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="needs the times of all segments"):
        rate([Segment("m", "a", "yes")], "tcpwer")
    with pytest.raises(UserError, match="other: is not in the reference"):
        rate([Segment("other", "a", "yes")], "cpwer")
    assert rate([], "cpwer").deletions == 6
    (tmp_path / "r.trn").write_text("hello (a)\n")
    with pytest.raises(UserError, match="has no recording"):
        read_segments(tmp_path / "r.trn")
    with pytest.raises(UserError, match="choose from cpwer, orcwer, tcpwer"):
        known_measures(["wer"])
    monkeypatch.setitem(__import__("sys").modules, "meeteval.wer", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        rate([], "cpwer")
