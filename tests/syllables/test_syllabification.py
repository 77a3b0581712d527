"""Syllables of phones by maximal onset, and rough phones of letters."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.data.records import AlignmentItem
from speechkit.errors import UserError
from speechkit.syllables.syllabification import ONSETS, VOWELS, bare, is_vowel, syllabify, syllable_tier
from speechkit.text.rough_pronunciation import rough_phones

CONSONANTS = sorted({phone for onset in ONSETS for phone in onset} | {"NG"})


def shown(phones: str) -> str:
    symbols = phones.split()
    return ".".join("-".join(symbols[first:last]) for first, last in syllabify(symbols))


@pytest.mark.parametrize(
    ("phones", "syllables"),
    [
        ("EH K S T R AH", "EH-K.S-T-R-AH"),
        ("S IH NG ER", "S-IH-NG.ER"),
        ("AE K T IH V", "AE-K.T-IH-V"),
        ("S T R EH NG K TH S", "S-T-R-EH-NG-K-TH-S"),
        ("HH AE P IY", "HH-AE.P-IY"),
        ("AH B AW T", "AH.B-AW-T"),
        ("M Y UW Z IH K", "M-Y-UW.Z-IH-K"),
        ("IH N D AH S T R IY", "IH-N.D-AH.S-T-R-IY"),
        ("K R IY EY T", "K-R-IY.EY-T"),
        ("HH M", "HH-M"),
        ("AE1 T L AH0 S", "AE1-T.L-AH0-S"),
    ],
)
def test_known_words_divide_as_the_textbook_says(phones, syllables):
    assert shown(phones) == syllables


def obvious(symbols):
    """All ways to cut between neighbouring nuclei; the one with the longest legal onset."""
    nuclei = [n for n, s in enumerate(symbols) if s in VOWELS]
    if not symbols:
        return []
    cuts = [0]
    for left, right in pairwise(nuclei):
        legal = [cut for cut in range(left + 1, right + 1) if cut == right or tuple(symbols[cut:right]) in ONSETS]
        # An onset must grow consonant by consonant: every shorter one is legal, too.
        whole = [cut for cut in legal if all(later in legal for later in range(cut, right + 1))]
        cuts.append(min(whole))
    return list(zip(cuts, [*cuts[1:], len(symbols)], strict=True))


@given(st.lists(st.sampled_from([*sorted(VOWELS), *CONSONANTS]), max_size=12))
def test_spans_cover_all_phones_with_one_nucleus_each(symbols):
    spans = syllabify(symbols)
    assert spans == obvious(symbols)
    assert [place for first, last in spans for place in range(first, last)] == list(range(len(symbols)))
    if any(is_vowel(symbol) for symbol in symbols):
        assert all(sum(is_vowel(symbol) for symbol in symbols[first:last]) == 1 for first, last in spans)


def test_every_onset_is_of_consonants_and_grows_by_one():
    for onset in ONSETS:
        assert not any(is_vowel(phone) for phone in onset)
        assert onset[1:] == () or onset[1:] in ONSETS


def test_syllables_keep_times_leave_silence_out_and_stay_in_words():
    symbols = ["SIL", "HH", "AE1", "P", "IY0", "SIL", "EH1", "N", "D"]
    phones = [AlignmentItem(symbol, 0.1 * n, 0.1) for n, symbol in enumerate(symbols)]
    words = [AlignmentItem("happy", 0.1, 0.4, -0.5), AlignmentItem("end", 0.6, 0.3)]
    tier = syllable_tier(words, phones)
    assert [item.symbol for item in tier] == ["HH-AE", "P-IY", "EH-N-D"]
    assert [(round(item.start, 3), round(item.duration, 3)) for item in tier] == [(0.1, 0.2), (0.3, 0.2), (0.6, 0.3)]
    assert tier[0].score == -0.5


@pytest.mark.parametrize(
    ("word", "lang", "count"),
    [
        ("savour", "en", 2),
        ("peaked", "en", 1),
        ("wanted", "en", 2),
        ("journey's", "en", 2),
        ("straße", "de", 2),
        ("Häuser", "de", 2),
        ("liebe", "de", 2),
        ("Wirtschaft", "de", 2),
        ("gesehen", "de", 3),
        ("नमस्ते", "hi", 3),
        ("लड़का", "hi", 2),
        ("घर", "hi", 1),
        ("भारत", "hi", 2),
        ("हिंदी", "hi", 2),
    ],
)
def test_letter_rules_find_the_number_of_nuclei(word, lang, count):
    assert sum(is_vowel(phone) for phone in rough_phones(word, lang)) == count


@given(st.text(max_size=12), st.sampled_from(["en", "de", "hi"]))
def test_letter_rules_take_any_text_and_give_known_phones(word, lang):
    assert all(bare(phone) in VOWELS or phone in CONSONANTS for phone in rough_phones(word, lang))


def test_a_language_without_rules_is_named():
    with pytest.raises(UserError, match=r"no letter rules.*language 'xx'"):
        rough_phones("word", "xx")
