from __future__ import annotations

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError
from speechkit.text import CHAINS, Normalized, get_normalizer, normalizer_for
from speechkit.text.indic import BELOW_HUNDRED
from speechkit.text.normalized import map_characters, replace_spans
from speechkit.text.steps import compose

INDIC_TEXT = st.text(
    st.sampled_from(
        [chr(c) for c in range(0x0900, 0x0D80) if unicodedata.name(chr(c), "")]  # Devanagari to Malayalam
        + list(" \n.,।॥-'’\u200c\u200d\u00adaZ19")
    ),
    max_size=60,
)
FORMS = """
Mr. Dr. St. No. 5 1984 $5.50 10% 3:05 p.m. 1st 1990s 1914-18 -5 .5 3.14 ½ 5½ 20 °C 5km Chapter IV & don’t naïve e.g.
, . ; : ( ) U.S. £1m 1,234,567 007 ' \u00ad \u0301 ² ۵ ५ ﬁ İ ŉ ß ΐ
ÐR .dr -dr dr-x x.Dr 'inc dr's Ùm -um uh' uh-huh hundred and a million <inaudible> o ok per cent
"""
WRITTEN_TEXT = st.lists(st.sampled_from(FORMS.split()) | st.text(max_size=4), max_size=20).map(" ".join) | st.text(
    max_size=60
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NAMES = sorted(CHAINS)


def check_offsets(source: str, normalized: Normalized) -> None:
    offsets = normalized.offsets
    assert offsets.dtype == np.int32
    assert offsets.shape == (len(normalized.text) + 1,)
    assert (np.diff(offsets) >= 0).all()
    assert offsets[0] >= 0
    assert offsets[-1] == len(source)


@pytest.mark.parametrize("name", NAMES)
@given(text=WRITTEN_TEXT | INDIC_TEXT)
@settings(max_examples=150)
def test_offsets_never_fall_and_stay_in_the_source(name: str, text: str) -> None:
    check_offsets(text, get_normalizer(name).normalize(text))


# Whisper's are not idempotent: a number in digits is read anew.
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("whisper")])
@given(text=WRITTEN_TEXT | INDIC_TEXT)
@settings(max_examples=200)
def test_normalising_twice_changes_nothing_more(name: str, text: str) -> None:
    normalizer = get_normalizer(name)
    once = normalizer(text)
    assert normalizer(once) == once


@given(text=INDIC_TEXT)
@settings(max_examples=300)
@pytest.mark.parametrize("name", ["indic", "match-indic", "match-hi", "simple", "match-simple"])
def test_no_vowel_sign_virama_nukta_or_anusvara_is_lost(name: str, text: str) -> None:
    def marks(string: str) -> list[str]:
        return sorted(c for c in unicodedata.normalize("NFD", string) if unicodedata.category(c) in ("Mn", "Mc"))

    # Chillu letters and khanda ta take their virama with them; without joiners none is made.
    plain = text.replace("\u200d", "")
    assert marks(get_normalizer(name)(plain)) == marks(plain) or any(c.isdigit() for c in plain)
    without_digits = "".join(c for c in plain if not c.isdigit())
    assert marks(get_normalizer(name)(without_digits)) == marks(without_digits)


@given(text=st.text(st.sampled_from("abc XYZ,.!-\n\t'é"), max_size=60))
def test_each_kept_letter_points_at_itself(text: str) -> None:
    normalized = get_normalizer("simple").normalize(text)
    for index, character in enumerate(normalized.text):
        source = text[normalized.offsets[index] : normalized.offsets[index + 1]]
        assert source
        if character != " ":
            assert source[0].casefold() == character


