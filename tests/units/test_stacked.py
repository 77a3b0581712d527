from __future__ import annotations

import numpy as np
import pytest

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.units.codebook import Codebook
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.stacked import StackedQuantizer, train_stacked

SPEC = EncoderSpec(model="toy", weights="toy-1", layer="9", normalization="none", dim=6)
ROWS = np.random.default_rng(0).standard_normal((600, 6)).astype(np.float32)


def batches():
    yield ROWS[:400]
    yield ROWS[400:]


@pytest.mark.parametrize("way", ["residual", "product"])
def test_units_are_the_nearest_of_what_each_codebook_sees(way):
    quantizer = train_stacked(batches, way, 3, KMeansConfig(clusters=8), SPEC)
    units = quantizer.assign(ROWS)
    assert units.shape == (600, 3)
    rest = ROWS.astype(np.float64)
    for place, codebook in enumerate(quantizer.codebooks):
        seen = rest if way == "residual" else ROWS[:, 2 * place : 2 * place + 2]
        distances = ((seen[:, None] - codebook.centroids[None]) ** 2).sum(2)
        chosen = distances[np.arange(600), units[:, place]]
        np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4, atol=1e-4)
        if way == "residual":
            rest = rest - codebook.centroids[units[:, place]]


def test_every_codebook_of_a_residual_quantizer_brings_the_features_nearer():
    quantizer = train_stacked(batches, "residual", 4, KMeansConfig(clusters=8), SPEC)
    units = quantizer.assign(ROWS)
    errors = [((ROWS - quantizer.reconstruct(units[:, :n])) ** 2).sum() for n in (1, 2, 3, 4)]
    assert sorted(errors, reverse=True) == errors
    product = train_stacked(batches, "product", 3, KMeansConfig(clusters=8), SPEC)
    assert ((ROWS - product.reconstruct(product.assign(ROWS))) ** 2).sum() < (ROWS**2).sum() / 2


@pytest.mark.parametrize("way", ["residual", "product"])
def test_a_folder_gives_the_same_units(way, tmp_path):
    quantizer = train_stacked(batches, way, 2, KMeansConfig(clusters=4), SPEC)
    quantizer.save(tmp_path)
    again = StackedQuantizer.load(tmp_path)
    assert again.assign(ROWS).tolist() == quantizer.assign(ROWS).tolist()
    again.check(SPEC)
    Codebook(np.zeros((4, quantizer.codebooks[0].centroids.shape[1])), None).save(tmp_path / "codebook-1")
    with pytest.raises(UserError, match="does not match"):
        StackedQuantizer.load(tmp_path)


def test_what_does_not_fit_is_told():
    with pytest.raises(UserError, match=r"6 dimensions cannot.*split into 4"):
        train_stacked(batches, "product", 4, KMeansConfig(clusters=4))
    with pytest.raises(UserError, match="set normalization to none"):
        train_stacked(batches, "residual", 2, KMeansConfig(clusters=4, normalization="standardized"))
    quantizer = train_stacked(batches, "product", 3, KMeansConfig(clusters=4), SPEC)
    with pytest.raises(UserError, match=r"takes \(frames, 6\)"):
        quantizer.assign(ROWS[:, :5])
    with pytest.raises(UserError, match=r"frame 1.*features contains NaN"):
        quantizer.assign(np.array([[0.0] * 6, [np.nan] * 6]))
    with pytest.raises(UserError, match="2 columns"):
        quantizer.reconstruct(np.zeros((3, 2), int))
    other = EncoderSpec(model="toy", weights="toy-1", layer="6", normalization="none", dim=6)
    with pytest.raises(UserError, match="layer"):
        quantizer.check(other)
    with pytest.raises(UserError, match="does not record its encoder"):
        train_stacked(batches, "product", 3, KMeansConfig(clusters=4)).check(SPEC)
