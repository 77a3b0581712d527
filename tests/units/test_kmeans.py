from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest

from speechkit.errors import ConfigError, MissingExtraError, UserError
from speechkit.units.assignment import nearest
from speechkit.units.kmeans import KMeansConfig, train_kmeans


def islands(seed=0, clusters=12, frames=3000, width=6):
    """Well separated groups: (frames, centres)."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, width)) * 20
    labels = random.integers(clusters, size=frames)
    return (centres[labels] + random.standard_normal((frames, width))).astype(np.float32), centres


def in_batches(rows, size=257):
    return lambda: (rows[begin : begin + size] for begin in range(0, len(rows), size))


@pytest.mark.parametrize("update", ["lloyd", "minibatch"])
@pytest.mark.parametrize("sample_frames", [500, 10_000])
def test_separated_groups_are_found_from_a_sample_or_from_all(update, sample_frames):
    rows, centres = islands()
    config = KMeansConfig(clusters=12, update=update, sample_frames=sample_frames)
    result = train_kmeans(in_batches(rows), config)
    distances = np.linalg.norm(centres[:, None] - result.codebook.centroids[None], axis=2)
    assert sorted(distances.argmin(1)) == list(range(12))
    assert distances.min(1).max() < 0.8
    assert result.frames == 3000


def test_the_same_seed_gives_the_same_codebook_however_the_frames_are_batched_in_memory():
    rows, _ = islands(frames=2000)
    config = KMeansConfig(clusters=9, seed=3)
    first, again = (train_kmeans(in_batches(rows), config).codebook for _ in range(2))
    assert first.spec.digest == again.spec.digest
    other = train_kmeans(in_batches(rows), KMeansConfig(clusters=9, seed=4)).codebook
    assert other.spec.digest != first.spec.digest


def test_it_is_as_close_as_sklearn_on_real_mfcc(shared_data):
    from sklearn.cluster import KMeans

    from speechkit.encoders import load_encoder
    from speechkit.io.audio import read_audio

    encoder = load_encoder("mfcc")
    files = sorted((shared_data / "LibriSpeech/dev-clean/84").rglob("*.mp3"))[:12]
    rows = np.concatenate([encoder.encode(read_audio(path, sample_rate=16_000)) for path in files])
    result = train_kmeans(
        in_batches(rows, 1000), KMeansConfig(clusters=50, sample_frames=2000, passes=25), encoder.spec
    )
    reference = KMeans(50, n_init=1, random_state=0).fit(rows).inertia_ / len(rows)
    ours = float(result.codebook.distances(rows)[1].mean())
    assert ours < 1.03 * reference
    assert result.codebook.spec.encoder == encoder.spec


def test_lloyd_never_gets_worse():
    rows = np.random.default_rng(0).standard_normal((4000, 8)).astype(np.float32)
    found = train_kmeans(in_batches(rows), KMeansConfig(clusters=40, sample_frames=200, passes=15, tolerance=0.0))
    assert found.reseeded == 0
    assert (np.diff(found.distances) <= 1e-6).all()


def test_centroids_without_frames_are_put_elsewhere():
    from speechkit.units.kmeans import _Centroids

    rows, centres = islands(clusters=4, frames=400)
    far = np.concatenate([centres[:2], np.full((2, 6), 1e4)]).astype(np.float32)
    state = _Centroids(far, KMeansConfig(clusters=4), np.random.default_rng(0))
    for _ in range(6):
        state.add(rows, "lloyd")
        state.end("lloyd")
    assert state.reseeded >= 2
    assert len(np.unique(nearest(rows, state.centroids))) == 4


def test_spherical_centroids_have_length_one_and_ignore_loudness():
    rows, _ = islands()
    config = KMeansConfig(clusters=8, normalization="unit-length", sample_frames=1000)
    codebook = train_kmeans(in_batches(rows), config).codebook
    np.testing.assert_allclose(np.linalg.norm(codebook.centroids, axis=1), 1, atol=1e-5)
    assert np.array_equal(codebook.assign(rows), codebook.assign(rows * 7))


def test_standardized_units_do_not_depend_on_the_scale_of_a_dimension():
    rows, _ = islands(width=4)
    scaled = rows * np.array([1, 1000, 1e-3, 5], np.float32) + 3
    config = KMeansConfig(clusters=12, normalization="standardized", sample_passes=50)
    plain, other = (train_kmeans(in_batches(each), config).codebook.assign(each) for each in (rows, scaled))
    assert np.array_equal(plain, other)


def test_faiss_does_the_iterations_when_asked():
    rows, centres = islands()
    codebook = train_kmeans(in_batches(rows), KMeansConfig(clusters=12, backend="faiss")).codebook
    distances = np.linalg.norm(centres[:, None] - codebook.centroids[None], axis=2)
    assert distances.min(1).max() < 0.8


def test_memory_is_that_of_the_sample_and_a_batch_however_many_frames_there_are():
    # Every pass makes 160,000 frames anew: 20 MB, of which never more than a batch is there.
    def batches():
        for number in range(80):
            yield np.random.default_rng(number).standard_normal((2000, 32)).astype(np.float32)

    config = KMeansConfig(clusters=16, sample_frames=4000, sample_passes=3, passes=2)
    train_kmeans(batches, KMeansConfig(clusters=2, sample_frames=100, sample_passes=1, passes=1))  # compiles kernels
    tracemalloc.start()
    try:
        result = train_kmeans(batches, config)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.frames == 160_000
    assert peak < 8e6


def test_a_missing_faiss_names_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    rows, _ = islands()
    with pytest.raises(MissingExtraError, match=r"faiss is not installed; run: pip install .*faiss"):
        train_kmeans(in_batches(rows), KMeansConfig(clusters=4, backend="faiss"))


def test_items_without_a_frame_change_nothing():
    rows, _ = islands(frames=600)
    empty = np.zeros((0, rows.shape[1]), np.float32)
    config = KMeansConfig(clusters=5, sample_frames=300)
    plain = train_kmeans(in_batches(rows, 100), config).codebook
    mixed = [each for batch in in_batches(rows, 100)() for each in (empty, batch)]
    assert train_kmeans(lambda: iter(mixed), config).codebook.spec.digest == plain.spec.digest
    assert plain.assign(empty).shape == (0,)
    with pytest.raises(UserError, match="0 frames are too few for 5 clusters"):
        train_kmeans(lambda: iter([empty]), config)


def test_what_cannot_be_clustered_is_refused_in_a_sentence():
    rows = np.zeros((30, 4), np.float32)
    with pytest.raises(UserError, match="30 frames are too few for 40 clusters"):
        train_kmeans(in_batches(rows), KMeansConfig(clusters=40))
    with pytest.raises(UserError, match=r"only 1 distinct frames.*4 clusters"):
        train_kmeans(in_batches(rows + 1), KMeansConfig(clusters=4))
    with pytest.raises(UserError, match="no frames"):
        train_kmeans(lambda: iter(()), KMeansConfig(clusters=4))
    rows[17, 1] = np.inf
    with pytest.raises(UserError, match="frame 17 contains NaN"):
        train_kmeans(in_batches(rows, 10), KMeansConfig(clusters=4))
    with pytest.raises(ConfigError, match="clusters is 0"):
        KMeansConfig(clusters=0)
