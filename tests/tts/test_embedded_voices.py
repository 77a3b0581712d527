"""The voices in the package: English is understood by the recogniser there, German has the right pace and pitch."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.asr import load_recognizer
from speechkit.io.audio import write_audio
from speechkit.metrics import character_errors
from speechkit.tts.pitch import pitch
from speechkit.tts.voice import EMBEDDED, MODELS, load_voice, say_text

SENTENCES = (
    "The train to the city leaves at seven in the evening.",
    "A keeper of bees begins the year by listening.",
    "She paid $3.50 for two apples and a loaf of bread.",
)
SPOKEN = (
    "the train to the city leaves at seven in the evening",
    "a keeper of bees begins the year by listening",
    "she paid three dollars and fifty cents for two apples and a loaf of bread",
)


@pytest.fixture(scope="module")
def voice():
    return load_voice("english")


def test_sentences_are_understood_by_the_recogniser_of_the_package(voice, tmp_path):
    recognizer = load_recognizer("embedded")
    heard = []
    for number, sentence in enumerate(SENTENCES):
        speech = say_text(voice, sentence)
        assert speech.waveform.size == sum(speech.durations)
        path = tmp_path / f"{number}.wav"
        write_audio(path, speech.waveform, speech.rate)
        heard.append(recognizer.recognize(str(path)).text)
    assert character_errors(SPOKEN, heard).rate < 0.1, heard


def test_lengths_that_are_asked_for_are_kept(voice):
    usual = say_text(voice, SENTENCES[0]).seconds
    assert say_text(voice, SENTENCES[0], speed=1.25).seconds == pytest.approx(usual / 1.25, abs=0.05)
    assert say_text(voice, SENTENCES[0], seconds=4.0).seconds == pytest.approx(4.0, abs=0.02)


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_voice_is_small(name):
    assert sum(path.stat().st_size for path in (MODELS / name).iterdir()) <= 8_100_000


def test_the_german_voice_reads_numbers_at_the_pace_and_pitch_of_its_speaker():
    german = load_voice("german")
    figures = say_text(german, "Am 3. Mai kostete es 3,50 €, und alle waren zufrieden.")
    words = say_text(german, "Am dritten Mai kostete es drei Euro fünfzig, und alle waren zufrieden.")
    assert figures.seconds == pytest.approx(words.seconds, rel=0.15)
    assert 3.0 < words.seconds < 6.5  # 70 characters at 11 to 23 a second
    contour = pitch(words.waveform)
    assert 0.3 < (contour > 0).mean() < 0.8
    assert 140 < np.median(contour[contour > 0]) < 260
