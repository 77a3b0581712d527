"""Syllable tokens come through the tokenizer that all other units come through."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.cli.main import call
from speechkit.encoders import load_encoder
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import read_audio, write_audio
from speechkit.syllables import make_segmenter, segment_means
from speechkit.syllables.envelope import EnvelopeSegmenter
from speechkit.syllables.tokens import add_silence_tokens
from speechkit.units import SpeechTokenizer, load_tokenizer
from speechkit.units.acoustic_bpe import learn_bpe
from speechkit.units.codebook import Codebook
from speechkit.units.kmeans import KMeansConfig, train_kmeans
from speechkit.units.quantizers import load_quantizer
from speechkit.units.sequences import quantize_recording
from speechkit.units.syllable_quantizer import SyllableQuantizer
from speechkit.units.unit_manifest import joined, read_tokenizer_spec, read_unit_manifest

from .test_tokenizer import same

SETTINGS = {"envelope": {}, "greedy": {"norm": 40.0, "merge": 0.9}}


def bursts(seconds, seed=0):
    """Tones of a quarter of a second, every fourth one left out."""
    random = np.random.default_rng(seed)
    waveform = 1e-4 * random.standard_normal(round(seconds * 16_000))
    for number, begin in enumerate(range(1600, len(waveform) - 3200, 4000)):
        if number % 4 < 3:
            tone = np.sin(2 * np.pi * random.choice([300, 900, 2500]) * np.arange(2880) / 16_000)
            waveform[begin : begin + 2880] += 0.3 * np.hanning(2880) * tone
    return waveform.astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("mfcc", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def codebook(encoder):
    waveform = bursts(60, 1)
    frames = encoder.encode(waveform)
    means = segment_means(frames, EnvelopeSegmenter().segment(waveform))
    return train_kmeans(lambda: iter([means]), KMeansConfig(clusters=6), encoder.spec).codebook


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_are_segments_named_by_their_means_and_silence_fills_long_gaps(encoder, codebook, name):
    tokenizer = SpeechTokenizer(encoder, SyllableQuantizer(codebook, name, SETTINGS[name]), name)
    waveform = bursts(20, 2)
    frames = encoder.encode(waveform)
    cut = EnvelopeSegmenter().segment(waveform)
    if name != "envelope":
        cut = make_segmenter(name, **SETTINGS[name]).segment(frames)
    wanted = add_silence_tokens(codebook.assign(segment_means(frames, cut)), cut, len(frames), 6)
    units = tokenizer(waveform)
    assert units.units.tolist() == [token.token for token in wanted]
    begins = [0, *(token.start for token in wanted[1:]), len(frames)]
    assert units.durations.tolist() == np.diff(begins).tolist()
    assert tokenizer.num_units == 7
    assert tokenizer.spec.quantizer == "syllables"
    frame_units = SpeechTokenizer(encoder, tokenizer.quantizer, deduplicate=False)(waveform)
    np.testing.assert_array_equal(frame_units.units, tokenizer.decode(units))


@pytest.mark.parametrize("name", SETTINGS)
def test_files_waveforms_batches_and_streams_give_the_same_syllables(encoder, codebook, name, tmp_path):
    tokenizer = SpeechTokenizer(encoder, SyllableQuantizer(codebook, name, SETTINGS[name]), name)
    write_audio(tmp_path / "long.flac", bursts(38), 16_000)
    waveform = read_audio(tmp_path / "long.flac")
    units = tokenizer(waveform)
    assert len(units) > 50
    same(tokenizer.encode(tmp_path / "long.flac"), units)
    same(tokenizer.encode_batch([waveform[:80_000], waveform])[1], units)
    same(tokenizer.encode_batch([waveform[:80_000], waveform])[0], tokenizer.encode(waveform[:80_000]))
    same(joined(list(tokenizer.stream(np.array_split(waveform, [1, 7_000, 400_000]))), tokenizer.spec), units)
    tokenizer.save(tmp_path / "t", "mfcc")
    loaded = load_tokenizer(tmp_path / "t", device="cpu", dtype="float32")
    assert loaded.spec == tokenizer.spec
    same(loaded(waveform), units)
    bpe = learn_bpe([units.units], 7, 10, tokenizer.spec.digest)
    merged = SpeechTokenizer(encoder, tokenizer.quantizer, bpe=bpe)
    np.testing.assert_array_equal(merged.decode(merged(waveform)), tokenizer.decode(units))


def test_silence_and_what_lasts_less_than_a_frame(encoder, codebook):
    tokenizer = SpeechTokenizer(encoder, SyllableQuantizer(codebook, "envelope"), "mine")
    for frames in (1, 5, 50):
        units = tokenizer(np.zeros(frames * 320, np.float32))
        assert (units.units.tolist(), units.durations.tolist()) == ([6], [frames])
    assert len(tokenizer(np.zeros(319, np.float32))) == 0


def test_a_manifest_of_syllable_tokens_is_written_by_the_command(encoder, codebook, tmp_path):
    write_audio(tmp_path / "talk.wav", bursts(9), 16_000)
    tokenizer = SpeechTokenizer(encoder, SyllableQuantizer(codebook, "envelope"), "mine")
    tokenizer.save(tmp_path / "t", "mfcc")
    out = tmp_path / "u.jsonl"
    command = ["units", "encode", str(tmp_path / "talk.wav"), "--codebook", str(tmp_path / "t"), "--out", str(out)]
    assert call([*command, "--device", "cpu"]) == 0
    assert read_tokenizer_spec(out).digest == tokenizer.spec.digest
    ((_, units),) = read_unit_manifest(out)
    same(units, load_tokenizer(tmp_path / "t", device="cpu")(tmp_path / "talk.wav"))


def test_stored_frames_are_cut_where_the_segmenter_takes_frames(encoder, codebook, tmp_path):
    waveform = bursts(9)
    greedy = SyllableQuantizer(codebook, "greedy", SETTINGS["greedy"])
    frames = encoder.encode(waveform)
    (sequence,) = quantize_recording("talk", frames, greedy)
    units = SpeechTokenizer(encoder, greedy)(waveform)
    assert (sequence.units, sequence.durations) == (units.units.tolist(), units.durations.tolist())
    with pytest.raises(UserError, match=r"talk: .*from the amplitude envelope, which stored features lack"):
        quantize_recording("talk", frames, SyllableQuantizer(codebook, "envelope"))
    greedy.save(tmp_path / "q")
    with pytest.raises(UserError, match="quantizes syllables, not frames"):
        load_quantizer(tmp_path / "q")


def test_parts_that_do_not_belong_together_are_refused(encoder, codebook, tmp_path):
    nameless = Codebook(codebook.centroids, None)
    with pytest.raises(UserError, match="does not record its encoder"):
        SyllableQuantizer(nameless, "envelope")
    with pytest.raises(ConfigError, match="no setting penalty"):
        SyllableQuantizer(codebook, "greedy", {"penalty": 1.0})
    with pytest.raises(UserError, match="the origin has 2 values"):
        SyllableQuantizer(codebook, "greedy", origin=[0.0, 1.0])
    SyllableQuantizer(codebook, "greedy").save(tmp_path / "q")
    Codebook(codebook.centroids + 1, encoder.spec).save(tmp_path / "q" / "codebook")
    with pytest.raises(UserError, match="does not match"):
        SyllableQuantizer.load(tmp_path / "q")
