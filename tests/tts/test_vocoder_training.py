"""Claims about training vocoders: crops, losses, adversaries, resuming, and that a vocoder learns."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio
from speechkit.nn.mel import MelSpectrogram
from speechkit.nn.mel_spec import MelSpec
from speechkit.training import TrainingConfig, train
from speechkit.tts.vocoder.batches import CropBatches, speaker_chances
from speechkit.tts.vocoder.config import (
    HarmonicConfig,
    HifiGanConfig,
    SpeakerConfig,
    UnitInput,
    VocoderConfig,
    VocosConfig,
)
from speechkit.tts.vocoder.discriminators import Discriminators, Judgement, PeriodDiscriminator
from speechkit.tts.vocoder.features import Moments, StoredFrames, read_input, stored_frames, write_inputs
from speechkit.tts.vocoder.losses import MelDistance, StftDistance, discriminator_loss, feature_loss, generator_loss
from speechkit.tts.vocoder.objective import adversarial_objective, judged_mel, spectral_objective
from speechkit.tts.vocoder.training_config import CropConfig, DiscriminatorConfig, LossConfig
from speechkit.tts.vocoder.vocoder import Vocoder
from speechkit.units.quantizers import UnitSet

TINY = VocosConfig(width=24, inner=32, layers=2)
SMALL_DISCRIMINATORS = DiscriminatorConfig(
    periods=(2, 3), period_channels=(4, 4), resolutions=(256,), resolution_channels=2
)
CROPS = CropConfig(items=3, seconds=0.4, reference_seconds=0.5)


def voice(seconds: float, pitch: float, rate: int = 16_000) -> np.ndarray:
    """Harmonics of a gliding pitch."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * pitch * (t + 0.05 * t * t)
    return sum(np.sin(k * phase) / k for k in range(1, 12)).astype(np.float32) * 0.15


@pytest.fixture
def recordings(tmp_path) -> list[tuple[Utterance, Path]]:
    rows = []
    for number, (seconds, rate, speaker) in enumerate(
        [(1.5, 16_000, "a"), (0.9, 22_050, "a"), (2.5, 48_000, "b"), (0.4, 16_000, None)]
    ):
        write_audio(tmp_path / f"{number}.flac", voice(seconds, 100 + 30 * number, rate), rate)
        samples = round(seconds * rate)
        rows.append(
            Utterance.from_samples(
                id=str(number), audio_filepath=f"{number}.flac", num_samples=samples, sample_rate=rate, speaker=speaker
            )
        )
    return [(row, tmp_path / "manifest.jsonl") for row in rows]


def test_crops_are_functions_of_their_number_and_their_frames_those_of_the_recording(recordings):
    batches = CropBatches(recordings, VocoderConfig(generator=TINY), CROPS, seed=1)
    again = CropBatches(recordings, VocoderConfig(generator=TINY), CROPS, seed=1)
    seen = set()
    for number in (5, 0, 9):
        batch, other = batches(number), again(number)
        assert batch["frames"].shape == (3, 40, 80)
        assert batch["waveforms"].shape == (3, 6400)
        assert all(torch.equal(batch[name], other[name]) for name in batch)
        assert float(batch["waveforms"].abs().max()) <= 1.0
        # Away from the edges, where a crop alone hears silence, frames are those of the crop itself.
        alone = MelSpectrogram()(batch["waveforms"])
        assert torch.allclose(batch["frames"][:, 4:-4], alone[:, 4:-4], atol=2e-2)
        seen.add(float(batch["waveforms"].sum()))
    assert len(seen) == 3


def test_a_crop_in_the_middle_hears_what_stands_around_it(tmp_path):
    waveform = voice(3.0, 120)
    write_audio(tmp_path / "a.wav", waveform, 16_000)
    row = Utterance.from_samples(id="a", audio_filepath="a.wav", num_samples=48_000, sample_rate=16_000)
    batch = CropBatches([(row, tmp_path / "m.jsonl")], VocoderConfig(generator=TINY), CROPS, seed=0)(0)
    whole = MelSpectrogram()(torch.from_numpy(waveform))
    for frames, crop in zip(batch["frames"], batch["waveforms"].numpy(), strict=True):
        correlations = [abs(float(np.dot(crop, waveform[begin : begin + 6400]))) for begin in range(0, 41_601, 320)]
        begin = int(np.argmax(correlations)) * 2
        gain = np.log(np.linalg.norm(crop) / np.linalg.norm(waveform[begin * 160 : begin * 160 + 6400]))
        inner = slice(1 if begin == 0 else 0, 39)  # the gain of silence before the recording is unknown
        expected = whole[begin : begin + 40] + gain
        loud = expected[inner] > -6
        assert torch.allclose(frames[inner][loud], expected[inner][loud], atol=0.05)


