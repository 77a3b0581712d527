"""The harmonic source of a vocoder: its pulse train, its predicted pitch, and equality of chunks, batches and whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from speechkit.tts.pitch import pitch as measured_pitch
from speechkit.tts.vocoder.config import HarmonicConfig, MelInput, VocoderConfig, VocosConfig
from speechkit.tts.vocoder.harmonic_source import (
    BINS,
    HarmonicSource,
    Origin,
    Pitch,
    PitchPredictor,
    cycles_at_centres,
)
from speechkit.tts.vocoder.vocoder import Vocoder

RATE, HOP = 16_000, 160
SMALL = VocosConfig(width=16, inner=32, layers=2, kernel=3, harmonics=HarmonicConfig(inner=32, layers=2))


def vocoder(seed=0):
    torch.manual_seed(seed)
    made = Vocoder(VocoderConfig(input=MelInput(), generator=SMALL)).eval()
    with torch.no_grad():
        # Louder logits than at the beginning, so that pitch and voicing change from frame to frame.
        made.generator.pitch.output.weight.mul_(200)
    return made


def frames(count, seed=1):
    return np.random.default_rng(seed).normal(-4, 2, (count, 80)).astype(np.float32)


def slow_pulses(hertz, shift):
    """Sum of cosines harmonic by harmonic, over a pitch integrated in fine steps."""
    centres = (np.arange(len(hertz)) + 0.5) * HOP
    times = np.arange(len(hertz) * HOP) + 0.5
    grid = np.linspace(0, len(hertz) * HOP, len(hertz) * HOP * 50 + 1)
    middle = (grid[1:] + grid[:-1]) / 2
    summed = np.concatenate([[0], np.cumsum(np.interp(middle, centres, hertz) / RATE * np.diff(grid))])
    cycles = shift + np.interp(times, grid, summed)
    local = np.interp(times, centres, hertz)
    samples = []
    for phase, pitch in zip(cycles, local, strict=True):
        harmonics = math.floor(0.475 * RATE / pitch)
        samples.append(np.cos(2 * np.pi * phase * np.arange(1, harmonics + 1)).sum() / math.sqrt(harmonics / 2))
    return np.array(samples)


def test_pulses_are_the_harmonics_of_a_moving_pitch():
    hertz = torch.tensor([[110.0, 118.0, 160.0, 150.0]])
    source = HarmonicSource(SMALL, RATE)
    got = source._pulses(hertz, cycles_at_centres(hertz, HOP, RATE))[0].numpy()
    # The source counts cycles from the centre of its first frame, the reference from the first sample.
    expected = slow_pulses(hertz[0].numpy(), -(110.0 * HOP / 2 / RATE))
    np.testing.assert_allclose(got, expected, atol=2e-2)
    assert got.std() == pytest.approx(1.0, abs=0.3)


def test_output_has_the_pitch_of_its_source():
    made = vocoder()
    with torch.no_grad():
        made.generator.phase.weight.zero_()
        made.generator.magnitude.weight.zero_()
        made.generator.mixer.fine.fill_(1.0)
    tilted = torch.linspace(-2.0, -9.0, 80).expand(1, 80, 80)
    for hertz in (75.0, 120.0, 250.0):
        pitch = Pitch(torch.full((1, 80), hertz), torch.ones(1, 80))
        with torch.inference_mode():
            waveform = made(tilted, pitch=pitch)[0].numpy()
        contour = measured_pitch(waveform)[10:-10]
        assert np.median(contour) == pytest.approx(hertz, rel=0.02)
        with torch.inference_mode():
            whispered = made(tilted, pitch=Pitch(pitch.hertz, torch.zeros(1, 80)))[0].numpy()
        assert np.mean(measured_pitch(whispered)[10:-10] > 0) < 0.2


@pytest.mark.parametrize(("chunk", "first"), [(1, 1), (7, 3), (50, 12)])
def test_a_stream_equals_the_whole(chunk, first):
    made, rows = vocoder(), frames(150)
    whole = made.generate(rows)
    blocks = [rows[begin : begin + 11] for begin in range(0, len(rows), 11)]
    streamed = np.concatenate(list(made.stream(blocks, chunk_frames=chunk, first_frames=first)))
    pitch = made.predicted_pitch(torch.from_numpy(rows)[None])
    assert 0.05 < pitch.voiced.mean() < 0.95
    assert pitch.hertz.std() > 20
    np.testing.assert_allclose(streamed, whole, atol=1e-4 * np.abs(whole).max())


def test_an_item_is_the_same_alone_and_in_a_padded_batch():
    made = vocoder()
    items = [torch.from_numpy(frames(count, seed=count)) for count in (40, 25, 9)]
    batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    lengths = torch.tensor([len(item) for item in items])
    with torch.inference_mode():
        together = made(batch, lengths)
        for item, row in zip(items, together, strict=True):
            alone = made(item[None])[0]
            torch.testing.assert_close(row[: len(alone)], alone, atol=1e-5, rtol=1e-4)
            assert not row[len(alone) :].any()


def test_a_chunk_of_a_source_continues_the_whole():
    source = HarmonicSource(SMALL, RATE)
    hertz = 100 + 50 * torch.rand(1, 60, generator=torch.Generator().manual_seed(3))
    whole, noise = source(Pitch(hertz, torch.ones(1, 60)))
    cycles = cycles_at_centres(hertz, HOP, RATE)
    piece, piece_noise = source(Pitch(hertz[:, 20:], torch.ones(1, 40)), None, Origin(cycles[:, 20], 20 * HOP))
    torch.testing.assert_close(piece[:, 4:], whole[:, 24:], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(piece_noise[:, 4:], noise[:, 24:])


def test_bins_decode_to_the_pitch_that_they_were_drawn_for():
    predictor = PitchPredictor(HarmonicConfig(), 8, 3)
    hertz = torch.tensor([[61.0, 97.3, 220.0, 499.0]])
    positions = (hertz / 60.0).log() / predictor.centres[1]
    logits = torch.zeros(1, 4, BINS + 1)
    logits[..., :BINS] = -((torch.arange(BINS) - positions[..., None]) ** 2)
    logits[..., BINS] = torch.tensor([3.0, -3.0, 1.0, 5.0])
    decoded = predictor.decoded(logits)
    torch.testing.assert_close(decoded.hertz, hertz, rtol=0.02, atol=0.0)
    assert decoded.voiced.tolist() == [[1.0, 0.0, 1.0, 1.0]]
    right, _ = predictor.loss(logits, Pitch(hertz, decoded.voiced))
    wrong, values = predictor.loss(logits, Pitch(hertz * 0.8, 1 - decoded.voiced))
    assert right < wrong
    assert values["voicing"] == 0.0
