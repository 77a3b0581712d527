from __future__ import annotations

import pytest

from speechkit.text.acronyms import spell_acronyms


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        ("en", "The BBC is on", "The bee bee see is on"),
        ("en", "two CDs", "two see dee's"),
        ("en", "NASA and UNESCO flew", "NASA and UNESCO flew"),
        ("en", "A cat and I", "A cat and I"),
        ("en", "I'm OK now", "I'm oh kay now"),
        ("de", "die EU und die GmbH", "die e u und die GmbH"),
        ("de", "zwei CDs", "zwei ze des"),
        ("en", "ALL IN CAPITALS TV", "ALL IN CAPITALS TV"),
        ("fr", "la SNCF est la", "la SNCF est la"),
    ],
)
def test_short_words_in_capitals_are_read_by_letters(lang, text, expected):
    assert spell_acronyms(text, lang).text == expected
