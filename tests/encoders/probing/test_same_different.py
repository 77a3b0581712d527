"""Claims about acoustic word embeddings and the same-different task."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders.probing.same_different import average_precision, embed_segment, same_different
from speechkit.errors import UserError


def obvious(similarities, same, weights):
    """Precision at each threshold, weighted by the recall that it adds."""
    value, before, total = 0.0, 0.0, weights[same].sum()
    for threshold in sorted(set(similarities.tolist()), reverse=True):
        above = similarities >= threshold
        hits = weights[above & same].sum()
        if weights[above].sum():
            value += (hits - before) / total * hits / weights[above].sum()
        before = hits
    return value


@given(st.integers(2, 25), st.integers(0, 10**6), st.booleans())
def test_average_precision_is_its_definition_also_with_ties_and_weights(pairs, seed, weighted):
    generator = np.random.default_rng(seed)
    similarities = generator.integers(0, 5, pairs).astype(float)
    same = generator.random(pairs) < 0.4
    same[0] = True
    weights = generator.integers(0, 3, pairs).astype(float) if weighted else np.ones(pairs)
    weights[0] = 1
    found = average_precision(similarities, same, weights)
    assert found == pytest.approx(obvious(similarities, same, weights))


def test_average_precision_agrees_with_scikit_learn():
    from sklearn.metrics import average_precision_score

    generator = np.random.default_rng(3)
    similarities, same = generator.normal(size=500).round(1), generator.random(500) < 0.1
    assert average_precision(similarities, same) == pytest.approx(average_precision_score(same, similarities))


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 12))
def test_downsampling_keeps_a_straight_line_straight_and_its_middle(n, dim, frames):
    line = np.linspace(-1, 1, n)[:, None] * np.ones(dim) + 3.0 if n > 1 else np.full((1, dim), 3.0)
    vector = embed_segment(line, "downsampled", frames).reshape(frames, dim)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    scaled = vector / vector.mean() * 3.0
    places = np.clip((np.arange(frames) + 0.5) / frames * n - 0.5, 0, n - 1)
    wanted = np.interp(places, np.arange(n), line[:, 0])
    assert np.allclose(scaled, wanted[:, None], atol=1e-3)


def test_time_order_shows_in_downsampled_segments_only():
    up = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.allclose(embed_segment(up, "mean"), embed_segment(up[::-1], "mean"))
    assert embed_segment(up, "downsampled") @ embed_segment(up[::-1], "downsampled") < 0.5


def test_separated_words_have_precision_one_and_noise_has_chance():
    generator = np.random.default_rng(0)
    words = list("abcdefghij") * 12
    centres = np.eye(10, 32)[[ord(w) - 97 for w in words]]
    near = (centres + 0.01 * generator.normal(size=centres.shape)).astype(np.float32)
    assert same_different(near, words, resamples=20).precision == pytest.approx(1)
    noise = same_different(generator.normal(size=centres.shape).astype(np.float32), words, resamples=100)
    assert noise.precision == pytest.approx(noise.chance, abs=0.03)
    assert noise.interval.low <= noise.precision <= noise.interval.high


def test_with_speakers_same_pairs_are_across_speakers():
    words, speakers = ["a", "a", "b", "b"], ["s", "t", "s", "s"]
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    score = same_different(vectors, words, speakers, resamples=50)
    assert (score.same_pairs, score.different_pairs) == (1, 4)


def test_one_word_alone_is_refused():
    with pytest.raises(UserError, match="0 different"):
        same_different(np.ones((3, 2), np.float32), ["a", "a", "a"])
    with pytest.raises(UserError, match="at least one frame"):
        embed_segment(np.zeros((0, 2)), "mean")
