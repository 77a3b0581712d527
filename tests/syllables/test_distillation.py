"""Self-segmentation distillation on a tiny encoder and made-up speech."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.augment.mixing import MixingConfig, add_speaker, mix
from speechkit.augment.waveforms import AugmentConfig
from speechkit.data import Utterance, write_manifest
from speechkit.encoders import load_encoder
from speechkit.encoders.pretraining.batches import WaveformBatches
from speechkit.errors import ConfigError
from speechkit.io.audio import write_audio
from speechkit.syllables.self_distillation import (
    SILENCE,
    SelfSegmentation,
    frame_labels,
    segment_targets,
)
from speechkit.syllables.syllable_encoder import SyllableEncoder
from speechkit.training import Objective, TrainingConfig, Turn, train

SYLLABLE = 10
"""Frames of a made-up syllable; every fourth is silence."""


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Four recordings of tones, 200 ms each, and silence; with their spans."""
    folder = tmp_path_factory.mktemp("speech")
    generator = np.random.default_rng(0)
    rows, spans, ends = [], [], []
    for number in range(4):
        parts = []
        for place in range(10):
            tone = np.sin(2 * np.pi * generator.uniform(150, 1500) * np.arange(SYLLABLE * 320) / 16_000)
            silent = place % 4 == 3
            parts.append(1e-4 * generator.standard_normal(SYLLABLE * 320) + (0 if silent else 0.3) * tone)
            if not silent:
                spans.append((place * SYLLABLE, (place + 1) * SYLLABLE))
        ends.append(len(spans))
        waveform = np.concatenate(parts).astype(np.float32)
        write_audio(folder / f"{number}.wav", waveform, 16_000)
        rows.append(
            Utterance.from_samples(
                id=str(number), audio_filepath=f"{number}.wav", num_samples=len(waveform), sample_rate=16_000
            )
        )
    write_manifest(folder / "train.jsonl", rows)
    batches = WaveformBatches(rows, folder / "train.jsonl", 8.0, 2.0, 0)
    return batches, lambda item: np.array(spans[ends[item - 1] if item else 0 : ends[item]], np.int64)


class EveryTen:
    """Cuts frames every ten, and every fourth is silence."""

    def __init__(self, seen):
        self.seen = seen

    def segment(self, features):
        self.seen.append(features.shape)
        starts = [s for n, s in enumerate(range(0, len(features), SYLLABLE)) if n % 4 != 3]
        return np.array([(s, min(s + SYLLABLE, len(features))) for s in starts], np.int64).reshape(-1, 2)


def objective_of(folder, batches, **settings):
    student, teacher = SyllableEncoder(folder, train_front=True), SyllableEncoder(folder)
    for encoder in (student, teacher):
        encoder.standardise([batches(0)])
    return SelfSegmentation(student, teacher, **settings)


def run(objective, batches, folder, steps=60, stop_after=None):
    config = TrainingConfig(
        steps=steps, warmup_steps=5, learning_rates=(4e-3,), log_every=10, save_every=10, average_decay=0.9
    )
    seen = []

    def batch(number):
        seen.append(number)
        return objective.prepare(batches(number), number)

    calls = []

    def stop():
        calls.append(0)
        return stop_after is not None and len(calls) >= stop_after

    turn = Turn(objective.loss, objective.groups())
    return train(Objective(objective.network, [turn], batch), config, folder, should_stop=stop, log=lambda _: None)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=6),
    st.integers(0, 20),
    st.integers(1, 40),
)
def test_labels_and_targets_equal_the_obvious_loop(pairs, begin, frames):
    spans, place = [], 0
    for gap, length in pairs:
        spans.append((place + gap, place + gap + length))
        place += gap + length
    labels = frame_labels(np.array(spans, np.int64).reshape(-1, 2), begin, frames)
    features = np.random.default_rng(frames).standard_normal((2, frames, 3)).astype(np.float32)
    both = torch.from_numpy(np.stack([labels, np.full(frames, SILENCE)]))
    targets = segment_targets(torch.from_numpy(features), both).numpy()
    expected = np.zeros((frames, 3))
    for frame in range(frames):
        for start, end in spans:
            if start <= frame + begin < end:
                low, high = max(start - begin, 0), min(end - begin, frames)
                expected[frame] = features[0, low:high].mean(axis=0)
    np.testing.assert_allclose(targets[0], expected, atol=1e-5)
    assert not targets[1].any()


