"""Claims about cached layers: what was encoded comes back, layer by layer."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from speechkit.encoders import EncoderSpec, FeatureWriter, load_encoder
from speechkit.encoders.feature_statistics import layer_statistics
from speechkit.encoders.stages import write_layers
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError


class ThreeLayers:
    """Layer k of sample block t is (t, k) times a number."""

    num_layers = 2
    spec = EncoderSpec(model="toy", weights="w", layer="2", normalization="none", dim=2)

    def encode_layers(self, waveform):
        frames = np.arange(len(waveform) // 320, dtype=np.float32)
        return np.stack([np.stack([frames + waveform[0], np.full_like(frames, layer)], 1) for layer in range(3)])

    def stream_layers(self, blocks):
        yield self.encode_layers(np.concatenate(list(blocks)))


def test_layers_come_back_as_they_were_encoded(tmp_path):
    items = [
        ("a", np.full(3200, 5.0, np.float32)),
        ("b", np.zeros(700, np.float32)),
        ("short", np.zeros(10, np.float32)),
    ]
    assert write_layers(tmp_path, ThreeLayers(), items, "float32") == 3
    cache = FeatureStore(tmp_path, "all")
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
    cache = FeatureStore(tmp_path, "all")
    mean, deviation = layer_statistics(cache, ["a", "b"])
    frames = np.concatenate([cache.layers("a"), cache.layers("b")], axis=1)
    assert np.allclose(mean, frames.mean(1), atol=1e-5)
    assert np.allclose(deviation[:, 0], frames[:, :, 0].std(1), atol=1e-4)
    assert np.array_equal(deviation[:, 1], np.ones(3))  # never changes


def test_a_baseline_has_one_layer(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    encoder = load_encoder("mfcc")
    write_layers(tmp_path, encoder, [("a", noise)])
    cache = FeatureStore(tmp_path, "all")
    assert cache.num_layers == 1
    assert np.allclose(cache.layers("a")[0], encoder.encode(noise), atol=0.05)


def test_a_store_of_one_layer_is_refused(tmp_path):
    spec = EncoderSpec(model="toy", weights="w", layer="2", normalization="none", dim=2)
    with FeatureWriter(tmp_path, spec) as writer:
        writer.add("a", np.zeros((3, 2)))
    with pytest.raises(UserError, match="layer 2 of toy"):
        FeatureStore(tmp_path, "all")


def test_items_without_frames_give_no_statistics(tmp_path):
    write_layers(tmp_path, ThreeLayers(), [("short", np.zeros(10, np.float32))])
    with pytest.raises(UserError, match="no frame"):
        layer_statistics(FeatureStore(tmp_path, "all"), ["short"])


def test_some_layers_are_stored_and_read_one_by_one_or_together(tmp_path):
    waveform = np.full(3200, 5.0, np.float32)
    wanted = ThreeLayers().encode_layers(waveform)
    write_layers(tmp_path, ThreeLayers(), [("a", waveform)], "float32", layers=[0, 2])
    store = FeatureStore(tmp_path)
    assert (store.spec.layer, store.spec.dim, store.num_layers, store.dim) == ("0,2", 4, 2, 2)
    assert np.array_equal(store["a"], np.concatenate([wanted[0], wanted[2]], axis=1))
    assert np.array_equal(store.layers("a"), wanted[[0, 2]])
    assert np.array_equal(FeatureStore(tmp_path, [2, 0]).layers("a", 1, 3), wanted[[2, 0], 1:3])
    one = FeatureStore(tmp_path, 2)
    assert one.spec == ThreeLayers.spec
    assert np.array_equal(one["a"], wanted[2])
    assert np.array_equal(np.concatenate(list(one.batches(3))), wanted[2])
    with pytest.raises(UserError, match=r"holds layer 0,2.*toy, not 1"):
        FeatureStore(tmp_path, 1)


def test_records_of_an_encode_stage_are_a_store(tmp_path):
    from speechkit.encoders.store import LayerFrames
    from speechkit.io.arrays import write_arrays

    spec = ThreeLayers.spec
    frames = {
        (part, layer): np.full((3, 2), float(layer), np.float16) for part in ("train", "test") for layer in (1, 2)
    }
    arrays, rows = {}, []
    for number, ((part, layer), array) in enumerate(frames.items()):
        arrays[f"{number}/frames"] = array
        reference = f"arrays/0.safetensors#{number}"
        rows.append(LayerFrames("a", part, layer, msgspec.structs.replace(spec, layer=str(layer)), 3, reference))
    (tmp_path / "arrays").mkdir()
    write_arrays(tmp_path / "arrays" / "0.safetensors", arrays)
    (tmp_path / "features.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    store = FeatureStore(tmp_path / "features.jsonl", 1, "train")
    assert (store.ids(), store.total_frames, store.spec.layer) == (["a"], 3, "1")
    assert np.array_equal(store["a"], frames["train", 1])
    both = FeatureStore(tmp_path / "features.jsonl", part="test")
    assert both.spec.layer == "1,2"
    assert np.array_equal(both.layers("a"), np.stack([frames["test", 1], frames["test", 2]]))
    with (tmp_path / "features.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(msgspec.structs.replace(rows[0], id="b")) + b"\n")
    assert FeatureStore(tmp_path / "features.jsonl", 1, "train").ids() == ["a", "b"]
    assert FeatureStore(tmp_path / "features.jsonl", 2, "train").ids() == ["a"]
    with pytest.raises(UserError, match="no dev frames"):
        FeatureStore(tmp_path / "features.jsonl", part="dev")
