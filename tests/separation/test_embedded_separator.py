"""The separator in the package: real mixtures come apart, a lone speaker stays one track, and it is small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechkit.errors import UserError
from speechkit.io.audio import read_audio
from speechkit.metrics.separation import score_separation
from speechkit.separation import model
from speechkit.separation.model import EMBEDDED, MODELS, checkpoint_name
from speechkit.separation.separate import load_window_separator, separate

SAMPLE = Path(__file__).parents[2] / "recipes/mining/sample/audio/bees.ogg"


@pytest.fixture(scope="module")
def separator():
    return load_window_separator("embedded", "cpu")


@pytest.mark.slow
def test_tracks_of_real_mixtures_are_closer_to_the_speakers_than_the_mixtures(separator, shared_data):
    gains = []
    for number in range(12):
        stem = f"{shared_data}/libri2mix-8k/item{number}"
        mixture, *sources = (
            read_audio(f"{stem}_{part}.flac", sample_rate=8000) for part in ("mix", "source1", "source2")
        )
        separation = separate(mixture, 8000, model=separator, speakers=2)
        scores = score_separation(mixture, np.stack(sources), separation.tracks)
        gains += [score.improvement_db for score in scores]
    assert np.mean(gains) > 4.5, gains
    assert np.mean(np.array(gains) > 0) > 0.85, gains


def test_a_lone_speaker_is_one_track_the_recording_itself(separator):
    lone = read_audio(SAMPLE, sample_rate=16_000)[: 10 * 16_000]
    separation = separate(lone, 16_000, model=separator)
    assert separation.count.speakers == 1
    assert separation.count.confidence is not None
    assert separation.count.confidence > 0.7
    np.testing.assert_array_equal(separation.tracks[0], lone)
    assert not separation.tracks[1:].any()


def test_noise_and_silence_are_no_two_speakers(separator):
    noise = 0.05 * np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    assert separate(noise, 8000, model=separator).count.speakers <= 1
    silence = separate(np.zeros(40_000, np.float32), 8000, model=separator)
    assert silence.count.speakers == 0
    assert not silence.tracks.any()


def test_the_separator_is_small_and_has_a_card():
    assert (MODELS / EMBEDDED / "model.safetensors").stat().st_size <= 6_000_000
    assert "SI-SDR" in (MODELS / EMBEDDED / "README.md").read_text()


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(model, "MODELS", tmp_path)
    with pytest.raises(UserError, match="weights of the embedded separator are missing"):
        checkpoint_name()
