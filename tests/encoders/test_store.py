"""Features written in shards come back as they were, with the encoder that made them."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders import EncoderSpec, FeatureStore, FeatureWriter
from speechkit.errors import ConfigError, UserError

SPEC = EncoderSpec(model="test", weights="abc", layer="6", normalization="none", dim=5)


def items(lengths, seed=0):
    generator = np.random.default_rng(seed)
    return {f"u/{i}": generator.standard_normal((n, 5)).astype(np.float32) for i, n in enumerate(lengths)}


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 600), st.sampled_from(["float16", "float32"]))
def test_what_is_written_is_read(tmp_path_factory, lengths, shard_bytes, dtype):
    folder = tmp_path_factory.mktemp("store")
    written = items(lengths)
    with FeatureWriter(folder, SPEC, dtype, shard_bytes) as writer:
        for name, features in written.items():
            writer.add(name, features)
    store = FeatureStore(folder)
    assert store.spec == SPEC
    assert store.ids() == list(written)
    assert store.total_frames == sum(lengths)
    for name, features in written.items():
        np.testing.assert_array_equal(store[name], features.astype(dtype))
    everything = np.concatenate([np.zeros((0, 5), np.float32), *written.values()]).astype(dtype)
    pieces = list(store.batches(7))
    assert all(len(piece) == 7 for piece in pieces[:-1])
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, 5)), *pieces]), everything)


def test_features_are_mapped_and_not_read(tmp_path):
    with FeatureWriter(tmp_path, SPEC) as writer:
        writer.add("a", items([20])["u/0"])
    assert isinstance(FeatureStore(tmp_path)["a"].base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        FeatureStore(tmp_path)["a"][0] = 0


def test_a_writer_that_failed_leaves_no_store(tmp_path):
    def fail():
        with FeatureWriter(tmp_path, SPEC) as writer:
            writer.add("a", items([20])["u/0"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(UserError, match=r"no (complete )?features\.json"):
        FeatureStore(tmp_path)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 400), st.data())
def test_an_interrupted_writer_is_resumed_to_the_same_bytes(tmp_path_factory, lengths, shard_bytes, data):
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    written = items(lengths)

    def write(folder, stop):
        with FeatureWriter(folder, SPEC, shard_bytes=shard_bytes, resume=True) as writer:
            for number, (name, features) in enumerate(written.items()):
                if number == stop:
                    raise InterruptedError
                writer.add(name, features)

    write(whole, None)
    for stop in data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=3)):
        with pytest.raises(InterruptedError):
            write(broken, stop)
        with pytest.raises(UserError, match=r"no (complete )?features\.json"):
            FeatureStore(broken)
    for _ in range(2):  # a finished one too
        write(broken, None)
    assert {file.name: file.read_bytes() for file in whole.iterdir()} == {
        file.name: file.read_bytes() for file in broken.iterdir()
    }


def test_what_another_writer_left_or_was_lost_is_not_gone_on_from(tmp_path):
    def left(spec, dtype):
        return "a" in FeatureWriter(tmp_path, spec, dtype, 1, resume=True)

    def interrupt():
        with FeatureWriter(tmp_path, SPEC, shard_bytes=1, resume=True) as writer:
            writer.add("a", items([3])["u/0"])
            raise InterruptedError

    with pytest.raises(InterruptedError):
        interrupt()
    assert left(SPEC, "float16")
    assert not left(SPEC, "float32")
    assert not left(EncoderSpec(model="test", weights="abc", layer="7", normalization="none", dim=5), "float16")
    (tmp_path / "features-00000.safetensors").unlink()
    assert not left(SPEC, "float16")


def write(folder, written, **options):
    with FeatureWriter(folder, SPEC, shard_bytes=100, **options) as writer:
        for name, features in written.items():
            if features is None:
                raise InterruptedError
            writer.add(name, features)


@pytest.mark.parametrize("resume", [False, True])
def test_a_store_that_is_written_anew_is_the_old_one_or_none_but_never_both(tmp_path, resume):
    old, new = items([20] * 6), items([30, 10, 10], seed=1)
    write(tmp_path / "fresh", new, resume=resume)
    write(tmp_path / "store", old)
    # A resumed writer goes on only from features of its own spec.
    index = tmp_path / "store" / "features.json"
    index.write_text(index.read_text().replace('"abc"', '"abd"'))
    with pytest.raises(InterruptedError):
        write(tmp_path / "store", {"u/0": None}, resume=resume)
    assert FeatureStore(tmp_path / "store").ids() == list(old)
    with pytest.raises(InterruptedError):
        write(tmp_path / "store", new | {"u/9": None}, resume=resume)
    with pytest.raises(UserError, match=r"has no complete features\.json.*since writing.*interrupted"):
        FeatureStore(tmp_path / "store")
    write(tmp_path / "store", new, resume=resume)
    fresh, store = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("fresh", "store"))
    assert store == fresh


def test_a_finished_store_that_was_to_grow_and_was_interrupted_is_refused_and_gone_on_from(tmp_path):
    some = items([20, 20, 20])
    write(tmp_path, dict(list(some.items())[:1]), resume=True)
    with pytest.raises(InterruptedError):
        write(tmp_path, dict(list(some.items())[:2]) | {"x": None}, resume=True)
    with pytest.raises(UserError, match="interrupted"):
        FeatureStore(tmp_path)
    write(tmp_path, some, resume=True)
    assert FeatureStore(tmp_path).ids() == list(some)


def test_a_file_is_no_store_and_no_place_for_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.*name.*folder"):
        FeatureStore(tmp_path / "file")
    for resume in (False, True):
        with pytest.raises(UserError, match=r"file.*name.*folder"):
            FeatureWriter(tmp_path / "file", SPEC, resume=resume)
    (tmp_path / "features.json").mkdir()
    with pytest.raises(UserError, match="is not an index"):
        FeatureStore(tmp_path)


def test_an_index_of_other_shards_is_refused(tmp_path):
    write(tmp_path / "a", items([20, 30]))
    write(tmp_path / "b", items([20, 31]))
    shutil.copy(tmp_path / "b" / "features-00001.safetensors", tmp_path / "a")
    assert len(FeatureStore(tmp_path / "a")["u/0"]) == 20
    with pytest.raises(UserError, match="has 31 frames instead of 30"):
        FeatureStore(tmp_path / "a")["u/1"]
    index = json.loads((tmp_path / "a" / "features.json").read_text())
    (tmp_path / "a" / "features.json").write_text(json.dumps(index | {"shards": index["shards"][:1]}))
    with pytest.raises(UserError, match="'u/1' is in no shard"):
        FeatureStore(tmp_path / "a")


def test_what_does_not_fit_is_refused(tmp_path):
    with FeatureWriter(tmp_path, SPEC) as writer:
        writer.add("a", items([3])["u/0"])
        with pytest.raises(UserError, match="duplicate item"):
            writer.add("a", items([3])["u/0"])
        with pytest.raises(UserError, match="the encoder gives"):
            writer.add("b", np.zeros((3, 4)))
        with pytest.raises(UserError, match=r"not finite.*float16.*dtype float32 holds"):
            writer.add("c", np.full((3, 5), 1e6))
        with pytest.raises(UserError, match=r"not finite.*float16.*look.*recording"):
            writer.add("d", np.full((3, 5), np.nan))
    with pytest.raises(ConfigError, match="float16 or float32"):
        FeatureWriter(tmp_path, SPEC, "float64")
    with pytest.raises(UserError, match="no features of 'z'"):
        FeatureStore(tmp_path)["z"]


def test_damaged_and_hostile_stores_are_refused(tmp_path):
    with FeatureWriter(tmp_path, SPEC) as writer:
        writer.add("a", items([3])["u/0"])
    index = json.loads((tmp_path / "features.json").read_text())
    shard = tmp_path / index["shards"][0]
    shard.write_bytes(shard.read_bytes()[:40])
    with pytest.raises(UserError, match="missing or damaged"):
        FeatureStore(tmp_path)["a"]
    index["shards"] = ["../outside.safetensors"]
    (tmp_path / "features.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="outside"):
        FeatureStore(tmp_path)["a"]
    (tmp_path / "features.json").write_text("{")
    with pytest.raises(UserError, match="is not an index"):
        FeatureStore(tmp_path)


def test_a_spec_refuses_features_of_another_layer_and_names_both():
    import msgspec

    other = msgspec.structs.replace(SPEC, layer="7")
    SPEC.require(SPEC, "the codebook")
    with pytest.raises(UserError, match=r"codebook.*made.*test layer 6.*test layer 7.*'6'.*'7'"):
        SPEC.require(other, "the codebook")
