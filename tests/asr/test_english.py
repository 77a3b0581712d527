"""The manifests of the embedded English model: what is learnt from, and that the held-out speakers are not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from speechkit.data import Utterance, read_manifest, write_manifest
from speechkit.io.audio import write_audio
from speechkit.shipped import load_module

_english = load_module(Path(__file__).parents[2] / "scripts", "english_manifests")
HELD_OUT = _english.HELD_OUT
main = _english.main
sentences = _english.sentences
spoken_form = _english.spoken_form


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Mr. O'Neil, don't go!", "mister o'neil don't go"),
        ("'quoted' — text", "quoted text"),
        ("It cost $5", None),
        ("...", None),
    ],
)
def test_texts_become_what_is_said_or_nothing(written, spoken):
    assert spoken_form(written) == spoken


def test_sentences_of_a_book_are_those_that_can_be_said(tmp_path):
    book = tmp_path / "book.txt"
    book.write_text(
        "CHAPTER 1\n\nCall me whatever you like, reader.\nIt was 1851 then, as they say. No.\n", encoding="utf-8"
    )
    assert sentences([book]) == ["call me whatever you like reader"]


def test_held_out_speakers_are_tested_on_and_never_learnt_from(tmp_path, monkeypatch, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32) * 0.5
    for speaker in (*HELD_OUT, "9001"):
        folder = data / "LibriSpeech/dev-clean" / speaker / "1"
        write_audio(folder / f"{speaker}-1-0000.flac", tone, 16_000)
        (folder / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0000 SPOKEN BY MANY\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["english", str(data), str(out), "--synthetic", "0", "--repeat", "2"])
    assert main() == 0
    train = list(read_manifest(out / "train.jsonl"))
    assert {row.speaker for row in train} == {"9001"}
    assert [row.id for row in train] == ["librispeech-9001-1-0000", "librispeech-9001-1-0000-2"]
    assert {row.speaker for row in read_manifest(out / "test.jsonl")} == set(HELD_OUT)
    assert "speechocean762 is left out" in capsys.readouterr().out


def test_readers_for_calibration_are_kept_apart_and_their_sentences_unspoken(tmp_path, monkeypatch):
    data, out, voice = tmp_path / "data", tmp_path / "out", tmp_path / "voice"
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32) * 0.5
    for speaker, text in (("1272", "A QUIET ROAD"), ("9001", "A LOUD ROAD")):
        folder = data / "LibriSpeech/dev-clean" / speaker / "1"
        write_audio(folder / f"{speaker}-1-0000.flac", tone, 16_000)
        (folder / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0000 {text}\n", encoding="utf-8")
    write_audio(voice / "a.flac", tone, 16_000)
    texts = ("A quiet road.", "A loud road.", "Another road.")
    rows = [
        Utterance(id=f"s{n}", audio_filepath="a.flac", duration=1.0, sample_rate=16_000, text=text)
        for n, text in enumerate(texts)
    ]
    write_manifest(voice / "manifest.jsonl", rows)
    spoken = ["--synthetic", "0", "--calibrating", "--spoken", str(voice / "manifest.jsonl")]
    monkeypatch.setattr(sys, "argv", ["english", str(data), str(out), *spoken])
    assert main() == 0
    assert [row.text for row in read_manifest(out / "train.jsonl")] == ["a loud road", "a loud road", "another road"]
    assert [row.speaker for row in read_manifest(out / "calibrating.jsonl")] == ["1272"]
