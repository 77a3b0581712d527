"""`speechkit align` as a user runs it."""

from __future__ import annotations

import itertools
import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

from speechkit.cli.align import app, side_by_side
from speechkit.errors import AlignmentError, UserError
from speechkit.mining.alignment import needleman_wunsch
from speechkit.mining.known_text import PlacedSentence, PlacedText
from speechkit.mining.records import WordTime

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def texts(tmp_path):
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_text("the quick brown fox jumps over the lazy dog\n", encoding="utf-8")
    b.write_text("\ufeffthe quick brown fax over the very lazy dog", encoding="utf-8")
    return a, b


def test_words_stand_above_each_other(texts):
    result = run("text", *texts, "--words", "--gap-extend", "-0.5")
    assert result.exit_code == 0
    score, first, marks, second = result.output.rstrip("\n").split("\n")
    assert score == "score 5"
    assert first.split() == ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
    assert second.split() == ["the", "quick", "brown", "fax", "over", "the", "very", "lazy", "dog"]
    for word in ("quick", "brown", "over", "lazy", "dog"):
        assert first.index(word) == second.index(word)
    assert set(marks) == {" ", "*", "-", "+"}


def test_json_operations_tile_both_texts(texts):
    result = run("text", *texts, "--json")
    operations = json.loads(result.output)["operations"]
    assert operations[0]["a_begin"] == operations[0]["b_begin"] == 0
    assert (operations[-1]["a_end"], operations[-1]["b_end"]) == (43, 42)
    for before, after in itertools.pairwise(operations):
        assert (before["a_end"], before["b_end"]) == (after["a_begin"], after["b_begin"])


def test_view_is_wrapped_and_shows_control_characters():
    a, b = "abc\tdef " * 20, "abc def " * 20
    lines = side_by_side(a, b, needleman_wunsch(a, b)[1], 40)
    assert max(map(len, lines)) <= 40
    assert "\t" not in "".join(lines)


def test_sentences_of_a_document_are_found_in_recognised_text(tmp_path):
    document, heard = tmp_path / "report.txt", tmp_path / "heard.txt"
    document.write_text(
        "The ministers met in Geneva on Tuesday. Nobody read this remark aloud at all. They agreed on a new treaty.",
        encoding="utf-8",
    )
    heard.write_text("the minister met in geneva on tuesday and they agreed on a new treaty", encoding="utf-8")
    result = run("sentences", document, heard, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.output)
    assert rows[0]["heard"] == "the minister met in geneva on tuesday"
    assert rows[1]["heard"] is None
    assert rows[2]["heard"] == "they agreed on a new treaty"
    assert "2 of 3 sentences found" in run("sentences", document, heard).output


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", None])
def test_text_that_cannot_be_read_is_named(texts, tmp_path, content):
    bad = tmp_path / "bad.txt"
    if content is not None:
        bad.write_bytes(content)
    result = run("text", texts[0], bad)
    assert isinstance(result.exception, UserError)
    assert "bad.txt" in str(result.exception)


def test_texts_too_large_for_all_pairs_are_refused_with_advice(tmp_path):
    large = tmp_path / "large.txt"
    large.write_text("a" * 200_000, encoding="utf-8")
    result = run("text", large, large)
    assert isinstance(result.exception, AlignmentError)
    assert "align sentences" in str(result.exception)


def test_unknown_output_format_is_refused_before_any_work(tmp_path):
    result = run("audio", tmp_path / "none.wav", tmp_path / "none.txt", "--out", tmp_path / "x.srt")
    assert isinstance(result.exception, UserError)
    assert ".TextGrid" in str(result.exception)


@pytest.mark.parametrize("suffix", ["json", "ctm", "TextGrid"])
def test_a_recording_whose_name_is_no_utf8_is_written_with_escapes(tmp_path, monkeypatch, suffix):
    from speechkit.io.audio import write_audio

    recording = tmp_path / os.fsdecode(b"caf\xe9.wav")
    write_audio(recording, np.zeros(16000, np.float32), 16000)
    word = WordTime("hi", 0.1, 0.3, -0.1)
    found = PlacedText([PlacedSentence("a-0", "Hi.", 0.1, 0.3, 1.0, 0.99, None, [word], [])], [], [])
    monkeypatch.setattr("speechkit.mining.known_text.align_recording", lambda *_, **__: found)
    out = tmp_path / f"out.{suffix}"
    result = run("audio", recording, tmp_path / "talk.txt", "--out", out, "--json")
    assert result.exit_code == 0, result.exception
    assert json.loads(result.output)["recording"] == f"{tmp_path}/caf\\xe9.wav"
    assert suffix == "TextGrid" or "caf\\" in out.read_text()


def test_recording_with_its_text_becomes_times(shared_data, tmp_path):
    from speechkit.io.audio import read_audio, write_audio

    chapter = shared_data / "LibriSpeech/dev-clean/84/121550"
    rows = [line.split(" ", 1) for line in (chapter / "84-121550.trans.txt").read_text().splitlines()[:2]]
    pieces = [read_audio(chapter / f"{name}.mp3") for name, _ in rows]
    recording, document = tmp_path / "talk.flac", tmp_path / "talk.txt"
    write_audio(recording, np.concatenate(pieces), 16000)
    spoken = [f"{said.capitalize()}." for _, said in rows]
    document.write_text("\n".join([*spoken, "Nobody ever said these particular words here."]), encoding="utf-8")
    out = tmp_path / "talk.TextGrid"
    result = run("audio", recording, document, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["not_found"] == ["Nobody ever said these particular words here."]
    edges = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]) / 16000
    assert len(found["sentences"]) == 2
    for row, begin, end in zip(found["sentences"], edges[:-1], edges[1:], strict=True):
        assert begin - 0.1 <= row["start"] <= begin + 1.0
        assert end - 1.0 <= row["end"] <= end + 0.1
        assert [word["word"] for word in row["words"]] == row["text"].split()
    assert 'class = "IntervalTier"' in out.read_text(encoding="utf-8")