def test_stored_frames_go_with_the_samples_of_their_time(recordings):
    """Units that count the frames tell where a crop was cut."""
    config = VocoderConfig(input=UnitInput(UnitSet("d", 1000, 50.0)), generator=TINY)

    def count(name: str, begin: int, end: int) -> np.ndarray:
        return np.arange(125)[begin:end]

    batch = CropBatches([recordings[2]], config, CROPS, seed=3, stored=count)(0)
    waveform = voice(2.5, 160, 16_000)
    for units, crop in zip(batch["frames"], batch["waveforms"].numpy(), strict=True):
        begin = int(units[0]) * 320
        assert units.tolist() == list(range(int(units[0]), int(units[0]) + 20))
        expected = waveform[begin : begin + 6400]
        assert np.dot(crop, expected) > 0.99 * np.linalg.norm(crop) * np.linalg.norm(expected)


def test_a_reference_is_another_piece_of_the_same_length(recordings):
    config = VocoderConfig(generator=TINY, speaker=SpeakerConfig(width=8, inner=8, layers=1, dim=4))
    batch = CropBatches(recordings, config, CROPS, seed=0)(1)
    assert batch["references"].shape == (3, 8000)
    assert (batch["references"].abs().amax(1) > 0.05).all()


def test_recordings_shorter_than_a_crop_are_refused(recordings):
    with pytest.raises(UserError, match=r"1 recordings are shorter than a crop of 0.5 s \(3\)"):
        CropBatches(recordings, VocoderConfig(generator=TINY), msgspec.structs.replace(CROPS, seconds=0.5), 0)


def test_chances_balance_speakers():
    rows = [
        Utterance(id=str(n), audio_filepath="a", duration=seconds, sample_rate=16_000, speaker=speaker)
        for n, (seconds, speaker) in enumerate([(9.0, "a"), (7.0, "a"), (4.0, "b"), (1.0, None)])
    ]
    np.testing.assert_allclose(speaker_chances(rows, 1.0), np.array([9, 7, 4, 1]) / 21)
    np.testing.assert_allclose(speaker_chances(rows, 0.0), np.array([9 / 16, 7 / 16, 1, 1]) / 3)
    np.testing.assert_allclose(speaker_chances(rows, 0.5), np.array([9 / 4, 7 / 4, 2, 1]) / 7)


def test_moments_are_mean_and_deviation():
    rows = np.random.default_rng(0).standard_normal((50, 3)) * [1, 2, 0.1] + [5, 0, -3]
    moments = Moments(3)
    for piece in (rows[:7], rows[7:]):
        moments.add(piece)
    mean, deviation = moments.result()
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, rows.std(0), rtol=1e-5)
    assert [part.tolist() for part in Moments(2).result()] == [[0, 0], [1, 1]]


def test_inputs_are_stored_and_unreadable_recordings_named(recordings, tmp_path):
    left: list[str] = []
    lost = (msgspec.structs.replace(recordings[0][0], id="lost", audio_filepath="lost.wav"), recordings[0][1])
    settings = {"mel": MelSpec(), "encoder": "log-mel", "layer": None, "codebook": "", "measured_items": 9}
    for kind in ("mel", "encoder"):
        folder = tmp_path / kind
        write_inputs(folder, [*recordings, lost], kind, **settings, leave_out=lambda *why: left.append(why[0]))
        taken, mean, deviation = read_input(folder)
        assert taken.width == len(mean) == len(deviation)
        assert (deviation > 0).all()
    assert left == ["lost", "lost"]
    stored = stored_frames(tmp_path / "encoder")
    assert "0" in stored
    assert "lost" not in stored
    assert stored("0", 3, 9).shape == (6, taken.width)
    assert stored_frames(tmp_path / "mel") is None
    with pytest.raises(ConfigError, match="log-mel frames are not stored"):
        StoredFrames(tmp_path / "mel")
    with pytest.raises(UserError, match="none of 1 recordings could be encoded"):
        write_inputs(tmp_path / "none", [lost], "encoder", **settings)


