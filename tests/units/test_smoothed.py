"""Claims about smoothed codebooks: less is changed by what nobody hears, and the interface is a codebook's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.units.codebook import Codebook
from speechkit.units.quantizers import load_quantizer, unit_sets
from speechkit.units.smoothed import SmoothedCodebook, Smoothing, mean_distance
from speechkit.units.ued import count_edits, ued_score

CLUSTERS, DIM = 8, 5
ENCODER = EncoderSpec(model="planted", weights="w", layer="3", normalization="none", dim=DIM)


def planted(seed: int) -> tuple[Codebook, NDArray[np.int64], NDArray[np.float32]]:
    """A codebook, the true unit of each frame, and frames that often lie nearer to another centroid."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIM)).astype(np.float32)
    random = np.random.default_rng(seed)
    truth = np.repeat(random.integers(0, CLUSTERS, 60), random.integers(4, 9, 60))
    frames = centres[truth] + 0.6 * random.standard_normal((len(truth), DIM))
    return Codebook(centres, ENCODER), truth, frames.astype(np.float32)


def smoothed(frames: int = 3, switch_penalty: float = 1.0) -> SmoothedCodebook:
    codebook, _, features = planted(1)
    return SmoothedCodebook(codebook, Smoothing(frames, switch_penalty), mean_distance(codebook, [features], frames))


def test_smoothed_units_are_nearer_to_the_truth_than_the_nearest_centroids() -> None:
    codebook, truth, frames = planted(2)
    clean = {"item": truth}

    def distance(system: Codebook | SmoothedCodebook) -> float:
        return ued_score([count_edits(clean, {"item": system.assign(frames)})]).ued

    assert distance(smoothed()) < 0.6 * distance(codebook)


def test_without_smoothing_the_units_are_those_of_the_codebook() -> None:
    codebook, _, frames = planted(3)
    np.testing.assert_array_equal(smoothed(1, 0.0).assign(frames), codebook.assign(frames))


def test_it_comes_back_from_its_folder_and_belongs_to_its_encoder(tmp_path: Path) -> None:
    made = smoothed()
    made.save(tmp_path)
    again = load_quantizer(tmp_path)
    assert isinstance(again, SmoothedCodebook)
    assert again.spec == made.spec
    assert [(of.digest, of.clusters) for of in unit_sets(again)] == [(made.spec.digest, CLUSTERS)]
    _, _, frames = planted(4)
    np.testing.assert_array_equal(again.units(frames), made.units(frames))
    with pytest.raises(UserError, match=r"layer.*'3'.*'4'"):
        again.check(EncoderSpec(model="planted", weights="w", layer="4", normalization="none", dim=DIM))


def test_a_codebook_of_another_smoothing_is_refused(tmp_path: Path) -> None:
    smoothed().save(tmp_path / "a")
    Codebook(np.eye(DIM), ENCODER).save(tmp_path / "a" / "codebook")
    with pytest.raises(UserError, match="does not match"):
        load_quantizer(tmp_path / "a")


def test_bad_frames_and_settings_are_refused() -> None:
    frames = np.zeros((6, DIM), np.float32)
    frames[4, 1] = np.nan
    with pytest.raises(UserError, match="frame 4"):
        smoothed().assign(frames)
    assert smoothed().assign(frames[:0]).shape == (0,)
    with pytest.raises(ConfigError, match="frames is 2"):
        Smoothing(2)
    with pytest.raises(ConfigError, match="switch_penalty is -1"):
        Smoothing(1, -1)
    with pytest.raises(UserError, match="no frames"):
        mean_distance(planted(0)[0], [], 3)
