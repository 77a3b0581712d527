"""Normalisation steps for Indic scripts: joiners, conjunct spellings and Hindi numbers.

Vowel signs, virama, nukta, anusvara, chandrabindu and visarga are letters of the word: no step removes one.
"""

from __future__ import annotations

import re
import unicodedata

from speechkit.text.normalized import Normalized, replace_matches

_BELOW_HUNDRED = """
शून्य एक दो तीन चार पाँच छह सात आठ नौ
दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस
बीस इक्कीस बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस
तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस अड़तीस उनतालीस
चालीस इकतालीस बयालीस तैंतालीस चवालीस पैंतालीस छियालीस सैंतालीस अड़तालीस उनचास
पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ
साठ इकसठ बासठ तिरसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर
सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर पचहत्तर छिहत्तर सतहत्तर अठहत्तर उनासी
अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सत्तासी अट्ठासी नवासी
नब्बे इक्यानवे बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे
"""
BELOW_HUNDRED = tuple(_BELOW_HUNDRED.split())
HUNDRED = "सौ"
SCALES = ((10**7, "करोड़"), (10**5, "लाख"), (10**3, "हज़ार"))
POINT = "दशमलव"
LONGEST_CARDINAL = 9  # digits; a longer number is read digit by digit


def digits_in_words(digits: str) -> str:
    """Digit by digit."""
    return " ".join(BELOW_HUNDRED[int(digit)] for digit in digits)


def cardinal(digits: str) -> str:
    """Cardinal of ASCII digits with lakh and crore; long numbers and numbers with leading zeros digit by digit.

    1100 to 1999 are read in hundreds, as years are: 1947 is "उन्नीस सौ सैंतालीस".
    """
    if len(digits) > LONGEST_CARDINAL or (len(digits) > 1 and digits[0] == "0"):
        return digits_in_words(digits)
    number = int(digits)
    if number < 100:
        return BELOW_HUNDRED[number]
    words: list[str] = []
    if not 1100 <= number <= 1999:
        for value, name in SCALES:
            count, number = divmod(number, value)
            if count:
                words += [BELOW_HUNDRED[count], name]
    hundreds, number = divmod(number, 100)
    if hundreds:
        words += [BELOW_HUNDRED[hundreds], HUNDRED]
    if number:
        words.append(BELOW_HUNDRED[number])
    return " ".join(words)


JOINER = "\u200d"
# One letter, two encodings: consonant + virama + zero-width joiner, or a single code point.
CONJUNCT_FORMS = {
    "ണ്" + JOINER: "ൺ",
    "ന്" + JOINER: "ൻ",
    "ര്" + JOINER: "ർ",
    "ല്" + JOINER: "ൽ",
    "ള്" + JOINER: "ൾ",
    "ക്" + JOINER: "ൿ",
    "ত্" + JOINER: "ৎ",
}
_CONJUNCT = re.compile("|".join(map(re.escape, CONJUNCT_FORMS)))
_NUMBER = re.compile(r"([0-9]{1,3}(?:,[0-9]{2,3})+(?![0-9])|[0-9]+)(?:\.([0-9]+))?(\s?%)?")


def unify_conjuncts(text: str) -> Normalized:
    """Replace joiner sequences for Malayalam chillu letters and Bengali khanda ta by their code points."""
    return replace_matches(text, _CONJUNCT, lambda match: CONJUNCT_FORMS[match.group()])


def hindi_numbers_to_words(text: str) -> Normalized:
    """Verbalise numbers in ASCII digits as Hindi words."""

    def in_words(match: re.Match[str]) -> str:
        words = cardinal(match[1].replace(",", ""))
        if match[2]:
            words += f" {POINT} {digits_in_words(match[2])}"
        if match[3]:
            words += " प्रतिशत"
        # The words are composed too, so that nukta letters have a single encoding.
        return f" {unicodedata.normalize('NFC', words)} "

    return replace_matches(text, _NUMBER, in_words)