def test_distances_of_spectra_are_zero_of_the_same_and_grow():
    waveform = torch.from_numpy(voice(0.5, 130))[None]
    noise = 0.02 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    for distance in (MelDistance(MelSpec()), StftDistance((256, 512))):
        assert float(distance(waveform, waveform)) == 0.0
        assert 0 < float(distance(waveform + 0.1 * noise, waveform)) < float(distance(waveform + noise, waveform))


def test_adversaries_want_what_their_papers_say():
    real, fake = (Judgement(torch.tensor([[value]]), [torch.tensor([value])]) for value in (0.4, -0.3))
    assert float(discriminator_loss([real], [fake], "hinge")) == pytest.approx(0.6 + 0.7)
    assert float(discriminator_loss([real], [fake], "least-squares")) == pytest.approx(0.36 + 0.09)
    assert float(generator_loss([fake], "hinge")) == pytest.approx(1.3)
    assert float(generator_loss([fake], "least-squares")) == pytest.approx(1.69)
    assert float(feature_loss([real, real], [fake, real])) == pytest.approx(0.35)


def test_a_period_discriminator_sees_only_samples_a_period_apart():
    discriminator = PeriodDiscriminator(5, (2, 2))
    waveform = torch.randn(1, 203, requires_grad=True)
    scores = discriminator(waveform).scores.view(5, -1)
    scores[2].sum().backward()
    touched = set((waveform.grad[0].nonzero()[:, 0] % 5).tolist())
    assert touched == {2}


def test_discriminators_of_the_papers_have_their_sizes():
    assert sum(p.numel() for p in PeriodDiscriminator(2, (32, 128, 512, 1024, 1024)).parameters()) > 8_000_000
    config = DiscriminatorConfig(periods=(2, 3, 5, 7, 11, 13, 17, 19), period_channels=(2, 2), resolution_channels=2)
    by_period, by_resolution = Discriminators(config)(torch.randn(2, 4000))
    assert len(by_period) == 8
    assert len(by_resolution) == 3
    with pytest.raises(ConfigError, match="neither periods nor resolutions"):
        DiscriminatorConfig(periods=(), resolutions=())


@pytest.mark.parametrize("sample_rate", [16_000, 32_000, 48_000])
def test_waveforms_of_any_rate_are_compared_in_frames_of_the_same_length(sample_rate):
    hop = sample_rate // 100
    vocoder = Vocoder(
        VocoderConfig(
            input=UnitInput(UnitSet("d", 5, 50.0)),
            generator=VocosConfig(width=8, inner=8, layers=1, fft_samples=4 * hop, hop_samples=hop),
            sample_rate=sample_rate,
        )
    )
    spec = judged_mel(vocoder)
    assert spec.sample_rate == sample_rate
    assert spec.hop_samples / sample_rate == pytest.approx(0.01, rel=0.01)
    assert spec.fft_samples >= spec.window_samples == pytest.approx(0.04 * sample_rate, rel=0.01)


def batch_of(pitch: float, vocoder: VocoderConfig):
    waveforms = torch.from_numpy(np.stack([voice(0.4, pitch), voice(0.4, 1.5 * pitch)]))
    return lambda number: {"frames": MelSpectrogram()(waveforms), "waveforms": waveforms, "references": waveforms}


def test_a_vocoder_learns_from_spectra_and_then_against_adversaries(tmp_path):
    torch.manual_seed(0)
    vocoder = Vocoder(VocoderConfig(generator=TINY))
    batch = batch_of(110, vocoder.config)
    objective = spectral_objective(vocoder, LossConfig(mel=1.0, stft=1.0), batch, [batch(0)])
    config = TrainingConfig(
        steps=40, learning_rates=(3e-3,), warmup_steps=2, clip_norm=10, average_decay=0.5, log_every=40, save_every=40
    )
    with torch.no_grad():
        before = objective.evaluate(objective.network)["dev_loss"]
    assert train(objective, config, tmp_path / "spectral", log=lambda line: None)
    with torch.no_grad():
        after = objective.evaluate(objective.network)["dev_loss"]
    assert after < 0.7 * before
    objective.save(tmp_path / "model")
    vocoder = Vocoder.from_pretrained(tmp_path / "model", trainable=True)
    objective = adversarial_objective(vocoder, SMALL_DISCRIMINATORS, LossConfig(), batch, [batch(0)])
    config = msgspec.structs.replace(config, steps=4, learning_rates=(1e-3, 1e-3), log_every=1)
    weights = {name: value.clone() for name, value in objective.network.state_dict().items()}
    assert train(objective, config, tmp_path / "adversarial", log=lambda line: None)
    changed = {
        name.split(".")[0] for name, value in objective.network.state_dict().items() if (value != weights[name]).any()
    }
    assert changed == {"vocoder", "discriminators"}
    metrics = (tmp_path / "adversarial" / "metrics.jsonl").read_text()
    for name in ("discriminators_loss", "vocoder_mel", "vocoder_period_features", "vocoder_resolution_fooled"):
        assert name in metrics


