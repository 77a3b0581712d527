"""Where sentences are found, and where they must not be."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.mining.alignment import Costs, learn_costs, locate_sentences

LETTERS = "etaoinshrdlucmfwypvbgk"


def make_sentences(count, seed=0, words=(6, 18)):
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(LETTERS, range(22, 0, -1), k=rng.randint(1, 9))) for _ in range(2000)]
    return [" ".join(rng.choices(vocabulary, k=rng.randint(*words))) for _ in range(count)]


def damage(text, rate, seed=0):
    rng = random.Random(seed)
    heard = []
    for character in text:
        draw = rng.random()
        if draw < rate / 2:
            heard.append(rng.choice(LETTERS))
        elif draw > rate * 3 / 4:
            heard.append(character)
        if draw > 1 - rate / 4:
            heard.append(rng.choice(LETTERS))
    return "".join(heard)


def spoken(parts, rate, seed=0):
    """The hypothesis and the true place of every part."""
    text, places = "", []
    for index, part in enumerate(parts):
        heard = damage(part, rate, seed + index)
        text += " " if text else ""
        places.append((len(text), len(text) + len(heard)))
        text += heard
    return text, places


def near(match, place, tolerance=8):
    return match is not None and abs(match.begin - place[0]) <= tolerance and abs(match.end - place[1]) <= tolerance


def share(matches, places, tolerance=8):
    return np.mean([near(match, place, tolerance) for match, place in zip(matches, places, strict=True)])


@pytest.mark.parametrize(("rate", "wanted"), [(0.0, 1.0), (0.1, 0.98), (0.2, 0.95), (0.35, 0.85)])
def test_sentences_are_found_under_recognition_errors(rate, wanted):
    sentences = make_sentences(150)
    text, places = spoken(sentences, rate)
    assert share(locate_sentences(sentences, text).matches, places) >= wanted


def test_unread_text_is_not_found_and_untranscribed_speech_is_a_gap():
    sentences = make_sentences(120)
    read = [index for index in range(120) if (index // 10) % 3 != 1]
    unread = sorted(set(range(120)) - set(read))
    extra = make_sentences(30, seed=9)
    parts = [sentences[index] for index in read[:40]] + extra + [sentences[index] for index in read[40:]]
    text, places = spoken(parts, 0.15)
    located = locate_sentences(sentences, text)
    places = places[:40] + places[70:]
    assert share([located.matches[index] for index in read], places) >= 0.97
    assert not [m for i in unread if (m := located.matches[i]) is not None and m.similarity > 0.55]
    kinds = [gap[0] for gap in located.gaps]
    assert "unread" in kinds
    begin, end = spoken(parts, 0.15)[1][40][0], spoken(parts, 0.15)[1][69][1]
    silent = [gap for gap in located.gaps if gap[0] == "untranscribed"]
    covered = sum(max(0, min(gap[4], end) - max(gap[3], begin)) for gap in silent)
    assert covered > 0.85 * (end - begin)


def test_moved_paragraphs_are_found_out_of_order():
    sentences = make_sentences(120)
    order = list(range(120))
    order = order[80:100] + order[:40] + order[100:] + order[40:80]
    text, spoken_places = spoken([sentences[index] for index in order], 0.1)
    places = [spoken_places[order.index(index)] for index in range(120)]
    assert share(locate_sentences(sentences, text).matches, places) >= 0.95


def test_order_decides_between_repeated_sentences():
    sentences = make_sentences(60)
    for index in (10, 30, 50):
        sentences[index] = "thank you very much and good morning to all of you"
    text, places = spoken(sentences, 0.1)
    assert share(locate_sentences(sentences, text).matches, places) >= 0.98


def test_sentence_said_twice_but_written_once_has_a_small_margin():
    sentences = make_sentences(20)
    parts = [*sentences[:10], sentences[9], *sentences[10:]]
    text, _ = spoken(parts, 0.0)
    matches = locate_sentences(sentences, text).matches
    assert matches[9] is not None
    assert matches[9].margin < 0.1
    assert matches[5] is not None
    assert matches[5].margin > 0.5


def test_document_of_one_repeated_sentence_is_found_whole():
    sentences = ["the quick brown fox jumps over"] * 700
    matches = locate_sentences(sentences, " ".join(sentences)).matches
    assert sum(match is not None and match.similarity == 1.0 for match in matches) == 700


def test_wrong_document_finds_nothing_good():
    located = locate_sentences(make_sentences(300, seed=1), " ".join(make_sentences(300, seed=2)))
    assert not [match for match in located.matches if match is not None and match.similarity > 0.6]


@pytest.mark.parametrize(
    ("sentences", "hypothesis"),
    [([], ""), ([], "some speech"), (["some text"], ""), (["", " ", ""], "some speech"), (["", ""], "")],
)
def test_nothing_to_find_is_no_error(sentences, hypothesis):
    located = locate_sentences(sentences, hypothesis)
    assert located.matches == [None] * len(sentences)
    assert located.path[-1].tolist() == [len(" ".join(sentences)), len(hypothesis)]


def test_places_are_whole_words():
    sentences = make_sentences(80)
    text, _ = spoken(sentences, 0.25)
    for match in locate_sentences(sentences, text).matches:
        if match is not None:
            assert match.begin == 0 or text[match.begin - 1] == " "
            assert match.end == len(text) or text[match.end] == " "


@pytest.mark.parametrize("alphabet", ["अआइईउऊकखगघचछजझटठडढणतथदधन", "的一是不了人我在有他这为之大来以个中上们"])
def test_other_scripts_with_and_without_spaces(alphabet):
    rng = random.Random(4)
    space = " " if alphabet[0] == "अ" else ""
    sentences = [space.join("".join(rng.choices(alphabet, k=rng.randint(2, 6))) for _ in range(8)) for _ in range(60)]
    text = " ".join(sentences[10:40]).replace(alphabet[3], alphabet[4])
    matches = locate_sentences(sentences, text).matches
    assert all(match is not None and match.similarity > 0.8 for match in matches[10:40])
    assert not any(match is not None and match.similarity > 0.6 for match in matches[:10] + matches[40:])


def test_sentence_as_long_as_a_book_is_placed_by_its_ends():
    book = " ".join(make_sentences(400))
    before, after = (" ".join(make_sentences(20, seed=seed)) for seed in (5, 6))
    text, places = spoken([before, book, after], 0.1)
    match = locate_sentences([book], text).matches[0]
    assert near(match, places[1])
    assert match is not None
    assert match.similarity > 0.8


word = st.text("abc", min_size=1, max_size=4)
sentence_lists = st.lists(st.lists(word, max_size=6).map(" ".join), max_size=6)


@settings(max_examples=150)
@given(sentence_lists, st.lists(word, max_size=25).map(" ".join))
def test_result_is_well_formed_whatever_the_texts(sentences, hypothesis):
    located = locate_sentences(sentences, hypothesis)
    document = " ".join(sentences)
    assert len(located.matches) == len(sentences)
    for match in located.matches:
        if match is not None:
            assert 0 <= match.begin < match.end <= len(hypothesis)
            assert 0 <= match.similarity <= 1
            assert 0 <= match.edge_cer <= 1
            assert match.margin <= match.similarity
    assert located.path[0].tolist() == [0, 0]
    assert located.path[-1].tolist() == [len(document), len(hypothesis)]
    assert (np.diff(located.path, axis=0) >= 0).all()
    for kind, a0, a1, b0, b1 in located.gaps:
        assert 0 <= a0 <= a1 <= len(document)
        assert 0 <= b0 <= b1 <= len(hypothesis)
        assert (b0 == b1) if kind == "unread" else (a0 == a1)


def test_learned_costs_know_the_confusions():
    sentences = make_sentences(300)
    rng = random.Random(1)
    text = "".join("d" if c == "t" and rng.random() < 0.7 else c for c in " ".join(sentences))
    costs = learn_costs([sentences], [text])
    row, column = costs.alphabet.index("t"), costs.alphabet.index("d")
    other = costs.alphabet.index("w")
    assert costs.substitution[row, column] > Costs().mismatch + 0.5
    assert costs.substitution[row, other] < Costs().mismatch
    assert costs.substitution[row, row] > 0.5


def test_too_little_agreement_learns_nothing():
    start = Costs()
    assert learn_costs([["abc def"]], ["xyz"], start=start) is start
