"""Claims about the syllable encoder in the package and the default of `speechkit syllables`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechkit.cli.main import call
from speechkit.data import read_manifest
from speechkit.encoders import load_encoder
from speechkit.encoders.derived import DERIVED
from speechkit.io.audio import read_audio, write_audio
from speechkit.syllables import make_segmenter
from speechkit.syllables.segmenters import ENCODER, packaged_settings

SPEECH = Path(__file__).parents[2] / "recipes/mining/sample/audio/bees.ogg"


def test_the_default_cuts_speech_and_leaves_silence_out(tmp_path):
    speech = read_audio(SPEECH, sample_rate=16_000)[: 10 * 16_000]
    pause = 1e-4 * np.random.default_rng(0).standard_normal(3 * 16_000).astype(np.float32)
    write_audio(tmp_path / "talk.wav", np.concatenate([speech, pause]), 16_000)
    assert call(["syllables", str(tmp_path / "talk.wav"), "--out", str(tmp_path / "cut"), "--device", "cpu"]) == 0
    assert not (tmp_path / "cut/thresholds.json").exists()
    (row,) = read_manifest(tmp_path / "cut/syllables.jsonl")
    assert 2.5 < len(row.alignment["syllable"]) / 10 < 5.5
    assert max(item.start + item.duration for item in row.alignment["syllable"]) < 10.3


def test_frames_are_flat_inside_its_segments_and_small_in_silence():
    encoder, plain = (load_encoder(name, device="cpu") for name in (ENCODER, "embedded"))
    speech = read_audio(SPEECH, sample_rate=16_000)[: 10 * 16_000]
    frames = encoder.encode(speech)
    segments = make_segmenter("dynamic", **packaged_settings("dynamic")).segment(frames)

    def spread(features):
        """Share of the variance that is inside segments."""
        inside = sum(((features[a:b] - features[a:b].mean(0)) ** 2).sum() for a, b in segments)
        kept = np.concatenate([features[a:b] for a, b in segments])
        return inside / ((kept - kept.mean(0)) ** 2).sum()

    assert spread(frames) < 0.7 * spread(plain.encode(speech))
    silence = encoder.encode(np.zeros(16_000, np.float32))
    assert np.linalg.norm(silence, axis=1).mean() < 0.4 * np.median(np.linalg.norm(frames, axis=1))


@pytest.mark.parametrize("segmenter", ["greedy", "dynamic"])
def test_settings_in_the_package_are_those_of_a_segmenter(segmenter):
    make_segmenter(segmenter, **packaged_settings(segmenter))


def test_it_is_small_and_has_a_card():
    folder = DERIVED[ENCODER]
    assert (folder / "model.safetensors").stat().st_size <= 8_000_000
    assert "R-value" in (folder / "README.md").read_text()