@pytest.mark.parametrize("generator", [TINY, HifiGanConfig(channels=16)])
def test_a_turn_of_discriminators_leaves_the_generator_alone(generator):
    torch.manual_seed(0)
    speaker = SpeakerConfig(width=8, inner=8, layers=1, dim=4)
    vocoder = Vocoder(VocoderConfig(generator=generator, speaker=speaker, noise=2)).train()
    objective = adversarial_objective(vocoder, SMALL_DISCRIMINATORS, LossConfig(), batch_of(90, vocoder.config), [])
    batch = objective.batch(0)
    discriminators, generators = objective.turns
    loss, _ = discriminators.loss(objective.network, batch)
    loss.backward()
    assert all(parameter.grad is None for parameter in vocoder.parameters())
    assert all(parameter.grad is not None for parameter in discriminators.groups[0])
    loss, _ = generators.loss(objective.network, batch)
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in vocoder.parameters())


def test_waveform_and_pitch_have_one_condition():
    source = msgspec.structs.replace(TINY, harmonics=HarmonicConfig(inner=16, layers=1))
    speaker = SpeakerConfig(width=8, inner=8, layers=1, dim=4)
    vocoder = Vocoder(VocoderConfig(generator=source, speaker=speaker, noise=2))
    objective = adversarial_objective(vocoder, SMALL_DISCRIMINATORS, LossConfig(), batch_of(90, vocoder.config), [])
    batch = objective.batch(0)
    batch |= {name: torch.full(batch["frames"].shape[:2], value) for name, value in (("hertz", 90.0), ("voiced", 1.0))}
    seen = []
    vocoder.generator.register_forward_pre_hook(lambda _, given: seen.append(given[3]))
    vocoder.generator.pitch.register_forward_pre_hook(lambda _, given: seen.append(given[2]))
    objective.turns[1].loss(objective.network, batch)
    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_a_killed_adversarial_training_resumes_to_the_same_weights(tmp_path):
    def run(folder: Path, stop_after: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        vocoder = Vocoder(VocoderConfig(generator=HifiGanConfig(channels=16, block_kernels=(3,)), noise=2))
        objective = adversarial_objective(
            vocoder, SMALL_DISCRIMINATORS, LossConfig(), batch_of(100, vocoder.config), []
        )
        config = TrainingConfig(steps=4, learning_rates=(1e-3, 1e-3), warmup_steps=1, save_every=1, log_every=1)
        stops = iter([False] * (stop_after - 1) + [True] * 9)
        train(objective, config, folder, should_stop=lambda: next(stops), log=lambda line: None)
        return {name: value.clone() for name, value in vocoder.state_dict().items()}

    whole = run(tmp_path / "whole", 9)
    run(tmp_path / "parts", 2)
    resumed = run(tmp_path / "parts", 9)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("generator", [TINY, HifiGanConfig(channels=16)])
def test_half_precision_gives_nearly_the_same_and_finite_gradients(generator):
    torch.manual_seed(0)
    vocoder = Vocoder(VocoderConfig(generator=generator))
    objective = adversarial_objective(
        vocoder, SMALL_DISCRIMINATORS, LossConfig(stft=1.0), batch_of(90, vocoder.config), []
    )
    batch = objective.batch(0)
    with torch.no_grad():
        whole = vocoder(batch["frames"])
    with torch.autocast("cpu", torch.bfloat16):
        half = vocoder(batch["frames"])
        loss, _ = objective.turns[1].loss(objective.network, batch)
        theirs, _ = objective.turns[0].loss(objective.network, batch)
    (loss + theirs).backward()
    assert half.dtype == loss.dtype == torch.float32
    assert float((half - whole).detach().norm() / whole.norm()) < 0.05
    assert all(torch.isfinite(p.grad).all() for p in objective.network.parameters() if p.grad is not None)
