"""Claims about the mel spectrogram: filters are librosa's, a batch is its items, and Whisper's features come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechkit.errors import ConfigError, UserError
from speechkit.nn.masks import attention_bias, length_mask
from speechkit.nn.mel import LogMel, MelSpectrogram, mel_filters, stack_frames, unstack_frames
from speechkit.nn.mel_spec import MelSpec


@pytest.mark.parametrize(("channels", "fft_samples"), [(80, 400), (80, 512), (128, 400)])
def test_filters_equal_those_of_librosa(channels, fft_samples):
    librosa = pytest.importorskip("librosa")
    theirs = librosa.filters.mel(sr=16_000, n_fft=fft_samples, n_mels=channels)
    np.testing.assert_array_equal(mel_filters(channels, fft_samples, rounded_heights=True), theirs)
    np.testing.assert_allclose(mel_filters(channels, fft_samples), theirs, atol=4e-9)


def test_log_mel_equals_the_features_of_whisper():
    extractor = pytest.importorskip("transformers").WhisperFeatureExtractor(feature_size=80)
    waveform = np.random.default_rng(0).standard_normal(480_000).astype(np.float32) * 0.1
    theirs = extractor(waveform, sampling_rate=16_000, return_tensors="np")["input_features"][0].T
    np.testing.assert_allclose(LogMel()(torch.from_numpy(waveform)).numpy(), theirs, atol=2e-4)


@pytest.mark.parametrize("samples", [0, 100, 201, 1600, 5000])
def test_a_batch_gives_what_its_items_give(samples):
    waveforms = torch.randn(3, samples, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [0.01], [0]])
    together = LogMel()(waveforms)
    assert together.shape == (3, samples // 160, 80)
    assert torch.allclose(together, torch.stack([LogMel()(each) for each in waveforms]), atol=1e-6)


def test_masks_are_true_inside_and_attention_leaves_out_what_is_outside():
    lengths = torch.tensor([2, 0, 3])
    mask = length_mask(lengths, 3)
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    weights = torch.softmax(attention_bias(lengths, 3, torch.float32), -1)[:, 0, 0]
    assert torch.allclose(weights, torch.tensor([[0.5, 0.5, 0], [1 / 3] * 3, [1 / 3] * 3]))


def test_frames_for_vocoders_are_centred_in_their_hops_and_equal_the_plain_definition():
    waveform = np.random.default_rng(0).standard_normal(1999).astype(np.float32) * 0.1
    ours = MelSpectrogram()(torch.from_numpy(waveform)).numpy()
    assert ours.shape == (12, 80)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(640) / 640)
    padded = np.pad(waveform.astype(np.float64), (240, 640))
    for t, frame in enumerate(ours):
        spectrum = np.abs(np.fft.rfft(padded[160 * t : 160 * t + 640] * window, 1024))
        slow = np.log(np.maximum(mel_filters(80, 1024).astype(np.float64) @ spectrum, 1e-5))
        np.testing.assert_allclose(frame, slow, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 159, 160, 1700])
def test_zeros_behind_a_waveform_leave_the_frames_for_vocoders_as_they_are(samples):
    waveform = torch.randn(samples, generator=torch.Generator().manual_seed(samples)) * 0.1
    alone = MelSpectrogram()(waveform)
    padded = MelSpectrogram()(torch.stack([torch.nn.functional.pad(waveform, (0, 700))] * 2))
    assert alone.shape == (samples // 160, 80)
    assert torch.allclose(padded[1, : len(alone)], alone, atol=1e-5)


def test_the_gradient_of_silence_is_finite():
    waveform = torch.zeros(800, requires_grad=True)
    MelSpectrogram()(waveform).sum().backward()
    assert torch.isfinite(waveform.grad).all()


def test_unstacked_frames_are_what_was_stacked_less_a_rest():
    frames = torch.randn(2, 7, 80)
    assert stack_frames(frames).shape == (2, 3, 160)
    assert torch.equal(unstack_frames(stack_frames(frames)), frames[:, :6])


def test_other_mel_parameters_are_refused_with_both_values():
    with pytest.raises(UserError, match="the vocoder small takes log-mel frames with channels 80, these have 100"):
        MelSpec().require(MelSpec(channels=100), "the vocoder small")
    with pytest.raises(ConfigError, match="an FFT of 512"):
        MelSpec(fft_samples=512)
