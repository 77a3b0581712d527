"""Claims about the mel spectrogram: filters are librosa's, a batch is its items, and Whisper's features come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechkit.nn.masks import attention_bias, length_mask
from speechkit.nn.mel import LogMel, mel_filters


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
