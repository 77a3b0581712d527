"""Claims about cached layers: what was encoded comes back, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.encoders import EncoderSpec, FeatureWriter, load_encoder
from speechkit.encoders.probing.layer_cache import LayerCache, frame_statistics, write_layers
from speechkit.errors import UserError


class ThreeLayers:
    """Layer k of sample block t is (t, k) times a number."""

    num_layers = 2
    spec = EncoderSpec(model="toy", weights="w", layer="2", normalization="none", dim=2)

    def encode_layers(self, waveform):
        frames = np.arange(len(waveform) // 320, dtype=np.float32)
        return np.stack([np.stack([frames + waveform[0], np.full_like(frames, layer)], 1) for layer in range(3)])


def test_layers_come_back_as_they_were_encoded(tmp_path):
    items = [
        ("a", np.full(3200, 5.0, np.float32)),
        ("b", np.zeros(700, np.float32)),
        ("short", np.zeros(10, np.float32)),
    ]
    assert write_layers(tmp_path, ThreeLayers(), items, "float32") == 3
    cache = LayerCache(tmp_path)
    assert (cache.num_layers, cache.dim, cache.spec) == (3, 2, ThreeLayers.spec)
    for name, waveform in items:
        wanted = ThreeLayers().encode_layers(waveform)
        assert np.array_equal(cache.layers(name), wanted)
        assert cache.frames(name) == wanted.shape[1]
    assert np.array_equal(cache.layer("a", 1, 2, 4), ThreeLayers().encode_layers(items[0][1])[1, 2:4])
    assert "a" in cache
    assert "c" not in cache


def test_statistics_are_those_of_all_frames(tmp_path):
    items = [("a", np.full(3200, 5.0, np.float32)), ("b", np.ones(960, np.float32))]
    write_layers(tmp_path, ThreeLayers(), items, "float32")
    cache = LayerCache(tmp_path)
    mean, deviation = frame_statistics(cache, ["a", "b"])
    frames = np.concatenate([cache.layers("a"), cache.layers("b")], axis=1)
    assert np.allclose(mean, frames.mean(1), atol=1e-5)
    assert np.allclose(deviation[:, 0], frames[:, :, 0].std(1), atol=1e-4)
    assert np.array_equal(deviation[:, 1], np.ones(3))  # never changes


def test_a_baseline_has_one_layer(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    encoder = load_encoder("mfcc")
    write_layers(tmp_path, encoder, [("a", noise)])
    cache = LayerCache(tmp_path)
    assert cache.num_layers == 1
    assert np.allclose(cache.layers("a")[0], encoder.encode(noise), atol=0.05)


def test_a_store_of_one_layer_is_refused(tmp_path):
    spec = EncoderSpec(model="toy", weights="w", layer="2", normalization="none", dim=2)
    with FeatureWriter(tmp_path, spec) as writer:
        writer.add("a", np.zeros((3, 2)))
    with pytest.raises(UserError, match="layer 2 of toy"):
        LayerCache(tmp_path)


def test_items_without_frames_give_no_statistics(tmp_path):
    write_layers(tmp_path, ThreeLayers(), [("short", np.zeros(10, np.float32))])
    with pytest.raises(UserError, match="no frame"):
        frame_statistics(LayerCache(tmp_path), ["short"])
