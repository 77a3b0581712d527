"""Claims about copied layers: they compute what the encoder's do, train with a head, and need no encoder to load."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from speechkit.encoders import load_encoder
from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.pretraining.sizes import sized_config
from speechkit.errors import ConfigError, UserError
from speechkit.units.codebook import Codebook
from speechkit.units.invariant.config import HeadConfig, InvariantConfig
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.training import train_invariant
from speechkit.units.invariant.upper_layers import copy_upper_layers
from speechkit.units.quantizers import load_quantizer
from speechkit.units.smoothed import SmoothedCodebook, Smoothing

SMALL = HeadConfig(width=16, layers=1, kernel=3, dropout=0.0)


def encoder_folder(folder, family):
    from transformers import HubertConfig, HubertModel, Wav2Vec2Model, WavLMConfig, WavLMModel

    torch.manual_seed(0)
    tiny = sized_config("tiny")
    tiny.num_hidden_layers = 3
    shared = {key: value for key, value in tiny.to_dict().items() if key not in ("model_type", "architectures")}
    if family == "wav2vec2":
        model = Wav2Vec2Model(tiny)
    elif family == "hubert":
        model = HubertModel(HubertConfig(**{**shared, "do_stable_layer_norm": False}))
    else:
        model = WavLMModel(WavLMConfig(**shared))
    WaveformEncoder(model).save(folder)
    return str(folder)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_copies_give_what_the_encoder_gives(family, tmp_path):
    name = encoder_folder(tmp_path, family)
    encoder = load_encoder(name, layer=2, device="cpu", dtype="float32")
    waveform = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    states = torch.from_numpy(encoder.encode_layers(waveform))
    upper = copy_upper_layers(name, 0, 2).eval()
    assert upper.shape.norm_first == (family == "wav2vec2")
    padded = torch.nn.functional.pad(states[0][None].expand(2, -1, -1), (0, 0, 0, 7), value=5.0)
    padding = torch.arange(padded.shape[1])[None].expand(2, -1) >= states.shape[1]
    with torch.inference_mode():
        alone = upper(states[0][None], torch.zeros(1, states.shape[1], dtype=torch.bool))[0]
        together = upper(padded, padding)[1, : states.shape[1]]
    torch.testing.assert_close(alone, states[2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together, states[2], atol=1e-5, rtol=1e-4)


def test_layers_that_cannot_be_copied_are_named(tmp_path):
    name = encoder_folder(tmp_path / "a", "wav2vec2")
    with pytest.raises(ConfigError, match="layers 1 to 3, not 3 to 4"):
        copy_upper_layers(name, 2, 2)
    with pytest.raises(ConfigError, match="log-mel has no layers"):
        copy_upper_layers("log-mel", 0, 1)
    with pytest.raises(ConfigError, match="wavlm model cannot be copied"):
        copy_upper_layers(encoder_folder(tmp_path / "b", "wavlm"), 0, 1)
    upper = copy_upper_layers(name, 0, 1)
    shape = msgspec.structs.replace(SMALL, upper=upper.shape)
    with pytest.raises(UserError, match="32 wide, not 8"):
        InvariantHead(8, 3, shape, np.zeros(8, np.float32), np.ones(8, np.float32), upper)


def test_heads_of_several_sizes_learn_together_with_the_layers_below_them(tmp_path):
    name = encoder_folder(tmp_path / "encoder", "wav2vec2")
    upper = copy_upper_layers(name, 1, 2)
    before = {key: value.clone() for key, value in upper.state_dict().items()}
    encoder = load_encoder(name, layer=3, device="cpu").spec
    below = msgspec.structs.replace(encoder, layer="1")
    random = np.random.default_rng(0)
    centres = random.standard_normal((6, 32)).astype(np.float32)
    store, versions = {}, {}
    for item in range(20):
        labels = np.repeat(random.integers(0, 6, 10), 3)
        clean = centres[labels] + 0.1 * random.standard_normal((30, 32))
        store |= {str(item): clean.astype(np.float32), f"{item}+": (clean[:, ::-1]).astype(np.float32)}
        versions[str(item)] = [str(item), f"{item}+"]
    teachers = [SmoothedCodebook(Codebook(each, encoder), Smoothing(), 1.0) for each in (centres[:4], centres)]
    config = InvariantConfig(16, 0.0, (24,), batch_frames=200, learning_rate=5e-3, upper_rate=1e-3)
    result = train_invariant(
        teachers, versions, store.__getitem__, config, tmp_path / "run", upper=upper, encoder=below
    )
    assert [quantizer.num_units for quantizer in result.quantizers] == [4, 6]
    assert [quantizer.spec.teacher for quantizer in result.quantizers] == [each.spec.digest for each in teachers]
    for key, value in upper.state_dict().items():
        torch.testing.assert_close(
            value, before[key]
        )  # the copies were copied again: a second training may begin there
    for index, (quantizer, teacher) in enumerate(zip(result.quantizers, teachers, strict=True)):
        assert quantizer.spec.encoder == below
        right = [quantizer.assign(store[f"{item}+"]) == teacher.assign(store[str(item)]) for item in range(20)]
        wrong_before = [teacher.assign(store[f"{item}+"]) == teacher.assign(store[str(item)]) for item in range(20)]
        assert np.mean(right) > np.mean(wrong_before) + 0.2
        quantizer.save(tmp_path / str(index))
        again = load_quantizer(tmp_path / str(index))
        assert isinstance(again, InvariantQuantizer)
        assert again.spec == quantizer.spec
        np.testing.assert_array_equal(again.assign(store["0+"]), quantizer.assign(store["0+"]))
    first, second = (quantizer.head.upper.state_dict() for quantizer in result.quantizers)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["layers.0.linear1.weight"], before["layers.0.linear1.weight"])


def test_teachers_of_different_encoders_are_refused(tmp_path):
    spec = load_encoder("log-mel").spec
    other = msgspec.structs.replace(spec, layer="9")
    books = [SmoothedCodebook(Codebook(np.eye(spec.dim)[:3], each), Smoothing(), 1.0) for each in (spec, other)]
    with pytest.raises(UserError, match="2 teachers of different encoders"):
        train_invariant(books, {"a": ["a", "b"]}, {}.__getitem__, InvariantConfig(), tmp_path)
