"""Augmentation does what its settings say, from the generator alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from speechkit.augment.waveforms import (
    NO_AUGMENTATION,
    AugmentConfig,
    add_noise,
    augment_waveform,
    change_speed,
    mask_features,
    room_response,
)


@given(st.floats(-5, 40), st.integers(0, 1000))
def test_noise_has_the_asked_ratio(decibels, seed):
    generator = np.random.default_rng(seed)
    speech = generator.standard_normal(8000).astype(np.float32)
    noise = generator.standard_normal(3000).astype(np.float32)
    added = add_noise(speech, noise, decibels) - speech
    ratio = 10 * np.log10(np.mean(speech**2) / np.mean(added**2))
    assert abs(ratio - decibels) < 0.1


def test_speed_changes_length_and_room_keeps_energy():
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32)
    assert abs(len(change_speed(tone, 1.25)) - 12_800) <= 1
    response = room_response(np.random.default_rng(0))
    assert np.argmax(np.abs(response)) == 0
    np.testing.assert_allclose(np.sum(response**2), 1.0, rtol=1e-5)


@given(st.integers(100, 900), st.integers(0, 50))
def test_masks_leave_shape_and_most_values(frames, seed):
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((frames, 80)).astype(np.float32)
    before = features.copy()
    masked = mask_features(features, AugmentConfig(), generator)
    assert masked.shape == features.shape
    np.testing.assert_array_equal(features, before)
    bands, stretches = (masked != features).all(0).sum(), (masked != features).all(1).sum()
    assert bands <= 24
    assert stretches <= 20 * -(-frames // 600)


def test_same_generator_same_result_and_no_augmentation_changes_nothing():
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32) * 0.5
    often = AugmentConfig(speed=1, room=1, noise=1)
    one = augment_waveform(tone, often, np.random.default_rng(3))
    two = augment_waveform(tone, often, np.random.default_rng(3))
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float32
    assert np.abs(one).max() <= 1.0 + 1e-6
    np.testing.assert_array_equal(augment_waveform(tone, NO_AUGMENTATION, np.random.default_rng(3)), tone)
    features = np.ones((30, 80), np.float32) * np.arange(80)
    np.testing.assert_array_equal(mask_features(features, NO_AUGMENTATION, np.random.default_rng(3)), features)


@given(st.integers(0, 200))
def test_noise_that_is_mostly_silent_is_heard_all_the_same(seed):
    noise = np.zeros(60_000, np.float32)
    noise[30_000:30_500] = np.random.default_rng(0).standard_normal(500)
    tone = np.sin(np.arange(4000) / 5).astype(np.float32) * 0.5
    always = AugmentConfig(speed=0, room=0, noise=1, noise_db=(5.0, 5.0), gain_db=(0.0, 0.0))
    added = augment_waveform(tone, always, np.random.default_rng(seed), [noise]) - tone
    ratio = 10 * np.log10(np.mean(tone**2) / np.mean(added**2))
    assert abs(ratio - 5) < 0.1