@given(text=st.text(max_size=30), data=st.data())
def test_replacing_spans_is_slicing_and_joining(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    spans = [(b, e, data.draw(st.text(max_size=5))) for b, e in zip(cuts[::2], cuts[1::2], strict=False)]
    expected, cursor = "", 0
    for begin, end, new in spans:
        expected += text[cursor:begin] + new
        cursor = end
    expected += text[cursor:]
    result = replace_spans(text, spans)
    assert result.text == expected
    check_offsets(text, result)


@given(text=st.text(max_size=40))
def test_composition_equals_unicode_nfc(text: str) -> None:
    result = compose(text)
    check_offsets(text, result)
    assert result.text == unicodedata.normalize("NFC", text)


@given(text=st.text(st.characters(categories=("Lo", "Mn", "Mc")), max_size=40))
@settings(max_examples=300)
def test_composition_of_marks_equals_unicode_nfc(text: str) -> None:
    assert compose(text).text == unicodedata.normalize("NFC", text)


def test_composition_knows_every_pair_that_unicode_composes() -> None:
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000:
            continue
        apart = unicodedata.normalize("NFD", chr(code))
        if len(apart) > 1:
            assert compose("x" + apart + "x").text == unicodedata.normalize("NFC", "x" + apart + "x")


def test_a_character_that_becomes_several_points_back_once() -> None:
    result = map_characters("aßb", str.casefold)
    assert result.text == "assb"
    assert result.offsets.tolist() == [0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Mr. Smith paid $5.50", "mister smith paid five dollars and fifty cents"),
        ("in 1984, 1905, 1900, 2005 and 2010", "in nineteen eighty four nineteen oh five nineteen hundred two thousand "
         "five and twenty ten"),
        ("1,234,567 people", "one million two hundred thirty four thousand five hundred sixty seven people"),
        ("at 3:05 p.m. or 12:00", "at three oh five p m or twelve o'clock"),
        ("5% of 3.14", "five percent of three point one four"),
        ("the 21st, 12th and 40th", "the twenty first twelfth and fortieth"),
        ("the 1990s", "the nineteen nineties"),
        ("1914–1918", "nineteen fourteen to nineteen eighteen"),
        ("$1.2 billion and £1", "one point two billion dollars and one pound"),
        ("$0.05", "five cents"),
        ("Chapter IV, No. 5", "chapter four number five"),
        ("CHAPTER XXIX. Book I: the book I read.", "chapter twenty nine book one the book i read"),
        ("Part I played. Chapter I0", "part i played chapter i zero"),
        ("-5 °C", "minus five degrees celsius"),
        ("agent 007", "agent zero zero seven"),
        ("5½ miles", "five and one half miles"),
        ("version 1.2.3", "version one point two point three"),
        ("don’t, ‘quoted’ café", "don't quoted cafe"),
        ("AT&T", "at and t"),
        ("He said no. Then", "he said no then"),
        ("100000000000000000000", " ".join(["one"] + ["zero"] * 20)),
    ],
)  # fmt: skip
def test_english_written_forms_become_words(written: str, spoken: str) -> None:
    assert get_normalizer("english")(written) == spoken


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("120", "one hundred and twenty"),
        ("1905", "nineteen o five"),
        ("5%", "five per cent"),
        ("1,000,000", "a million"),
        ("21st", "twenty-first"),
        ("OK", "okay"),
    ],
)
def test_english_numbers_match_in_digits_or_words(digits: str, words: str) -> None:
    key = normalizer_for("en-GB")
    assert key(f"about {digits} then") == key(f"about {words} then")


@pytest.mark.parametrize("number", range(0, 2_000_000, 7919))
def test_every_english_cardinal_reads_back(number: int) -> None:
    ones = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    values = {word: value for value, word in enumerate((ones + "seventeen eighteen nineteen").split())}
    values |= {w: 10 * v for v, w in enumerate(TENS, 2)}
    total = group = 0
    for word in get_normalizer("english")(f"{number:,}" if number > 999 else str(number)).split():
        if word == "hundred":
            group *= 100
        elif word in ("thousand", "million"):
            total, group = total + group * {"thousand": 1000, "million": 10**6}[word], 0
        else:
            group += values[word]
    assert total + group == number


