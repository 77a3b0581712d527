"""Every family behind one interface: exact under padding, on the 50 Hz grid, no further than the layer asked for."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch

from speechkit.encoders import encoder as encoder_module
from speechkit.encoders import load_encoder
from speechkit.encoders.encoder import window_deviation
from speechkit.encoders.stages import encode_frames
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.io.audio import read_audio, write_audio

from .conftest import FAMILIES


def noise(*lengths, seed=0):
    generator = np.random.default_rng(seed)
    return [(0.1 * generator.standard_normal(length)).astype(np.float32) for length in lengths]


@pytest.fixture
def load(checkpoint):
    def loaded(name, rate=50, **options):
        options.setdefault("dtype", "float32")
        folder = name if name in ("log-mel", "mfcc") else str(checkpoint(name, rate))
        return load_encoder(folder, device="cpu", **options)

    return loaded


RATES = (20, 25, 50)


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(("family", "rate"), [*itertools.product(FAMILIES, RATES), ("log-mel", 50), ("mfcc", 50)])
def test_a_batch_gives_what_each_item_gives_alone_at_every_rate_and_on_both_grids(
    load, family, rate, compat, monkeypatch
):
    monkeypatch.setattr(encoder_module, "MAX_LENGTH_RATIO", 1e9)  # all of them in one padded batch
    encoder = load(family, rate, compat=compat)
    hop = 16_000 // rate
    assert (encoder.spec.hop, encoder.spec.frame_rate) == (hop, rate)
    items = noise(16_000, 9_000, 3_333, 2 * hop, hop, hop - 1)
    assert len(encoder._batches(items)) == 1
    together = encoder.encode_batch(items)
    for item, found in zip(items, together, strict=True):
        assert found.shape == (encoder.num_frames(len(item)), encoder.spec.dim)
        if family in ("log-mel", "mfcc", "whisper") or not compat:
            assert len(found) == len(item) // hop
        np.testing.assert_allclose(found, encoder.encode(item), atol=1e-5)


@pytest.mark.parametrize(("family", "rate"), itertools.product(FAMILIES, RATES))
def test_compat_gives_the_frames_of_stock_transformers_and_the_spec_says_so(load, checkpoint, family, rate):
    from transformers import AutoFeatureExtractor, AutoModel

    stock = load(family, rate, compat=True)
    model = AutoModel.from_pretrained(checkpoint(family, rate)).eval()
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint(family, rate))
    items = noise(11_111, 8_000)
    for item, found in zip(items, stock.encode_batch(items), strict=True):
        inputs = extractor(item, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            expected = (model.encoder if family == "whisper" else model)(**inputs).last_hidden_state[0].numpy()
        if family not in ("whisper", "wav2vec2-bert"):
            assert len(found) == len(expected)
        np.testing.assert_allclose(found, expected[: len(found)], atol=1e-4)
    hops = load(family, rate)
    assert hops.num_frames(16_000) == rate
    assert stock.num_frames(16_000) == (rate if family == "whisper" else rate - 1)
    with pytest.raises(UserError, match="compat is False there and True here"):
        hops.spec.require(stock.spec, "the codebook")


@pytest.mark.parametrize("family", ["wav2vec2-stable", "wav2vec2-bert"])
@pytest.mark.parametrize("compat", [False, True])
def test_files_streams_and_waveforms_follow_one_plan(load, family, compat, tmp_path):
    encoder = load(family, compat=compat)
    waveform = noise(16_000 * 7 + 123)[0]
    write_audio(tmp_path / "long.flac", waveform, 16_000)
    waveform = read_audio(tmp_path / "long.flac")
    file = list(encoder.encode_long(tmp_path / "long.flac", 2, 0.5))
    assert [len(frames) for frames in file[:-1]] == [100, 100, 100]
    assert sum(map(len, file)) == encoder.num_frames(len(waveform))
    for blocks in ([waveform], np.array_split(waveform, [1, 5_000, 50_001, 50_002])):
        np.testing.assert_array_equal(np.concatenate(list(encoder.stream(blocks, 2, 0.5))), np.concatenate(file))
    # What one window and its context hold is not cut at all.
    part = waveform[: 40_000 + encoder.model.overlap]
    np.testing.assert_array_equal(np.concatenate(list(encoder.stream([part], 2, 0.5))), encoder.encode(part))
    np.testing.assert_array_equal(encode_frames(encoder, waveform), encoder.encode(waveform))
    # A window that hears all of the rest gives the frames of the whole to rounding: grids do not shift.
    aligned = np.concatenate(list(encoder.stream([waveform], 3, 7)))
    assert np.abs(aligned[:150] - encoder.encode(waveform)[:150]).mean() < 0.1
    with pytest.raises(ConfigError, match="give a window of at least a frame"):
        list(encoder.stream([waveform], 0, 1))


@pytest.mark.parametrize("rate", [25, 50])
def test_windows_of_whisper_are_no_longer_than_its_positions(load, rate):
    encoder = load("whisper", rate)
    waveform = noise(16_000 * 41)[0]
    assert len(encode_frames(encoder, waveform)) == 41 * rate
    assert encoder.most_at_once() == 25 * 16_000
    assert [len(part) for part in encoder.stream([waveform])] == [20 * rate, 21 * rate]
    with pytest.raises(UserError, match="longer than the"):
        encoder.encode(waveform)


def test_on_a_processor_waveforms_of_like_length_go_together_and_results_keep_their_order(load):
    encoder = load("hubert")
    lengths = (16_000, 3_000, 15_500, 100, 3_100, 9_000, 15_000)
    items = noise(*lengths)
    assert encoder._batches(items) == [[1, 4], [5], [6, 2, 0]]
    assert encoder._batches(noise(*[16_000] * 20)) == [[*range(16)], [*range(16, 20)]]
    for item, found in zip(items, encoder.encode_batch(items), strict=True):
        np.testing.assert_allclose(found, encoder.encode(item), atol=1e-5)


def test_a_waveform_enters_as_it_is_asked_to(load):
    waveform = 0.01 + noise(8_000)[0]
    plain, standardised = (load("hubert", normalization=way) for way in ("none", "standardised"))
    assert load("hubert").spec == standardised.spec
    np.testing.assert_allclose(
        plain.encode((waveform - waveform.mean()) / waveform.std()), standardised.encode(waveform), atol=1e-4
    )
    with pytest.raises(UserError, match="normalization is 'none' there"):
        plain.spec.require(standardised.spec, "the codebook")
    with pytest.raises(ConfigError, match="always whisper log-mel"):
        load("whisper", normalization="none")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_is_the_same_whether_the_layers_above_it_run_or_not(load, family):
    full = load(family)
    waveform = noise(8_000)[0]
    layers = full.encode_layers(waveform)
    assert layers.shape == (4, 25, 32)
    for layer in range(4):
        cut = load(family, layer=layer)
        np.testing.assert_allclose(cut.encode(waveform), layers[layer], atol=1e-5)
        assert cut.spec.layer == str(layer)
        assert cut.spec.weights == full.spec.weights
    weights = [0.1, 0.2, 0.3, 0.4]
    mixed = load(family, layer_weights=weights)
    np.testing.assert_allclose(mixed.encode(waveform), np.tensordot(weights, layers, 1), atol=1e-5)
    assert mixed.spec.layer.startswith("weighted:")


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "data2vec-audio", "wav2vec2-bert", "whisper"])
def test_layers_are_those_of_transformers_where_nothing_is_padded(load, checkpoint, family):
    import torch
    from transformers import AutoFeatureExtractor, AutoModel

    waveform = noise(16_080)[0]
    encoder = load(family)
    model = AutoModel.from_pretrained(checkpoint(family)).eval()
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint(family))
    if family == "whisper":
        # Whole windows are what stock transformers encode.
        waveform = noise(480_000)[0]
        inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
        model = model.encoder
    elif family == "wav2vec2-bert":
        inputs = extractor(np.pad(waveform[:16_000], (120, 120)), sampling_rate=16_000, return_tensors="pt")
        waveform = waveform[:16_000]
    else:
        ready = waveform if family == "wav2vec2" else (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        inputs = {"input_values": torch.from_numpy(np.pad(ready, (40, 40)))[None].float()}
    with torch.no_grad():
        answer = model(**inputs, output_hidden_states=True)
    # Where a norm stands behind the last layer, some families list the state before it and some the one behind.
    expected = (*answer.hidden_states[:-1], answer.last_hidden_state)
    found = encoder.encode_layers(waveform)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs[0, : len(ours)].numpy(), atol=2e-4)


def test_the_deviation_of_windows_is_measured(load, tmp_path):
    encoder = load("wav2vec2-stable")
    waveform = noise(16_000 * 40)[0]
    write_audio(tmp_path / "long.wav", waveform, 16_000)
    whole = encoder.encode(np.asarray(waveform))
    error, cosine = window_deviation(encoder, tmp_path / "long.wav", whole)
    assert 0 < error < 0.5
    assert 0.5 < cosine <= 1.0


@pytest.mark.parametrize("family", ["wav2vec2", "log-mel", "whisper"])
def test_silence_short_cuts_and_clipping_are_encoded_and_nonsense_is_refused(load, family):
    encoder = load(family)
    silent, clipped = np.zeros(3_200, np.float32), np.sign(noise(3_200)[0]).astype(np.float32)
    for waveform in (silent, clipped):
        assert np.isfinite(encoder.encode(waveform)).all()
    assert encoder.encode(np.zeros(0, np.float32)).shape == (0, encoder.spec.dim)
    assert encoder.encode(silent[:319]).shape == (0, encoder.spec.dim)
    assert encoder.encode(silent[:320]).shape == (1, encoder.spec.dim)
    broken = silent.copy()
    broken[7] = np.nan
    with pytest.raises(AudioError, match="waveform 1 has NaN"):
        encoder.encode_batch([silent, broken])
    with pytest.raises(AudioError, match="one channel"):
        encoder.encode(np.zeros((2, 320), np.float32))


def test_what_cannot_be_loaded_is_refused_by_name(load, checkpoint, tmp_path):
    with pytest.raises(UserError, match="layers 0 to 3, not 4"):
        load("hubert", layer=4)
    with pytest.raises(ConfigError, match="give 4, beginning with layer 0"):
        load("hubert", layer_weights=[1.0])
    with pytest.raises(ConfigError, match="dtype"):
        load("hubert", dtype="int8")
    with pytest.raises(ConfigError, match="no layers"):
        load("mfcc", layer=3)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="is a bert model"):
        load_encoder(str(tmp_path))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (pickled / name).write_bytes((checkpoint("hubert") / name).read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"pytorch_model\.bin .*can execute code"):
        load_encoder(str(pickled))


def rewritten(checkpoint, folder, change):
    """A copy of a checkpoint with other weights."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_that_lacks_weights_is_refused_with_their_names(checkpoint, tmp_path, family, capfd):
    def without_layer(weights):
        return {key: value for key, value in weights.items() if "encoder.layers.1." not in key}

    folder = rewritten(checkpoint(family), tmp_path / "torn", without_layer)
    with pytest.raises(UserError, match=r"torn:.*weights lack encoder\.layers\.1\..*\d+ more") as caught:
        load_encoder(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert "LOAD REPORT" not in capfd.readouterr().err
    # Below the gap nothing is missing, and what was drawn in its place has no part in the digest.
    specs = {load_encoder(folder, layer=1, device="cpu").spec.weights for _ in range(2)}
    assert len(specs) == 1
    with pytest.raises(UserError, match="its weights lack"):
        load_encoder(folder, layer=2, device="cpu")


def test_what_no_frame_needs_may_be_missing_and_heads_may_be_there(checkpoint, tmp_path):
    def other_names(weights):  # as before parametrisations: weight_g and weight_v, a head, no embedding of masks
        names = {key: key.replace("parametrizations.weight.original0", "weight_g") for key in weights}
        names = {key: name.replace("parametrizations.weight.original1", "weight_v") for key, name in names.items()}
        kept = {f"wav2vec2.{names[key]}": weights[key] for key in weights if key != "masked_spec_embed"}
        assert len(kept) == len(weights) - 1
        return kept | {"lm_head.weight": torch.zeros(3, 32)}

    whole = checkpoint("wav2vec2")
    old = rewritten(whole, tmp_path / "old", other_names)
    encoders = [load_encoder(str(folder), device="cpu", dtype="float32") for folder in (whole, old, old)]
    first, *others = [encoder.encode(noise(4000)[0]) for encoder in encoders]
    assert all(np.array_equal(first, frames) for frames in others)
    assert encoders[1].spec.weights == encoders[2].spec.weights
    whisper = checkpoint("whisper")
    alone = rewritten(whisper, tmp_path / "alone", lambda weights: {k: v for k, v in weights.items() if k[0] == "e"})
    np.testing.assert_array_equal(
        load_encoder(str(whisper), device="cpu").encode(noise(4000)[0]),
        load_encoder(alone, device="cpu").encode(noise(4000)[0]),
    )


def test_damaged_weights_and_configurations_are_refused_in_one_sentence(checkpoint, tmp_path, capfd):
    from speechkit.encoders.families.autoregressive import AutoregressiveConfig, AutoregressiveModel

    def refused(folder, match):
        with pytest.raises(UserError, match=match) as caught:
            load_encoder(str(folder), device="cpu")
        assert "\n" not in str(caught.value)

    def narrower(weights):
        return weights | {"encoder.layer_norm.weight": torch.zeros(5)}

    refused(rewritten(checkpoint("hubert"), tmp_path / "other", narrower), r"layer_norm\.weight has shape \(5,\) where")
    AutoregressiveModel(AutoregressiveConfig(width=8)).save_pretrained(tmp_path / "apc")
    without = rewritten(tmp_path / "apc", tmp_path / "lost", lambda weights: {"predict.bias": weights["predict.bias"]})
    refused(without, "lost: .*bias_hh_l0 is missing")
    for source in (checkpoint("hubert"), tmp_path / "apc"):
        shutil.copytree(source, tmp_path / "torn", dirs_exist_ok=True)
        weights = tmp_path / "torn" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        refused(tmp_path / "torn", "torn: .*(incomplete metadata|MetadataIncomplete)")
    shutil.copytree(checkpoint("hubert"), tmp_path / "odd")
    for field, value in (("hidden_size", "wide"), ("hidden_size", -1), ("conv_dim", [16]), ("hidden_act", "none")):
        config = json.loads((checkpoint("hubert") / "config.json").read_text())
        (tmp_path / "odd" / "config.json").write_text(json.dumps(config | {field: value}))
        refused(tmp_path / "odd", "odd: cannot be loaded")
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_bfloat16_stays_close_to_float32(load):
    waveform = noise(16_000)[0]
    exact, half = load("hubert").encode(waveform), load("hubert", dtype="bfloat16").encode(waveform)
    assert half.dtype == np.float32
    cosine = (exact * half).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.99


def test_mfcc_of_a_tone_lie_apart_from_those_of_noise_and_means_are_gone(load):
    encoder = load("mfcc")
    waveform = np.concatenate([np.sin(np.arange(16_000) / 10).astype(np.float32), noise(16_000)[0]])
    frames = encoder.encode(waveform)
    assert frames.shape == (100, 39)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    inner = np.linalg.norm(frames[10:40, :13].mean(0) - frames[60:90, :13].mean(0))
    assert inner > 3 * frames[60:90, :13].std(0).mean()


def test_weights_stored_in_half_precision_are_computed_with_in_single(checkpoint, tmp_path):
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    Wav2Vec2Model.from_pretrained(checkpoint("wav2vec2-stable")).half().save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor.from_pretrained(checkpoint("wav2vec2-stable")).save_pretrained(tmp_path)
    frames = load_encoder(str(tmp_path), device="cpu", dtype="float32").encode(np.zeros(3200, np.float32))
    assert frames.dtype == np.float32
    assert len(frames) == 10
