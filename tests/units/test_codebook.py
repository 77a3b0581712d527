from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.units.assignment import nearest, nearest_distances
from speechkit.units.codebook import Codebook
from speechkit.units.deduplication import deduplicate, repeat
from speechkit.units.quantizers import UnitSet

SPEC = EncoderSpec(model="toy", weights="toy-1", layer="9", normalization="none", dim=5)


def random_rows(seed, frames, width=5):
    return np.random.default_rng(seed).standard_normal((frames, width)).astype(np.float32)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 300), st.integers(1, 70), st.integers(1, 40))
def test_assignment_equals_measuring_every_distance(seed, frames, clusters, width):
    rows, centroids = random_rows(seed, frames, width), random_rows(seed + 1, clusters, width)
    labels, distances = nearest_distances(rows, centroids)
    every = ((rows[:, None].astype(np.float64) - centroids[None]) ** 2).sum(2)
    if frames:
        np.testing.assert_allclose(every[np.arange(frames), labels], every.min(1), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(distances, every.min(1), rtol=1e-3, atol=1e-3)
    assert labels.shape == (frames,)


def test_equal_centroids_give_the_lower_unit_and_float16_features_are_taken():
    centroids = np.repeat(random_rows(0, 20), 2, axis=0)
    rows = centroids[::2].astype(np.float16)
    assert nearest(rows, centroids).tolist() == list(range(0, 40, 2))


@given(st.lists(st.integers(0, 3), max_size=60))
def test_deduplication_and_its_durations_give_the_frames_back(frames):
    units, durations = deduplicate(np.array(frames, np.int32))
    assert repeat(units, durations).tolist() == frames
    assert (np.diff(units) != 0).all()
    assert len(units) == sum(a != b for a, b in zip(frames, [None, *frames], strict=False))


def test_durations_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="2 units but 1 durations"):
        repeat(np.array([1, 2]), np.array([3]))
    with pytest.raises(UserError, match="at least 1"):
        repeat(np.array([1, 2]), np.array([3, 0]))


@pytest.mark.parametrize("normalization", ["none", "standardized", "unit-length"])
def test_a_codebook_is_the_same_after_saving(tmp_path, normalization):
    standard = normalization == "standardized"
    mean, scale = (random_rows(3, 1)[0], np.abs(random_rows(4, 1)[0]) + 0.1) if standard else (None, None)
    codebook = Codebook(random_rows(0, 8), SPEC, normalization, mean, scale)
    codebook.save(tmp_path / "units")
    again = Codebook.load(tmp_path / "units")
    assert again.spec == codebook.spec
    rows = random_rows(1, 200)
    assert np.array_equal(again.assign(rows), codebook.assign(rows))


def test_a_codebook_refuses_another_layer_and_names_it():
    codebook = Codebook(random_rows(0, 8), SPEC)
    codebook.check(SPEC)
    with pytest.raises(UserError, match=r"layer 9.*features come.*toy layer 6.*'9'.*'6'"):
        codebook.check(msgspec.structs.replace(SPEC, layer="6"))
    with pytest.raises(UserError, match="does not record its encoder"):
        Codebook(random_rows(0, 8), None).check(SPEC)


def test_units_of_another_codebook_are_refused():
    first, second = Codebook(random_rows(0, 8), SPEC), Codebook(random_rows(1, 8), SPEC)
    with pytest.raises(UserError, match="assign the units again"):
        first.spec.require(second.spec, "the vocoder")


def test_bad_features_are_named():
    codebook = Codebook(random_rows(0, 8), SPEC)
    rows = random_rows(1, 10)
    rows[7, 2] = np.nan
    with pytest.raises(UserError, match="frame 7"):
        codebook.assign(rows)
    with pytest.raises(UserError, match=r"shape \(3, 4\)"):
        codebook.assign(np.zeros((3, 4), np.float32))
    assert codebook.assign(np.zeros((0, 5), np.float32)).shape == (0,)


def test_damaged_and_foreign_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Codebook.load(tmp_path)
    Codebook(random_rows(0, 8), SPEC).save(tmp_path / "a")
    Codebook(random_rows(1, 8), SPEC).save(tmp_path / "b")
    (tmp_path / "a" / "codebook.json").write_bytes((tmp_path / "b" / "codebook.json").read_bytes())
    with pytest.raises(UserError, match="does not match"):
        Codebook.load(tmp_path / "a")
    (tmp_path / "b" / "codebook.json").write_text("{")
    with pytest.raises(UserError, match="create it again"):
        Codebook.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("kind", "fields", "wrong"),
    [
        (UnitSet, {"digest": "d", "clusters": 100, "frames_per_second": 50.0}, {"clusters": 10**12}),
        (UnitSet, {"digest": "d", "clusters": 100, "frames_per_second": 50.0}, {"frames_per_second": 0.0}),
        (EncoderSpec, {"model": "m", "weights": "w", "layer": "0", "normalization": "n", "dim": 4}, {"dim": 10**10}),
        (EncoderSpec, {"model": "m", "weights": "w", "layer": "0", "normalization": "n", "dim": 4}, {"hop": 0}),
    ],
)
def test_specs_of_files_hold_no_sizes_that_nothing_has(kind, fields, wrong):
    assert msgspec.convert(fields, kind)
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert({**fields, **wrong}, kind)
