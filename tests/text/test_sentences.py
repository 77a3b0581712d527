from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.text import split_sentences

TEXT = st.text(st.sampled_from("abAB .!?…।॥。\n\f\"'”,;:1" + "की،؟۔"), max_size=80) | st.text(max_size=60)


def sentences(text: str, lang: str = "en", **options: int) -> list[str]:
    return [text[begin:end] for begin, end in split_sentences(text, lang, **options)]


@given(text=TEXT, lang=st.sampled_from(["en", "de", "hi", "ur", "zh", None]), longest=st.integers(1, 40))
def test_sentences_cover_all_but_white_space_in_order_and_within_the_limit(
    text: str, lang: str | None, longest: int
) -> None:
    cursor = 0
    for begin, end in split_sentences(text, lang, max_characters=longest):
        assert cursor <= begin < end <= len(text)
        assert text[cursor:begin].strip() == ""
        assert text[begin:end] == text[begin:end].strip()
        assert end - begin <= longest
        cursor = end
    assert text[cursor:].strip() == ""


@pytest.mark.parametrize(
    ("lang", "expected"),
    [
        ("en", ["Dr. Smith met Mr. J. R. Jones at 5 p.m. on Monday.", "He left."]),
        ("en", ["It cost $3.50.", "See No. 5 there.", "He said no.", "Then he went."]),
        ("en", ["“Stop!” he cried.", "“Why?”", "Nobody knew."]),
        ("en", ["Well... maybe.", "Perhaps not…", "Who knows?!", "I do."]),
        ("en", ["He came from the U.S. in May.", "They stayed in the U.S.", "The end."]),
        ("en", ["(It rained.)", "We stayed.", '"Good."', "Then we left."]),
        ("en", ["Rain, i.e. water, fell on St. John's Ave. and on us.", "Yes."]),
        ("de", ["Am 3. Oktober kam Hr. Müller z.B. hierher.", "Gut."]),
        ("fr", ["M. Dupont est là.", "Il dit « oui. »", "Elle part."]),
        ("es", ["¿Qué hora es?", "¡Tarde!", "El Sr. López llegó."]),
        ("hi", ["यह पहला वाक्य है।", "डॉ. राम आए॥", "कब?", "आज।"]),
        ("bn", ["এটি একটি বাক্য।", "আরেকটি!"]),
        ("ta", ["இது ஒரு வாக்கியம்.", "மற்றொன்று."]),
        ("ur", ["یہ پہلا جملہ ہے۔", "کیا یہ دوسرا ہے؟", "ہاں۔"]),
        ("ru", ["Он пришёл.", "Она ушла!"]),
    ],
)
def test_sentences_of_many_languages(lang: str, expected: list[str]) -> None:
    assert sentences(" ".join(expected), lang) == expected


def test_chinese_and_danda_need_no_space() -> None:
    assert sentences("今天天气很好。你呢？“我很好！”他说。", "zh") == [
        "今天天气很好。",
        "你呢？",
        "“我很好！”",
        "他说。",
    ]
    assert sentences("पहला।दूसरा॥", "hi") == ["पहला।", "दूसरा॥"]


def test_headings_and_list_items_without_a_stop_stand_alone() -> None:
    text = "The harbour\n\n1. First point\n\n2. Second point. More\nof it\n\n\fNext page"
    assert sentences(text) == ["The harbour", "1. First point", "2. Second point.", "More\nof it", "Next page"]


def test_a_full_stop_without_a_space_still_ends_a_sentence_before_a_capitalised_word() -> None:
    assert sentences("She said it.Then she left at 3.15 for example.com today.") == [
        "She said it.",
        "Then she left at 3.15 for example.com today.",
    ]


def test_a_long_sentence_is_cut_at_its_clauses() -> None:
    text = "when the wind rose; the boats came in, one by one, and the nets were hung along the wall to dry"
    assert sentences(text, max_characters=45) == [
        "when the wind rose;",
        "the boats came in, one by one,",
        "and the nets were hung along the wall to dry",
    ]


def test_a_word_longer_than_the_limit_is_cut_and_keeps_its_vowel_signs() -> None:
    assert sentences("x" * 95, max_characters=30) == ["x" * 30] * 3 + ["x" * 5]
    for piece in sentences("की" * 100, "hi", max_characters=25):
        assert piece[0] == "क"


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_characters is 0"):
        split_sentences("a", "en", max_characters=0)


def test_two_megabytes_in_one_line_are_split() -> None:
    line = "The boat, etc. came in at 5.30 with Mr. Smith. " * 42_000
    spans = split_sentences(line)
    assert len(line) > 1_900_000
    assert len(spans) == 42_000
