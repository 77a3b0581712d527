from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from num2words import num2words

from speechkit.text.german import expand_abbreviations, numbers_to_words
from speechkit.text.german_numbers import cardinal, decimal, ordinal, year
from speechkit.text.normalized import unchanged


def spoken(text: str) -> str:
    words = unchanged(text).then(expand_abbreviations).then(numbers_to_words).text
    return " ".join(words.split()).replace(" .", ".").replace(" ,", ",").replace("( ", "(").replace(" )", ")")


@given(st.integers(0, 999_999_999))
@settings(max_examples=300, deadline=None)
def test_cardinals_are_those_of_num2words(number):
    expected = num2words(number, lang="de")
    # num2words has an s too many inside of a number: "einhunderteinstausend".
    expected = expected.replace("einstausend", "eintausend").replace("eins Million", "ein Million")
    assert cardinal(str(number)) == expected


@given(st.integers(0, 999_999))
@example(0)
@settings(max_examples=300, deadline=None)
def test_ordinals_are_those_of_num2words(number):
    expected = num2words(number, lang="de", to="ordinal").replace("einstausend", "eintausend")
    found = ordinal(str(number))
    # It leaves out the one of a round hundred or thousand: "hundertste".
    assert found in (expected, f"ein{expected}")


@given(st.integers(1100, 2099))
@settings(max_examples=200, deadline=None)
def test_years_are_those_of_num2words(number):
    assert year(str(number)) == num2words(number, lang="de", to="year")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("am 3. Mai 1984", "am dritten Mai neunzehnhundertvierundachtzig"),
        ("der 3. Mai", "der dritte Mai"),
        ("3. Mai", "dritter Mai"),
        ("vom 1.2. bis 24.12.2020", "vom ersten Februar bis vierundzwanzigsten Dezember zweitausendzwanzig"),
        ("Karl der 5. kam", "Karl der fünfte kam"),
        ("12,50 €", "zwölf Euro fünfzig"),
        ("0,99 €", "neunundneunzig Cent"),
        ("€ 1", "ein Euro"),
        ("1 Million", "eine Million"),
        ("$5", "fünf Dollar"),
        ("20 %", "zwanzig Prozent"),
        ("-3,5 °C", "minus drei Komma fünf Grad Celsius"),
        ("1.250 Stück", "eintausendzweihundertfünfzig Stück"),
        ("1.000.000", "eine Million"),
        ("14:30 Uhr", "vierzehn Uhr dreißig"),
        ("1:05 Uhr", "ein Uhr fünf"),
        ("9.00 Uhr", "neun Uhr"),
        ("um 8:15", "um acht Uhr fünfzehn"),
        ("1914–1918", "neunzehnhundertvierzehn bis neunzehnhundertachtzehn"),
        ("1½ Liter", "eineinhalb Liter"),
        ("Version 2.0.1", "Version zwei Punkt null Punkt eins"),
        ("007", "null null sieben"),
        ("z. B. heute", "zum Beispiel heute"),
        ("d.h. usw.", "das heißt und so weiter"),
        ("Dr. Müller & Co", "Doktor Müller und Co"),
        ("Nr. 5", "Nummer fünf"),
        ("3 Mio. Euro", "drei Millionen Euro"),
        ("100 km/h", "einhundert Kilometer pro Stunde"),
        ("50 km", "fünfzig Kilometer"),
        ("21. Jh.", "einundzwanzigster Jahrhundert"),
        ("ohne Zahl.", "ohne Zahl."),
    ],
)
def test_written_forms_are_spelled_out(text, expected):
    assert spoken(text) == expected


def test_decimals_are_read_digit_by_digit():
    assert decimal("3", "1415") == "drei Komma eins vier eins fünf"


@given(st.text(alphabet="0123456789.,:%€$-–½ abMai\n", max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_digit_is_left(text):
    assert not any(character in "0123456789" for character in spoken(text))
