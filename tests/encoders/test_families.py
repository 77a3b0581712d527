"""Encoders are added in one file; rates come from the checkpoint; what is stored of them stays readable."""

import json
from importlib.util import module_from_spec, spec_from_file_location

import msgspec
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from speechkit.cli.main import app
from speechkit.data import Utterance, write_manifest
from speechkit.encoders import EncoderSpec, FeatureStore, families, load_encoder
from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.load import load_speech_encoder
from speechkit.encoders.stages import write_layers
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module

from .conftest import SHAPE

ENERGY = '''
"""Loudness of 12.5 ms of 8 kHz audio, and its logarithm: an encoder of two layers."""

import numpy as np
import torch

from speechkit.encoders.families import register
from speechkit.encoders.model import ALL, SpeechEncoder, item_states, unpadded
from speechkit.encoders.spec import EncoderSpec


class Energy(SpeechEncoder):
    def __init__(self):
        super().__init__(EncoderSpec("energy", "energy-1", "1", "none", 1, sample_rate=8_000, hop=100), [1, 1])

    def forward(self, waveforms, lengths, layers=ALL):
        def states(item):
            pieces = torch.from_numpy(item[: len(item) // 100 * 100].reshape(-1, 100))
            energy = pieces.square().mean(1, keepdim=True)
            return [energy, (energy + 1e-6).log()][: self.num_layers + 1][layers]

        return item_states([states(item) for item in unpadded(waveforms, lengths)], self.device)


@register("energy", has_weights=False)
def load(name, layer, compat):
    return Energy()
'''


@pytest.fixture
def energy(tmp_path):
    """An encoder family in one file."""
    file = tmp_path / "energy.py"
    file.write_text(ENERGY)
    spec = spec_from_file_location("energy_family", file)
    spec.loader.exec_module(module_from_spec(spec))
    yield "energy"
    del families._families["energy"]


