"""Claims about the scalar codec: levels, gradients, lengths, both bodies, folders, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.nn.mel_spec import MelSpec
from speechkit.training import TrainingConfig, train
from speechkit.tts.codec import ConvolutionBody, ScalarCodec, ScalarCodecConfig, SpectralBody, codec_digest
from speechkit.tts.codec_training import codec_objective, distance_loss
from speechkit.tts.vocoder.config import VocosConfig
from speechkit.tts.vocoder.training_config import DiscriminatorConfig, LossConfig

SMALL_VOCOS = VocosConfig(width=16, inner=32, layers=1, mel_magnitudes=False)
BODIES = {
    "convolutions": ConvolutionBody(strides=(2, 4, 5, 8), width=2, dilations=(1, 3)),
    "spectral": SpectralBody(width=16, layers=1, generator=SMALL_VOCOS),
}


def small_codec(body, levels=3):
    torch.manual_seed(0)
    return ScalarCodec(ScalarCodecConfig(latent=4, levels=levels, body=BODIES[body])).eval()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("samples", [1, 319, 320, 321, 5000])
def test_frames_are_50_a_second_and_samples_come_back_as_many(body, samples):
    codec = small_codec(body)
    waveforms = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    frames = codec.encode(waveforms)
    assert codec.config.frame_rate == 50
    assert frames.shape == (2, -(-samples // 320), 4)
    assert codec.decode(frames).shape == (2, 320 * frames.shape[1])
    assert codec(waveforms).shape == waveforms.shape


@given(st.integers(1, 9), st.lists(st.floats(-3, 3), min_size=1, max_size=8))
def test_rounding_finds_the_nearest_level_and_finds_it_again(levels, values):
    codec = ScalarCodec.__new__(ScalarCodec)
    torch.nn.Module.__init__(codec)
    codec.config = ScalarCodecConfig(levels=levels)
    frames = torch.tensor([[values]])
    rounded = codec.snap(frames)
    grid = torch.arange(-levels, levels + 1) / levels
    nearest = (frames[..., None].clamp(-1, 1) - grid).abs().min(-1).values
    torch.testing.assert_close((frames.clamp(-1, 1) - rounded).abs(), nearest, atol=1e-6, rtol=0)
    torch.testing.assert_close(codec.snap(rounded), rounded)


def test_gradients_pass_the_rounding_inside_the_levels():
    codec = small_codec("convolutions")
    frames = torch.tensor([[[-2.0, -0.4, 0.1, 0.9]]], requires_grad=True)
    codec.snap(frames).sum().backward()
    assert frames.grad.flatten().tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("body", BODIES)
def test_every_part_of_the_codec_learns(body):
    codec = small_codec(body).train()
    batch = {"waveforms": 0.1 * torch.randn(2, 6400)}
    objective = codec_objective(codec, LossConfig(mel=1.0, stft=1.0), lambda number: batch, [], samples_weight=1.0)
    loss, values = distance_loss(objective.network, batch)
    loss.backward()
    assert {"mel", "stft", "samples"} == set(values)
    assert all(parameter.grad is not None for parameter in codec.parameters())


@pytest.mark.parametrize("body", BODIES)
def test_a_codec_comes_back_from_its_folder(tmp_path, body):
    codec = small_codec(body)
    codec.save_pretrained(tmp_path)
    again = ScalarCodec.from_pretrained(tmp_path)
    assert again.config == codec.config
    waveform = np.sin(np.arange(4000) / 20).astype(np.float32)
    frames = codec.encode_waveform(waveform)
    assert torch.equal(again.encode_waveform(waveform), frames)
    scaled = frames * codec.config.levels
    torch.testing.assert_close(scaled, scaled.round(), atol=1e-5, rtol=0)
    assert len(codec_digest(tmp_path)) > 20


def test_what_is_no_codec_is_refused(tmp_path):
    with pytest.raises(UserError, match="a codec"):
        codec_digest(tmp_path)
    with pytest.raises(UserError):
        ScalarCodec.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="no samples"):
        small_codec("spectral").encode_waveform([])
    with pytest.raises(ConfigError, match="odd kernel"):
        ConvolutionBody(kernel=4)
    with pytest.raises(ConfigError, match="hop"):
        SpectralBody(mel=MelSpec(hop_samples=200))


def test_the_published_rates_and_bits():
    config = ScalarCodecConfig()
    assert config.hop_samples == 320
    assert config.body.widths() == [32, 64, 128, 256, 512]
    assert config.bits_per_second == pytest.approx(50 * 32 * np.log2(11))


@pytest.mark.slow
@pytest.mark.parametrize("adversaries", [False, True])
def test_a_codec_learns_to_give_a_sound_back(tmp_path, adversaries):
    codec = small_codec("spectral").train()
    time = torch.arange(8000) / 16_000
    tones = torch.stack([0.3 * torch.sin(2 * torch.pi * hertz * time) for hertz in (300, 500, 800, 1200)])
    judges = DiscriminatorConfig(periods=(2,), period_channels=(4, 4), resolutions=(256,), resolution_channels=4)
    objective = codec_objective(
        codec,
        LossConfig(mel=5.0),
        lambda number: {"waveforms": tones},
        [{"waveforms": tones}],
        discriminators=judges if adversaries else None,
    )
    rates = (2e-3, 5e-3) if adversaries else (5e-3,)
    before = objective.evaluate(objective.network)["dev_mel"]
    settings = TrainingConfig(steps=60, learning_rates=rates, warmup_steps=5, average_decay=0.5, log_every=100)
    train(objective, settings, tmp_path, log=lambda _: None)
    assert objective.evaluate(objective.network)["dev_mel"] < 0.6 * before
