"""The unit decoder in the package: its speech has the units and the length that it was given, and it is small."""

from __future__ import annotations

from pathlib import Path

import pytest
from rapidfuzz.distance import Levenshtein

from speechkit import load_tokenizer
from speechkit.io.audio import read_audio
from speechkit.tts.unit_decoder import MODELS, load_unit_decoder, say_units
from speechkit.tts.vocoder import load_vocoder

SAMPLE = Path(__file__).parents[2] / "recipes/mining/sample/audio/bees.ogg"


def test_resynthesised_speech_has_its_units_again():
    tokenizer = load_tokenizer("embedded-100")
    waveform = read_audio(SAMPLE, sample_rate=16_000)[: 8 * 16_000]
    given = tokenizer(waveform)
    decoder = load_unit_decoder("embedded-100")
    speech = say_units(decoder, load_vocoder(), decoder.frame_units(list(given.units), list(given.durations)))
    assert speech.seconds == pytest.approx(len(waveform) / 16_000, abs=0.05)
    units, again = list(given.units), list(tokenizer(speech.waveform).units)
    difference = Levenshtein.normalized_distance(units, again)
    assert difference < 0.5 * Levenshtein.normalized_distance(units, again[::-1])


def test_the_decoder_is_small_and_has_a_card():
    folder = MODELS / "units-embedded-100"
    assert (folder / "model.safetensors").stat().st_size <= 4_000_000
    assert "word error rate" in (folder / "README.md").read_text()