def test_standard_units_hold_and_the_folder_gives_the_same_frames(tiny_checkpoint, speech, tmp_path):
    batches, _ = speech
    encoder = SyllableEncoder(tiny_checkpoint, layers=1)
    encoder.standardise([batches(0)])
    batch = batches(0)
    with torch.no_grad():
        frames = encoder.eval()(batch["inputs"], batch["lengths"])
    flat = frames.reshape(-1, frames.shape[-1])
    assert flat.mean(0).abs().max() < 1e-2
    assert (flat.std(0) < 1.1).all()
    encoder.save(tmp_path)
    loaded = load_encoder(str(tmp_path), device="cpu", dtype="float32")
    assert loaded.num_layers == 1
    np.testing.assert_allclose(loaded.encode(batch["clean"][0].numpy()), frames[0].numpy(), atol=2e-4)


def test_a_padded_batch_gives_what_each_item_gives_alone(tiny_checkpoint, speech):
    encoder = SyllableEncoder(tiny_checkpoint).eval()
    inputs = speech[0](0)["inputs"][:2]
    lengths = torch.tensor([inputs.shape[1], 6400])
    padded = inputs.clone()
    padded[1, 6400:] = 0
    with torch.no_grad():
        both = encoder(padded, lengths)
        alone = encoder(inputs[1:, :6400], lengths[1:])
    torch.testing.assert_close(both[1, :20], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_loss_falls_and_silence_goes_to_zero(tiny_checkpoint, speech, tmp_path):
    batches, stored = speech
    objective = objective_of(tiny_checkpoint, batches, stored=stored)
    batch = objective.prepare(batches(0), 0)
    with torch.no_grad():
        before, was = objective.loss(objective.network.eval(), batch)
    assert run(objective, batches, tmp_path, 60)
    with torch.no_grad():
        after, now = objective.loss(objective.network.eval(), batch)
    assert after < 0.5 * before
    assert now["norm_silence"] < 0.5 * was["norm_silence"]
    assert now["norm_silence"] < 0.75 * now["norm_speech"]
    assert now["speech_share"] == pytest.approx(0.8)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bytes(tiny_checkpoint, speech, tmp_path):
    batches, stored = speech
    mixing = MixingConfig(augment=AugmentConfig(speed=0, room=0, noise=0.5, gain_db=(0, 0)), speaker=0.5)
    saved = []
    for name, stops in (("whole", ()), ("parts", (7, 12))):
        for stop in (*stops, None):
            objective = objective_of(tiny_checkpoint, batches, stored=stored, mixing=mixing)
            assert run(objective, batches, tmp_path / name, 24, stop) is (stop is None)
        objective.save(tmp_path / f"{name}_model")
        saved.append((tmp_path / f"{name}_model" / "model.safetensors").read_bytes())
    assert saved[0] == saved[1]


def test_stage_two_cuts_the_teachers_frames_with_a_new_threshold_each_batch(tiny_checkpoint, speech, tmp_path):
    batches, _ = speech
    asked, shapes = [], []

    def online(merge):
        asked.append(merge)
        return EveryTen(shapes)

    objective = objective_of(tiny_checkpoint, batches, online=online, merge_range=(0.6, 0.7))
    teacher = {name: value.clone() for name, value in objective._teacher[0].state_dict().items()}
    assert run(objective, batches, tmp_path, 20)
    assert len(set(asked)) == 20
    assert all(0.6 <= merge <= 0.7 for merge in asked)
    assert {frames for frames, _ in shapes} == {100}
    for name, value in objective._teacher[0].state_dict().items():
        assert torch.equal(value, teacher[name]), name


def test_mixing_keeps_lengths_and_reaches_the_asked_level():
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((2, 8000)).astype(np.float32)
    mixed = add_speaker(first, second, 10.0, 0.5, at_end=True)
    assert np.array_equal(mixed[:4000], first[:4000])
    added = mixed[4000:] - first[4000:]
    assert 10 * np.log10(np.mean(first**2) / np.mean(added**2)) == pytest.approx(10, abs=0.3)
    silent = np.zeros(100, np.float32)
    assert np.array_equal(add_speaker(first, silent, 10.0, 0.0, at_end=False), first)
    heard = mix([first, second[:500], silent], MixingConfig(speaker=1.0), np.random.default_rng(1))
    assert [len(item) for item in heard] == [8000, 500, 100]
    assert all(np.isfinite(item).all() for item in heard)


def test_what_cannot_be_trained_is_named(tiny_checkpoint):
    with pytest.raises(ConfigError, match="speed must be 0"):
        MixingConfig(augment=AugmentConfig())
    with pytest.raises(ConfigError, match="has layers 1 to"):
        SyllableEncoder(tiny_checkpoint, layers=99)
    with pytest.raises(ValueError, match="give either"):
        SelfSegmentation(SyllableEncoder(tiny_checkpoint), SyllableEncoder(tiny_checkpoint))