def test_an_encoder_in_one_file_works_everywhere(energy, tmp_path):
    waveform = (0.1 * np.random.default_rng(0).standard_normal(8_000 * 47 + 50)).astype(np.float32)
    frames = len(waveform) // 100
    loaded = load_encoder(energy, device="cpu")
    assert (loaded.spec.sample_rate, loaded.spec.hop, loaded.spec.frame_rate) == (8_000, 100, 80)
    whole = loaded.encode(waveform)
    assert whole.shape == (frames, 1)
    write_audio(tmp_path / "long.wav", waveform, 8_000)
    long = np.concatenate(list(loaded.encode_long(tmp_path / "long.wav")))
    np.testing.assert_allclose(long, whole, atol=0.05)
    assert np.array_equal(np.concatenate(list(loaded.stream(np.array_split(waveform, 9)))), whole)
    alone, both = loaded.encode(waveform[:9_000]), loaded.encode_batch([waveform, waveform[:9_000]])
    assert np.array_equal(both[1], alone)

    row = Utterance.from_samples(id="a", audio_filepath="long.wav", num_samples=len(waveform), sample_rate=8_000)
    write_manifest(tmp_path / "m.jsonl", [row])
    arguments = ["features", str(tmp_path / "m.jsonl"), "--encoder", energy, "--out", str(tmp_path / "store"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--dtype", "float32"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.strip().splitlines()[-1])["hours"] == pytest.approx(47 / 3600, rel=1e-3)
    store = FeatureStore(tmp_path / "store")
    assert store.spec == loaded.spec
    np.testing.assert_allclose(store["a"], whole, atol=0.05)
    write_layers(tmp_path / "layers", loaded, [("a", waveform)], "float32")
    layers = FeatureStore(tmp_path / "layers", "all")
    assert np.array_equal(layers.layers("a"), loaded.encode_layers(waveform))
    recipe = recipe_module("ssl_features").recipe
    settings = [f"manifest={tmp_path / 'm.jsonl'}", f"encoder={energy}", "layer=0"]
    assert run_recipe(recipe, tmp_path / "exp", overrides=settings, device="cpu") == 0
    of_recipe = FeatureStore(outputs(recipe, tmp_path / "exp", "store") / "store")
    assert of_recipe.spec == load_encoder(energy, layer=0).spec
    assert of_recipe["a"].shape == (frames, 1)
    with pytest.raises(ConfigError, match="energy has no weights"):
        load_speech_encoder(energy, trainable=True)


@pytest.fixture(scope="module")
def slow_checkpoint(tmp_path_factory):
    """A wav2vec 2.0 of 25 frames a second: one convolution more, each of the last seven halves the rate."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    settings = {"conv_dim": (16,) * 8, "conv_stride": (5, *[2] * 7), "conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2)}
    folder = tmp_path_factory.mktemp("slow")
    WaveformEncoder(Wav2Vec2Model(Wav2Vec2Config(**SHAPE, **settings))).save(folder)
    return str(folder)


def test_hop_and_receptive_field_come_from_the_checkpoint(slow_checkpoint, tmp_path):
    encoder = load_encoder(slow_checkpoint, device="cpu", dtype="float32")
    assert (encoder.spec.hop, encoder.spec.frame_rate, encoder.model.receptive_field) == (640, 25, 720)
    generator = np.random.default_rng(0)
    items = [generator.standard_normal(count).astype(np.float32) for count in (16_000, 9_001, 1_279, 640, 639)]
    for item, frames in zip(items, encoder.encode_batch(items), strict=True):
        assert frames.shape == (len(item) // 640, 32)
        np.testing.assert_allclose(frames, encoder.encode(item), atol=1e-5)
    long = generator.standard_normal(16_000 * 7 + 123).astype(np.float32)
    assert sum(map(len, encoder.stream([long], 2, 1))) == len(long) // 640
    write_audio(tmp_path / "long.wav", 0.1 * long, 16_000)
    assert sum(map(len, encoder.encode_long(tmp_path / "long.wav", 2, 1))) == len(long) // 640
    with pytest.raises(UserError, match="gives 25 frames per second and segmenters need 50"):
        encoder.spec.require_rates("segmenters", 50)


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_gradients_reach_an_encoder_through_a_padded_batch_as_through_its_items(checkpoint, family):
    model = load_speech_encoder(str(checkpoint(family)), trainable=True)
    generator = np.random.default_rng(0)
    items = [model.prepare(generator.standard_normal(count).astype(np.float32)) for count in (6_400, 3_300)]
    weight = model.transformer.layers[0].final_layer_norm.weight

    def gradient(batches):
        model.zero_grad()
        for batch in batches:
            inputs = torch.nn.utils.rnn.pad_sequence(list(map(torch.from_numpy, batch)), batch_first=True)
            states, frames = model(inputs, torch.tensor(list(map(len, batch))))
            assert len(states) == model.num_layers + 1
            for row, count in enumerate(frames.tolist()):
                states[-1][row, :count].square().sum().backward(retain_graph=True)
        return weight.grad.clone()

    torch.testing.assert_close(gradient([items]), gradient([[item] for item in items]), rtol=1e-3, atol=1e-4)


def test_what_cannot_learn_is_refused(checkpoint):
    with pytest.raises(UserError, match=r"whisper encoder.*only be used frozen"):
        load_speech_encoder(str(checkpoint("whisper")), trainable=True)


def test_specs_from_before_the_compat_field_mean_the_same():
    new = EncoderSpec("hubert b", "w", "3", "standardised", 8, compat=True)
    plain = EncoderSpec("hubert b", "w", "3", "standardised", 8)
    old = b'{"model":"hubert b","weights":"w","layer":"3","normalization":"standardised, stock padding","dim":8}'
    assert msgspec.json.decode(old, type=EncoderSpec) == new
    assert "compat" not in msgspec.to_builtins(plain)
    assert msgspec.json.decode(msgspec.json.encode(plain), type=EncoderSpec) == plain
    assert msgspec.json.decode(msgspec.json.encode(new), type=EncoderSpec) == new
    new.require(msgspec.json.decode(old, type=EncoderSpec), "the codebook")
    for one, other in ((new, plain), (plain, new)):
        with pytest.raises(UserError, match="compat is"):
            one.require(other, "the codebook")