def test_hindi_has_a_hundred_different_numbers() -> None:
    assert len(BELOW_HUNDRED) == len(set(BELOW_HUNDRED)) == 100


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("१९४७", "उन्नीस सौ सैंतालीस"),
        ("25%", "पच्चीस प्रतिशत"),
        ("1,23,456", "एक लाख तेईस हज़ार चार सौ छप्पन"),
        ("2005", "दो हज़ार पाँच"),
        ("3.5", "तीन दशमलव पाँच"),
        ("2 करोड़", "दो करोड़"),
    ],
)
def test_hindi_numbers_match_in_digits_or_words(digits: str, words: str) -> None:
    key = normalizer_for("hi")
    assert key(f"में {digits} लोग") == key(f"में {words} लोग")


@pytest.mark.parametrize(
    ("lang", "first", "second"),
    [
        ("hi", "क़लम ज़रूर", "क\u093cलम ज\u093cरूर"),
        ("hi", "क्\u200dया हैं।", "क्या हैं"),
        ("bn", "বাংল\u09be ১২৩॥ \u09dcব", "বাংলা 123 \u09a1\u09bcব"),
        ("as", "অসমীয়া ৰাজ্য।", "অসমীয়া ৰাজ্য"),
        ("pa", "\u0a36ਹਿਰ ੧੨", "\u0a38\u0a3cਹਿਰ 12"),
        ("gu", "ગુજરાતી ૪૫, હા", "ગુજરાતી 45 હા"),
        ("or", "ଓଡ଼ିଆ ୭", "ଓଡ\u0b3cିଆ 7"),
        ("ta", "தமிழ் கொ ௧", "தமிழ் க\u0bc6\u0bbe 1"),
        ("te", "తెలుగు ౧౦", "తెలుగు 10"),
        ("kn", "ಕನ್ನಡ ಕೊ ೫", "ಕನ್ನಡ ಕ\u0cc6\u0cc2 5"),
        ("ml", "അവൻ കൊ ൫", "അവന്\u200d ക\u0d46\u0d3e 5"),
    ],
)
def test_two_spellings_of_one_indic_word_share_a_key(lang: str, first: str, second: str) -> None:
    key = normalizer_for(lang)
    assert key(first) == key(second)


def test_a_language_chooses_its_key() -> None:
    names = {lang: normalizer_for(lang).spec.name for lang in ("en", "en_US", "hi", "pa-IN", "zh", "de", "", None)}
    assert names == {
        "en": "match-en", "en_US": "match-en", "hi": "match-hi", "pa-IN": "match-indic", "zh": "match-cjk",
        "de": "match-simple", "": "match-simple", None: "match-simple",
    }  # fmt: skip


def test_chinese_matches_with_or_without_spaces() -> None:
    key = normalizer_for("zh")
    assert key("你好，世界。ＡＢ１２") == key("你 好 世 界 ab12") == "你好世界ab12"


def test_a_wrong_name_suggests_the_right_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'english'"):
        get_normalizer("englsh")


