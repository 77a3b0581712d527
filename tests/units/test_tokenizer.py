"""One tokenizer: files, waveforms, batches and streams give the same units, and units give the frames back."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import speechkit
from speechkit.encoders import load_encoder
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.io.audio import read_audio, write_audio
from speechkit.units import SpeechTokenizer, load_tokenizer
from speechkit.units.acoustic_bpe import learn_bpe
from speechkit.units.codebook import Codebook
from speechkit.units.kmeans import KMeansConfig, train_kmeans
from speechkit.units.smoothed import Smoothing, train_smoothed
from speechkit.units.stacked import train_stacked
from speechkit.units.tokenizer import Units
from speechkit.units.unit_manifest import joined

KINDS = ("codebook", "smoothed", "residual", "product")


def speech(seconds, seed=0, rate=16_000):
    """Noise whose colour and loudness change a few times a second, so that units differ."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(round(seconds * 5)):
        tone = np.sin(np.arange(rate // 5) * random.uniform(0.05, 1.5))
        parts.append(random.uniform(0.02, 0.4) * (tone + 0.3 * random.standard_normal(rate // 5)))
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("mfcc", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def quantizers(encoder):
    frames = [encoder.encode(speech(20, seed)) for seed in (1, 2)]
    config = KMeansConfig(clusters=12)
    return {
        "codebook": train_kmeans(lambda: iter(frames), config, encoder.spec).codebook,
        "smoothed": train_smoothed(lambda: frames, Smoothing(3, 0.5), config, encoder.spec),
        "residual": train_stacked(lambda: iter(frames), "residual", 3, config, encoder.spec),
        "product": train_stacked(lambda: iter(frames), "product", 3, config, encoder.spec),
    }


def same(one: Units, other: Units):
    np.testing.assert_array_equal(one.units, other.units)
    np.testing.assert_array_equal(one.durations, other.durations)
    assert (one.unit_durations is None) == (other.unit_durations is None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deduplicate", [True, False])
def test_files_waveforms_batches_and_streams_give_the_same_units(encoder, quantizers, kind, deduplicate, tmp_path):
    tokenizer = SpeechTokenizer(encoder, quantizers[kind], kind, deduplicate=deduplicate)
    write_audio(tmp_path / "long.flac", speech(38), 16_000)
    waveform = read_audio(tmp_path / "long.flac")
    units = tokenizer(waveform)
    same(tokenizer.encode(tmp_path / "long.flac"), units)
    same(tokenizer.encode_batch([waveform[:5_000], waveform])[1], units)
    same(tokenizer.encode_batch([waveform[:5_000], waveform])[0], tokenizer.encode(waveform[:5_000]))
    parts = list(tokenizer.stream(np.array_split(waveform, [1, 7_000, 400_000])))
    same(joined(parts, tokenizer.spec), units)
    assert (len(parts) > 1) == (kind != "smoothed")
    frames = tokenizer.decode(units)
    expected = quantizers[kind].assign(np.concatenate(list(encoder.stream([waveform]))))
    np.testing.assert_array_equal(frames, expected)
    assert int(units.durations.sum()) == len(expected)
    assert tokenizer.num_units == (12 if expected.ndim == 1 else 36)
    assert (units.durations == 1).all() != deduplicate


def test_tokens_of_acoustic_bpe_give_the_frames_back_with_all_durations(encoder, quantizers):
    plain = SpeechTokenizer(encoder, quantizers["codebook"])
    waveform = speech(12, 3)
    units = plain(waveform)
    bpe = learn_bpe([units.units], 12, 30, plain.spec.digest)
    tokenizer = SpeechTokenizer(encoder, quantizers["codebook"], bpe=bpe)
    tokens = tokenizer(waveform)
    assert len(tokens) < len(units)
    assert tokenizer.num_units == bpe.num_tokens
    assert tokenizer.spec.digest == bpe.digest != plain.spec.digest
    np.testing.assert_array_equal(tokenizer.decode(tokens), plain.decode(units))
    assert int(tokens.durations.sum()) == int(units.durations.sum())
    same(joined(list(tokenizer.stream([waveform[:50], waveform[50:]])), tokenizer.spec), tokens)
    with pytest.raises(UserError, match="no durations of their units"):
        tokenizer.decode(Units(tokens.units, tokens.durations))
    with pytest.raises(UserError, match="merges are of another codebook"):
        SpeechTokenizer(encoder, quantizers["residual"], bpe=bpe)
    with pytest.raises(ConfigError, match="leave deduplicate on"):
        SpeechTokenizer(encoder, quantizers["codebook"], bpe=bpe, deduplicate=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_loaded_from_its_folder(encoder, quantizers, kind, tmp_path):
    tokenizer = SpeechTokenizer(encoder, quantizers[kind], "mine", deduplicate=kind != "product")
    tokenizer.save(tmp_path / "t", "mfcc")
    loaded = load_tokenizer(tmp_path / "t", device="cpu", dtype="float32")
    assert loaded.spec == tokenizer.spec
    waveform = speech(3)
    same(loaded(waveform), tokenizer(waveform))
    quantizers[kind].save(tmp_path / "q")  # a quantizer's folder is enough where its encoder needs none
    same(load_tokenizer(tmp_path / "q", device="cpu", deduplicate=kind != "product")(waveform), tokenizer(waveform))


def test_the_first_line_of_the_readme_works_and_waveforms_of_any_rate_enter():
    tokenizer = speechkit.load_tokenizer("embedded-100", device="cpu", dtype="float32")
    waveform = speech(2)
    units = tokenizer(waveform)
    assert tokenizer.spec.quantizer == "invariant"
    assert int(units.durations.sum()) == len(waveform) // 320 == len(tokenizer.decode(units))
    assert set(units.units.tolist()) <= set(range(100))
    at_8k = tokenizer.encode(speech(2, rate=8_000), sample_rate=8_000)
    assert int(at_8k.durations.sum()) == 100


def test_what_is_no_speech_and_no_units_is_one_sentence(encoder, quantizers, tmp_path):
    tokenizer = SpeechTokenizer(encoder, quantizers["codebook"], "mine")
    for silent in (np.zeros(0, np.float32), np.zeros(319, np.float32)):
        assert len(tokenizer(silent)) == 0
        assert tokenizer.decode(tokenizer(silent)).shape == (0,)
        assert list(tokenizer.stream([silent])) == []
    assert tokenizer(np.zeros(16_000, np.float32)).durations.sum() == 50
    with pytest.raises(AudioError, match="NaN or infinity"):
        tokenizer(np.full(400, np.nan, np.float32))
    with pytest.raises(AudioError, match="one channel"):
        tokenizer.encode_batch([np.zeros((2, 400), np.float32)])
    with pytest.raises(AudioError, match=r"nothing\.wav"):
        tokenizer(tmp_path / "nothing.wav")
    one = np.ones(1, np.int32)
    for units, sentence in (
        (Units(one, 0 * one), "durations; give each unit one of at least 1 frame"),
        (Units(one, np.ones(2, np.int32)), "1 units but 2 durations"),
        (Units(12 * one, one), "out of range"),
        (Units(np.ones((1, 2), np.int32), one), "units have 2 codebooks"),
    ):
        with pytest.raises(UserError, match=sentence):
            tokenizer.decode(units)
    with pytest.raises(UserError, match=r"made with log-mel layer 0, the features come from mfcc|weights is"):
        SpeechTokenizer(load_encoder("log-mel", device="cpu"), quantizers["codebook"], "mine")
    theirs = msgspec.structs.replace(encoder.spec, model="hubert", layer="9", normalization="standardised")
    Codebook(quantizers["codebook"].centroids, theirs).save(tmp_path / "theirs")
    with pytest.raises(UserError, match="made with hubert layer 9, the features come from mfcc"):
        load_tokenizer(tmp_path / "theirs", encoder="mfcc", device="cpu")
    Codebook(quantizers["codebook"].centroids, None).save(tmp_path / "nameless")
    with pytest.raises(UserError, match="does not record its encoder"):
        load_tokenizer(tmp_path / "nameless")
    with pytest.raises(UserError, match=r"gone: no such folder or name; .*embedded-500, or one of hubert"):
        load_tokenizer(tmp_path / "gone")
