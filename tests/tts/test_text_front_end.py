from __future__ import annotations

import shutil
import warnings
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.tts.speech import UnspeakableError
from speechkit.tts.text import PAUSES, TextConfig, TextFrontEnd, read_dictionary, sentences, spell_out

ENGLISH, GERMAN = TextFrontEnd(TextConfig("en")), TextFrontEnd(TextConfig("de"))
DICTIONARY = {"the": ("DH", "AH"), "cat": ("K", "AE", "T"), "don't": ("D", "OW", "N", "T")}


def read(front_end: TextFrontEnd, text: str) -> str:
    return "".join(front_end.read(text)[0])


@pytest.mark.parametrize(
    ("front_end", "text", "expected"),
    [
        (ENGLISH, "Hello, world!", " hello,world!"),
        (ENGLISH, "no mark", " no mark."),
        (ENGLISH, "Really?! “Yes” – (he said)…", " really!yes,he said."),
        (ENGLISH, "mother-in-law's", " mother in law's."),
        (ENGLISH, "'tis the dogs' café", " tis the dogs cafe."),
        (ENGLISH, "№ five ™", " no five tm."),
        (ENGLISH, "It cost $3.50 in 1984.", " it cost three dollars and fifty cents in nineteen eighty four."),
        (ENGLISH, "a\n\nb", " a b."),
        (ENGLISH, "…, a", " a."),
        (GERMAN, "Am 3. Mai kostete es 2,50 €.", " am dritten mai kostete es zwei euro fünfzig."),
        (GERMAN, "Größe, Übermut; café", " größe,übermut,cafe."),
        (GERMAN, "a", " a."),
    ],
)
def test_between_two_words_stands_one_pause(front_end, text, expected):
    assert read(front_end, text) == expected


@given(st.text(max_size=60), st.sampled_from([ENGLISH, GERMAN]))
@settings(max_examples=300, deadline=None)
def test_any_text_becomes_known_symbols_or_an_error(text, front_end):
    try:
        symbols, _ = front_end.read(text)
    except UnspeakableError:
        return
    numbers = front_end.numbers(symbols)
    assert min(numbers) >= 1
    assert symbols[0] == " "
    assert symbols[-1] in PAUSES
    assert not any(first in PAUSES and second in PAUSES for first, second in pairwise(symbols))


def test_what_has_no_sound_is_left_out_with_a_warning_that_names_it():
    with pytest.warns(UserWarning, match=r"lang 'en' has no sound for: 😀 \(GRINNING FACE\), 日 \(CJK .*\)"):
        symbols = ENGLISH("Hi 😀 日 there")
    assert "".join(symbols) == " hi there."


@pytest.mark.parametrize("text", ["", "  ", "😀", "日本語", "...", "—"])
def test_a_text_without_anything_to_speak_is_an_error(text):
    with pytest.raises(UnspeakableError, match="holds nothing that can be spoken in lang 'en'"):
        ENGLISH(text)


def test_ordinary_text_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ENGLISH("“It's 5 o'clock,” she said—well… almost (not quite) [sic]; 50% done!")
        GERMAN("„Es ist 5 Uhr“, sagte sie – na ja… fast (nicht ganz); 50 % fertig!")


def test_words_of_the_dictionary_are_phones_and_others_letters():
    front_end = TextFrontEnd(TextConfig("en"), DICTIONARY)
    phones = [" ", "DH", "AH", " ", "K", "AE", "T", " "]
    assert front_end.read("The cat don't blorp")[0] == [*phones, "D", "OW", "N", "T", " ", *"blorp", "."]
    assert front_end.read("The cat.", lambda word: word == "cat")[0] == [*phones[:4], *"cat", "."]
    assert {"DH", "AH", "a", "z"} < set(front_end.symbols)
    rebuilt = TextFrontEnd(TextConfig("en", symbols=front_end.symbols), DICTIONARY)
    assert rebuilt.numbers(["DH", " "]) == front_end.numbers(["DH", " "])


def test_sentences_end_where_people_end_them_and_not_at_ordinals_or_abbreviations():
    assert sentences("Am 3. Mai kam er. Er blieb bis 5. Juni, d. h. lange. Dr. Mai ging.", "de") == [
        "Am dritten Mai kam er.",
        "Er blieb bis fünften Juni, das heißt lange.",
        "Doktor Mai ging.",
    ]


def test_five_thousand_characters_become_sentences_of_bounded_length():
    text = "The quick brown fox, who was tired, jumped over the lazy dog and ran " * 72
    parts = sentences(text, "en")
    assert len(text) > 4900
    assert max(map(len, parts)) <= 240
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_spelling_out_keeps_marks_and_needs_no_known_language():
    assert spell_out("½ Liter?", "de").strip() == "einhalb  Liter?"
    assert spell_out("½ litre?", "fr") == "½ litre?"


def test_a_dictionary_is_read_from_a_file_and_its_bad_lines_are_named(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("cat K AE T\ncat(2) K AA T\nCAT X\nmr. M\n\n", encoding="utf-8")
    assert read_dictionary(str(path)) == {"cat": ("K", "AE", "T")}
    path.write_text("cat K\ndog\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"words.txt:2: 'dog' has no phones"):
        read_dictionary(str(path))
    with pytest.raises(UserError, match="cannot be read as a dictionary"):
        read_dictionary(str(tmp_path / "absent.txt"))


def test_the_dictionary_of_pocketsphinx_knows_english():
    pytest.importorskip("pocketsphinx")
    words = read_dictionary("pocketsphinx")
    assert len(words) > 100_000
    assert words["speech"] == ("S", "P", "IY", "CH")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_phonemes_come_from_espeak_with_pauses_between_words():
    front_end = TextFrontEnd(TextConfig("de", "phonemes"))
    symbols, unknown = front_end.read("Guten Tag, wie geht es?")
    assert not unknown
    assert symbols[0] == " "
    assert symbols[-1] == "?"
    assert symbols.count(",") == 1
    assert symbols.count(" ") == 4
    assert "ɡ" in symbols


def test_phonemes_without_espeak_say_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="espeak-ng is not installed"):
        TextFrontEnd(TextConfig("en", "phonemes")).read("Hello")


def test_languages_without_letters_here_need_their_symbols():
    with pytest.raises(ConfigError, match="no letters are known for lang 'fr'"):
        TextConfig("fr")
    assert read(TextFrontEnd(TextConfig("fr", symbols=(*PAUSES, *"abcéè"))), "Abé, cè") == " abé,cè."
    with pytest.raises(ConfigError, match="symbols must hold each of"):
        TextConfig("en", symbols=("a",))
