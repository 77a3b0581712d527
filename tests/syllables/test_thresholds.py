"""Thresholds from the data find planted kinds, and belong to one encoder."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.syllables.thresholds import Thresholds, TwoGaussians, estimate_thresholds, fit_two_gaussians

SPEC = EncoderSpec(model="made-up", weights="w1", layer="4", normalization="none", dim=16)


def speech(seed, dim=16, origin=None, count=80):
    """Frames and levels: syllables of a direction each, and pauses near zero."""
    random = np.random.default_rng(seed)
    frames, levels = [], []
    for _ in range(count):
        length = int(random.integers(6, 14))
        loud = random.random() < 0.75
        centre = 6 * random.standard_normal(dim) / 4 if loud else np.zeros(dim)
        frames.append(centre + 0.15 * random.standard_normal((length, dim)))
        levels.append((-20 if loud else -70) + 3 * random.standard_normal(length))
    table = np.concatenate(frames) + (0 if origin is None else origin)
    return table.astype(np.float32), np.concatenate(levels)


def density(x, mean, deviation):
    return np.exp(-((x - mean) ** 2) / (2 * deviation**2)) / deviation


@settings(max_examples=60)
@given(st.floats(-5, 5), st.floats(0.5, 8), st.floats(0.2, 2), st.floats(0.2, 2))
def test_both_kinds_are_equally_likely_at_the_crossing(mean, distance, first, second):
    kinds = TwoGaussians((mean, mean + distance), (first, second), (0.3, 0.7))
    x = kinds.crossing
    assert mean <= x <= mean + distance
    grid = np.linspace(mean, mean + distance, 2001)
    if (np.diff(np.sign(density(grid, mean, first) - density(grid, mean + distance, second))) != 0).any():
        assert density(x, mean, first) == pytest.approx(density(x, mean + distance, second), rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_equals_that_of_sklearn(seed):
    random = np.random.default_rng(seed)
    values = np.concatenate([random.normal(0, 0.5, 3000), random.normal(3, 1.0 + seed / 4, 2000)])
    found = fit_two_gaussians(values, "values")
    mixture = GaussianMixture(2, tol=1e-8, max_iter=2000, random_state=0).fit(values[:, None])
    order = np.argsort(mixture.means_[:, 0])
    assert found.means == pytest.approx(mixture.means_[order, 0], abs=0.02)
    assert found.deviations == pytest.approx(np.sqrt(mixture.covariances_[order, 0, 0]), abs=0.02)
    assert found.shares == pytest.approx(mixture.weights_[order], abs=0.01)


def test_planted_syllables_are_found_with_estimated_thresholds():
    tables = [speech(seed)[0] for seed in range(5)]
    found = estimate_thresholds(tables, SPEC)
    assert found.norm_separation > 2
    assert 0.8 < found.norm < 4
    segments = sum(len(found.greedy().segment(table)) for table in tables)
    assert 0.9 * 5 * 60 < segments < 1.1 * 5 * 60


def test_the_mean_of_what_is_quiet_is_taken_off_where_levels_are_given():
    origin = np.linspace(-9, 9, 16)
    made = [speech(seed, origin=origin) for seed in range(5)]
    found = estimate_thresholds([table for table, _ in made], SPEC, loudness=[levels for _, levels in made])
    assert found.origin == pytest.approx(origin, abs=0.1)
    plain = estimate_thresholds([speech(seed)[0] for seed in range(5)], SPEC)
    for (table, _), seed in zip(made, range(5), strict=True):
        same = plain.greedy().segment(speech(seed)[0])
        assert np.array_equal(found.greedy().segment(found.centred(table)), same)


def test_a_rate_is_met_by_merge_and_penalty():
    tables = [np.cumsum(speech(seed)[0], 0) / 8 for seed in range(4)]
    found = estimate_thresholds(tables, SPEC, rate=4.0)
    seconds = sum((np.linalg.norm(table, axis=1) >= found.norm).sum() for table in tables) * 0.02
    assert sum(len(found.greedy().segment(table)) for table in tables) / seconds == pytest.approx(4.0, rel=0.1)
    assert found.penalty > 0


def test_thresholds_survive_the_file_and_refuse_another_encoder(tmp_path):
    found = estimate_thresholds([speech(0)[0]], SPEC)
    found.save(tmp_path / "thresholds.json")
    assert Thresholds.load(tmp_path / "thresholds.json", SPEC) == found
    other = msgspec.structs.replace(SPEC, layer="3")
    with pytest.raises(UserError, match=r"layer.*'4'.*'3'"):
        Thresholds.load(tmp_path / "thresholds.json", other)
    (tmp_path / "bad.json").write_text('{"norm": 1}')
    with pytest.raises(UserError, match="not a thresholds file"):
        Thresholds.load(tmp_path / "bad.json")
    with pytest.raises(UserError, match="cannot be read"):
        Thresholds.load(tmp_path / "none.json")
    broken = msgspec.to_builtins(found) | {"origin": [1.0]}
    (tmp_path / "bad.json").write_bytes(msgspec.json.encode(broken))
    with pytest.raises(UserError, match=r"origin.*1 values, frames.*16"):
        Thresholds.load(tmp_path / "bad.json")


def test_silence_too_little_speech_and_another_width_are_refused():
    with pytest.raises(UserError, match="are equal"):
        estimate_thresholds([np.zeros((90, 16), np.float32)], SPEC)
    with pytest.raises(UserError, match="too few"):
        estimate_thresholds([np.ones((3, 16), np.float32)], SPEC)
    with pytest.raises(UserError, match="too few"):
        estimate_thresholds([], SPEC)
    with pytest.raises(UserError, match="width 16"):
        estimate_thresholds([np.ones((30, 4), np.float32)], SPEC)
    with pytest.raises(UserError, match="frame 2 "):
        estimate_thresholds([np.full((30, 16), [[1.0]] * 2 + [[np.nan]] * 28, np.float32)], SPEC)
