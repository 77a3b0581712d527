"""Claims about vocoders: exact lengths, batches, streams, files, and what is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.nn.convnext import ConvNeXtBlock
from speechkit.nn.inverse_stft import InverseStft
from speechkit.nn.mel import MelSpectrogram
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.vocoder import load_vocoder
from speechkit.tts.vocoder.config import (
    EncoderInput,
    HifiGanConfig,
    MelInput,
    SpeakerConfig,
    UnitInput,
    VocoderConfig,
    VocosConfig,
)
from speechkit.tts.vocoder.load import vocoder_digest
from speechkit.tts.vocoder.vocoder import Vocoder, folded_weights, take_over
from speechkit.tts.vocoder.vocos import MelMagnitudes
from speechkit.units.quantizers import UnitSet

ENCODER = EncoderSpec("small", "digest", "3", "standardised", 24)
UNITS = UnitSet("0123456789abcdef", 10, 50.0)
SPEAKER = SpeakerConfig(width=8, inner=8, layers=1, dim=4)
VOCOS = VocosConfig(width=16, inner=24, layers=2)
HIFIGAN = HifiGanConfig(channels=32, rates=(5, 4, 4, 2), kernels=(11, 8, 8, 4))
PAPER = HifiGanConfig(channels=64, rates=(5, 4, 4, 2, 2, 2), kernels=(11, 8, 8, 4, 4, 4))
CONFIGS = {
    "mel": VocoderConfig(generator=VOCOS),
    "mel, HiFi-GAN": VocoderConfig(generator=HIFIGAN),
    "encoder": VocoderConfig(input=EncoderInput(ENCODER), generator=VOCOS, speaker=SPEAKER, noise=3),
    "encoder, HiFi-GAN of WavThruVec": VocoderConfig(
        input=EncoderInput(ENCODER), generator=PAPER, sample_rate=32_000, speaker=SPEAKER, noise=3
    ),
    "units": VocoderConfig(input=UnitInput(UNITS), generator=VOCOS, speaker=SPEAKER),
}


def vocoder(name: str) -> Vocoder:
    torch.manual_seed(0)
    made = Vocoder(CONFIGS[name])
    for module in made.modules():  # conditions begin without effect
        if isinstance(module, torch.nn.Linear) and not module.weight.any():
            torch.nn.init.normal_(module.weight, std=0.2)
    return made.eval()


def frames_of(model: Vocoder, count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if isinstance(model.config.input, UnitInput):
        return generator.integers(0, 10, count)
    return generator.standard_normal((count, model.config.input.width)).astype(np.float32)


def speaker_of(model: Vocoder) -> np.ndarray | None:
    return None if model.speaker is None else np.linspace(-1, 1, 4, dtype=np.float32)


@pytest.mark.parametrize(("fft_samples", "hop"), [(640, 160), (640, 320), (12, 2)])
def test_spectra_of_centred_frames_are_inverted_to_exactly_a_hop_a_frame(fft_samples, hop):
    waveform = torch.randn(2, 7 * hop, generator=torch.Generator().manual_seed(0))
    inverse = InverseStft(fft_samples, hop)
    around = (fft_samples - hop) // 2
    pieces = torch.nn.functional.pad(waveform, (around, around)).unfold(1, fft_samples, hop)
    spectrum = torch.fft.rfft(pieces * inverse.window)
    made = inverse(spectrum.real, spectrum.imag)
    assert made.shape == waveform.shape
    assert torch.allclose(made, waveform, atol=1e-4)


@pytest.mark.parametrize(("fft_samples", "hop"), [(640, 170), (160, 160), (10, 5)])
def test_windows_that_do_not_fit_their_hop_are_refused(fft_samples, hop):
    with pytest.raises(ValueError, match=f"fft_samples is {fft_samples} and hop_samples {hop}"):
        InverseStft(fft_samples, hop)


def test_a_block_is_the_sum_that_its_paper_says():
    block = ConvNeXtBlock(4, 8, 3, scale=0.5)
    x = torch.randn(1, 6, 4)
    weight, bias = block.depthwise.weight[:, 0], block.depthwise.bias
    padded = torch.nn.functional.pad(x, (0, 0, 1, 1))
    rows = torch.stack([(padded[0, t : t + 3] * weight.T).sum(0) + bias for t in range(6)])
    hidden = block.reduce(torch.nn.functional.gelu(block.expand(block.norm(rows))))
    assert torch.allclose(block(x)[0], x[0] + 0.5 * hidden, atol=1e-6)
    with pytest.raises(ValueError, match="give an odd number"):
        ConvNeXtBlock(4, 8, 4)
    with pytest.raises(ValueError, match="is conditioned"):
        ConvNeXtBlock(4, 8, condition=2)(x)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("count", [1, 2, 37])
def test_frames_give_exactly_their_samples(name, count):
    model = vocoder(name)
    waveform = model.generate(frames_of(model, count), speaker_of(model))
    assert waveform.shape == (count * model.samples_per_frame,)
    assert model.samples_per_frame == model.sample_rate // model.config.input.frame_rate
    assert np.isfinite(waveform).all()
    assert model.generate(frames_of(model, 0), speaker_of(model)).shape == (0,)


@pytest.mark.parametrize("name", CONFIGS)
def test_padded_batch_equals_single_items(name):
    model = vocoder(name)
    lengths = torch.tensor([30, 11])
    items = [torch.from_numpy(frames_of(model, int(count), seed)) for seed, count in enumerate(lengths)]
    batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    condition = None
    if model.config.condition:
        condition = torch.randn(2, model.config.condition, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model(batch, lengths, condition)
        for row, item in enumerate(items):
            alone = model(item[None], None, None if condition is None else condition[row : row + 1])[0]
            assert torch.allclose(together[row, : len(alone)], alone, atol=1e-5)
            assert not together[row, len(alone) :].any()


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8, deadline=None)
@given(
    count=st.integers(1, 150),
    block=st.integers(1, 60),
    chunk=st.integers(1, 40),
    first=st.integers(1, 20),
)
def test_a_stream_equals_the_whole(name, count, block, chunk, first):
    model = vocoder(name)
    frames, speaker = frames_of(model, count), speaker_of(model)
    whole = model.generate(frames, speaker, seed=3)
    blocks = [frames[begin : begin + block] for begin in range(0, count, block)]
    parts = list(model.stream(iter(blocks), speaker, 3, chunk_frames=chunk, first_frames=first))
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_long_frames_are_synthesised_in_pieces_with_the_same_samples(name, monkeypatch):
    model = vocoder(name)
    frames, speaker = frames_of(model, 120), speaker_of(model)
    whole = model.generate(frames, speaker, seed=3)
    longest, forward = [], model.forward

    def recorded(rows, *rest):
        longest.append(rows.shape[1])
        return forward(rows, *rest)

    monkeypatch.setattr(model, "forward", recorded)
    monkeypatch.setattr("speechkit.tts.vocoder.vocoder.WHOLE_SECONDS", 100 / model.config.input.frame_rate)
    monkeypatch.setattr("speechkit.tts.vocoder.vocoder.CHUNK_SECONDS", 20 / model.config.input.frame_rate)
    np.testing.assert_allclose(model.generate(frames, speaker, seed=3), whole, atol=1e-5)
    assert max(longest) <= min(120, 20 + 2 * model.config.context_frames)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stream_is_behind_by_its_context_and_no_more(name):
    model = vocoder(name)
    context, given = model.config.context_frames, []

    def frames():
        for row in frames_of(model, 3 * context + 30):
            given.append(row)
            yield np.asarray([row])

    parts = model.stream(frames(), speaker_of(model), chunk_frames=5, first_frames=3)
    next(parts)
    assert len(given) == 3 + context
    next(parts)
    assert len(given) == 8 + context


@pytest.mark.parametrize("name", CONFIGS)
def test_samples_depend_on_no_frame_beyond_the_context(name):
    model = vocoder(name)
    context, hop = model.config.context_frames, model.samples_per_frame
    middle = context + 5
    frames, speaker = frames_of(model, 2 * middle + 1), speaker_of(model)
    changed = frames.copy()
    changed[middle] = changed[middle] + 1 if changed.ndim == 2 else (changed[middle] + 1) % 10
    moved = np.flatnonzero(np.abs(model.generate(frames, speaker) - model.generate(changed, speaker)) > 1e-7)
    assert moved.min() >= (middle - context) * hop
    assert moved.max() < (middle + context + 1) * hop
    assert moved.max() - moved.min() > context * hop // 2  # a bound that is not far too wide


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_vocoder_says_the_same(name, tmp_path):
    model = vocoder(name)
    model.save_pretrained(tmp_path / "whole", half=False)
    model.save_pretrained(tmp_path / "half")
    frames, speaker = frames_of(model, 20), speaker_of(model)
    whole = model.generate(frames, speaker)
    for trainable in (False, True):
        loaded = Vocoder.from_pretrained(tmp_path / "whole", trainable=trainable).eval()
        assert loaded.config == model.config
        np.testing.assert_allclose(loaded.generate(frames, speaker), whole, atol=1e-5)
    assert np.abs(load_vocoder(tmp_path / "half").generate(frames, speaker) - whole).max() < 0.02
    size = (tmp_path / "half" / "model.safetensors").stat().st_size
    assert size < 2.3 * sum(value.numel() for value in folded_weights(model).values()) + 10_000


def test_the_embedded_vocoder_is_asked_for_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("speechkit.tts.vocoder.load.MODELS", tmp_path)
    with pytest.raises(UserError, match="the weights of the embedded vocoder are not there; install the package again"):
        load_vocoder()
    with pytest.raises(UserError, match=r"config.json: no such file; give the folder of a vocoder"):
        vocoder_digest(str(tmp_path))
    vocoder("mel").save_pretrained(tmp_path / "vocoder")
    assert load_vocoder().name == "the vocoder embedded"
    digest = vocoder_digest("embedded")
    assert digest == vocoder_digest(str(tmp_path / "vocoder"))
    (tmp_path / "vocoder" / "README.md").write_text("a card")
    assert digest == vocoder_digest("embedded")


def test_damaged_files_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"has no config.json; give the folder of a vocoder"):
        load_vocoder(tmp_path)
    model = vocoder("mel")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    with pytest.raises(UserError, match=r"model.safetensors is missing or damaged"):
        load_vocoder(tmp_path)
    model.save_pretrained(tmp_path)
    config = msgspec.json.decode((tmp_path / "config.json").read_bytes())
    config["generator"]["layers"] = 3
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(config))
    with pytest.raises(UserError, match=r"generator.blocks.2.* is missing in model.safetensors"):
        load_vocoder(tmp_path)


def test_a_vocoder_of_other_input_begins_with_the_weights_that_fit():
    one, other = vocoder("mel"), vocoder("encoder")
    copied, total = take_over(other, one)
    assert 0 < copied < total
    assert torch.equal(other.generator.blocks[1].expand.weight, one.generator.blocks[1].expand.weight)
    assert other.input.weight.shape != one.input.weight.shape


def test_mel_frames_say_the_magnitudes_of_their_waveform():
    """Of white noise, whose spectrum has no structure between the filters."""
    spec = MelSpec()
    waveform = 0.1 * torch.randn(160_000, generator=torch.Generator().manual_seed(0))
    inverse = InverseStft(640, 160)
    pieces = torch.nn.functional.pad(waveform, (240, 240)).unfold(0, 640, 160)
    spectrum = torch.fft.rfft(pieces * inverse.window).abs()
    guessed = MelMagnitudes(spec, 640)(MelSpectrogram(spec)(waveform)).exp()
    # Below 100 Hz a filter has less than a frequency of the smaller spectrum.
    ratio = guessed.mean(0)[10:300] / spectrum.mean(0)[10:300]
    assert 0.9 < ratio.mean() < 1.1
    assert (ratio - 1).abs().max() < 0.3


def test_a_speaker_is_heard_and_one_that_is_missing_is_asked_for():
    model = vocoder("encoder")
    frames = frames_of(model, 20)
    with pytest.raises(UserError, match="needs a speaker"):
        model.generate(frames)
    with pytest.raises(UserError, match="a speaker's vector of 4, and was given"):
        model.generate(frames, np.zeros(5, np.float32))
    waveform = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    one = model.reference(waveform)
    assert one.shape == (4,)
    waveforms = [model.generate(frames, vector, seed) for vector, seed in ((one, 1), (-one, 1), (one, 2))]
    for other in waveforms[1:]:
        assert np.abs(waveforms[0] - other).max() > 1e-4 * np.abs(waveforms[0]).max()
    np.testing.assert_array_equal(model.generate(frames, one, seed=1), model.generate(frames, one, seed=1))
    without = vocoder("mel")
    with pytest.raises(UserError, match="takes no speaker"):
        without.generate(frames_of(without, 3), one)
    with pytest.raises(UserError, match="takes no speaker"):
        without.reference(waveform)


def test_a_reference_without_a_voice_is_refused():
    model = vocoder("encoder")
    with pytest.raises(AudioError, match=r"has 0.10 s; give at least 0.5 s"):
        model.reference(np.ones(1600, np.float32))
    with pytest.raises(AudioError, match="is silent"):
        model.reference(np.zeros(16_000, np.float32))


def test_a_speakers_vector_is_the_same_alone_and_padded_and_at_any_level():
    speaker = vocoder("encoder").speaker
    waveform = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    padded = torch.cat([torch.nn.functional.pad(waveform, (0, 4000)), torch.randn(1, 20_000)])
    with torch.no_grad():
        alone = speaker(waveform)
        assert torch.allclose(speaker(padded, torch.tensor([16_000, 20_000]))[:1], alone, atol=1e-4)
        assert torch.allclose(speaker(0.25 * waveform), alone, atol=1e-3)


def test_frames_that_cannot_be_are_refused():
    model = vocoder("mel")
    with pytest.raises(UserError, match=r"takes frames \(frames, 80\), and was given \(3, 24\)"):
        model.generate(np.zeros((3, 24), np.float32))
    broken = np.zeros((3, 80), np.float32)
    broken[1, 5] = np.nan
    with pytest.raises(UserError, match="frame 1 holds NaN"):
        model.generate(broken)
    units = vocoder("units")
    with pytest.raises(UserError, match="knows units 0 to 9, and was given 3 to 10"):
        units.generate(np.array([3, 10]), speaker_of(units))
    with pytest.raises(UserError, match=r"takes units \(frames,\)"):
        units.generate(np.zeros((3, 24), np.float32), speaker_of(units))


def test_inputs_refuse_one_another_in_a_sentence():
    mel, encoder, units = MelInput(), EncoderInput(ENCODER), UnitInput(UNITS)
    mel.require(MelSpec(), "the vocoder")
    encoder.require(ENCODER, "the vocoder")
    units.require(UNITS, "the vocoder")
    with pytest.raises(UserError, match="the vocoder takes log-mel frames, and was given frames of small layer 3"):
        mel.require(ENCODER, "the vocoder")
    with pytest.raises(UserError, match="takes frames of small layer 3, and was given units of a codebook of 10"):
        encoder.require(UNITS, "the vocoder")
    with pytest.raises(UserError, match="takes units of a codebook of 10, and was given log-mel frames"):
        units.require(MelSpec(), "the vocoder")
    with pytest.raises(UserError, match="layer is '3' there and '4' here"):
        encoder.require(msgspec.structs.replace(ENCODER, layer="4"), "the vocoder")
    with pytest.raises(UserError, match=r"a codebook of 10 \(0123456789ab\), these come from one of 20 \(other\)"):
        units.require(UnitSet("other", 20, 50.0), "the vocoder")


def test_rates_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"takes 62.5 frames a second .* and the input has 100"):
        VocoderConfig(generator=VocosConfig(hop_samples=256, fft_samples=1024))
    with pytest.raises(ConfigError, match="waveform has 32000 Hz and the log-mel frames are of 16000 Hz"):
        VocoderConfig(sample_rate=32_000)
    with pytest.raises(ConfigError, match="an FFT of 1000, a hop of 160 samples and a kernel of 7"):
        VocosConfig(fft_samples=1000)
    with pytest.raises(ConfigError, match="cannot be halved 4 times"):
        HifiGanConfig(channels=24)
    with pytest.raises(ConfigError, match="must be as many"):
        HifiGanConfig(rates=(5, 4))
    with pytest.raises(ConfigError, match="must be at least the rates"):
        HifiGanConfig(kernels=(4, 8, 8, 4))
    with pytest.raises(ConfigError, match="must be odd"):
        HifiGanConfig(block_kernels=(3, 4))


@pytest.mark.parametrize(
    "config",
    [
        '{"input": {"kind": "mel", "mel": {"channels": 20000}}}',
        '{"input": {"kind": "mel", "mel": {"fft_samples": 1048576}}}',
        '{"speaker": {"mel": {"fft_samples": 1048576, "window_samples": 1048576}}}',
        '{"generator": {"kind": "hifigan", "block_kernels": [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]}}',
        '{"generator": {"kind": "hifigan", "block_dilations": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}}',
        '{"generator": {"kind": "hifigan", "block_kernels": [-3]}}',
    ],
)
def test_sizes_that_take_memory_before_weights_are_compared_are_refused(tmp_path, config):
    Vocoder(VocoderConfig(generator=VocosConfig(width=8, inner=8, layers=1))).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=r"cannot be loaded as a vocoder \(Expected"):
        Vocoder.from_pretrained(tmp_path)