def test_a_million_characters_keep_their_places() -> None:
    sentence = "In 1984 Mr. Orwell’s book cost $5.50, i.e. 10% more – naïve! "
    source = sentence * (1_000_000 // len(sentence))
    normalized = get_normalizer("english").normalize(source)
    check_offsets(source, normalized)
    place = normalized.text.rindex("naive")
    assert source[slice(*normalized.source_span(place, place + 5))].rstrip("! ") == "naïve"


def test_text_loads_no_heavy_library() -> None:
    heavy = "torch transformers librosa scipy numba onnxruntime uroman lxml pypdfium2"
    code = f"import sys, speechkit.text; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize("written", ["3719.", "3,719", "3 -7 -19", "three SEVEN one nine", "３７１９"])
def test_strings_of_digits_are_the_same_however_they_are_written(written):
    assert get_normalizer("english-digits")(written) == "three seven one nine"


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("mr smith and Dr Jones of Acme inc, uh, paid", "mister smith and doctor jones of acme incorporated paid"),
        ("She lives on Main St.", "she lives on main street"),
        ("Main St. is near St. Louis", "main street is near saint louis"),
        ("from 5th St. to Mount St. Helens", "from fifth street to mount saint helens"),
        ("They went to St. Ives.", "they went to saint ives"),
        ("five hundred and one", "five hundred one"),
        ("um, Mhm. uh-huh <inaudible> [laughter] er", "uh huh"),
        ("the srs and the drs", "the srs and the drs"),
        ("a hundred per cent ok", "one hundred percent okay"),
        ("501", "five hundred one"),
    ],
)
def test_what_means_the_same_has_one_english_form(written: str, spoken: str) -> None:
    assert get_normalizer("english")(written) == spoken


def test_hesitations_and_marks_are_counted_as_they_are_dropped() -> None:
    from speechkit.text.english import count_fillers

    text = "uh <crosstalk> umbrella UM, hmm [noise] uh-huh mm 3 < 4"
    assert count_fillers(text) == 6
    assert get_normalizer("english")(text) == "umbrella uh huh three four"
    assert get_normalizer("english-verbatim")("uh <noise> yes") == "uh noise yes"


def open_sentences(count: int) -> list[str]:
    """Words as three recognisers wrote them, and as transcribers did, in stretches of 5 to 40."""
    import gzip
    import os
    import random
    from pathlib import Path

    folder = Path(os.environ.get("SPEECHKIT_DATA", "../shared/data")) / "earnings21-text"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    words = []
    for path in sorted(folder.rglob("*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            words += [line.split("|")[0] for line in file if "|" in line]
    chosen = random.Random(1)
    starts = [chosen.randrange(len(words) - 50) for _ in range(count)]
    return [" ".join(words[start : start + chosen.randint(5, 40)]) for start in starts]


def test_whisper_is_equal_to_the_published_one_on_two_thousand_sentences() -> None:
    import json
    from importlib.resources import files

    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    spellings = json.loads((files("whisper_normalizer") / "normalizers" / "english.json").read_text())
    published = EnglishTextNormalizer(spellings)
    made = ["Mr. O'Brien's $20 million", "they'll cause it 'cause", "twenty-one oh one", "[x] (y) <z> naïve colour 3rd"]
    for text in [*open_sentences(2000), *made]:
        assert get_normalizer("whisper")(text) == published(text).strip()
        assert get_normalizer("whisper-basic")(text) == BasicTextNormalizer()(text).strip()


def test_offsets_of_whisper_lead_back_to_the_words() -> None:
    text = "Well, Mr. Smith's colour is [noise] 20."
    normalized = get_normalizer("whisper").normalize(text)
    begin = normalized.text.index("color")
    low, high = normalized.source_span(begin, begin + len("color"))
    assert text[low:high].strip() == "colour"


@pytest.mark.parametrize("lang", ["ar", "fa", "ur", "sd"])
def test_shaped_arabic_letters_match_the_letters_themselves(lang: str) -> None:
    key = normalizer_for(lang)
    assert key("\ufee3\ufeae\ufea3\ufe92\ufe8e") == key("\u0645\u0631\u062d\u0628\u0627")
    assert key("\ufefb") == key("\u0644\u0627")  # a ligature
    shaped = key.normalize("a \ufefb b")
    begin = shaped.text.index("b")
    assert shaped.source_span(begin, begin + 1) == (4, 5)


@pytest.mark.parametrize("number", ["1" * 5000, "$" + "1" * 5000, "1." + "2" * 6000])
def test_numbers_beyond_whispers_arithmetic_stay_as_they_are(number: str) -> None:
    assert "1" in get_normalizer("whisper")(f"He said {number} times")
    assert get_normalizer("whisper")("He said twenty one") == "he said 21"
