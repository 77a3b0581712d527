"""Words that a scan got wrong are put right where what was heard is sure, and only there."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr import Emissions
from speechkit.asr.refinement.ctc_kernel import spelling_scores
from speechkit.errors import UserError
from speechkit.mining.correction import (
    Corrector,
    Spellings,
    corrected,
    lexicon_digest,
    parts,
    read_lexicon,
    slips,
    splits,
)
from speechkit.mining.records import Correction, Recording, Sentence, SentenceMatch, WordTime
from speechkit.mining.selection import utterance_of

VOCABULARY = ("_", " ", *"abcdefghijklmnopqrstuvwxyz")


def heard(text: str, sure: float = 0.95) -> Emissions:
    """Every character in two frames of ten, a blank between any two, the rest of the probability spread evenly."""
    symbols = [symbol for character in text for symbol in (VOCABULARY.index(character), 0)]
    probability = np.full((len(symbols), len(VOCABULARY)), (1 - sure) / (len(VOCABULARY) - 1))
    probability[np.arange(len(symbols)), symbols] = sure
    return Emissions(np.log(probability).astype(np.float16), 0.1, VOCABULARY, 0)


def match(written: str, said: str, **fields: object) -> SentenceMatch:
    """Words one after the other, each as long as what was said in its place."""
    words, cursor = [], 0
    for word, spoken in zip(written.split(), said.split(), strict=True):
        words.append(WordTime(word, cursor * 0.2, (cursor + len(spoken)) * 0.2, -0.1))
        cursor += len(spoken) + 1
    return SentenceMatch("d-0", "r", "d", 0.0, cursor * 0.2, 0.9, 0.0, 0.5, 14.0, words=words, **fields)  # type: ignore[arg-type]


def put_right(written: str, said: str, lexicon: str = "", sure: float = 0.95) -> str:
    item = match(written, said)
    corrector = Corrector(heard(said, sure), Spellings([written], lexicon.split()))
    found = corrector.of_match(item, written)
    return corrected(match(written, said, corrections=found), written)[0]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("the hen slept", "the hen slept"),
        ("tbe hen slept", "the hen slept"),
        ("The ben slept.", "the hen slept"),
        ("the heen, slept", "the hen slept"),
        ("the hn slept", "the hen slept"),
        ("THE HFN SLEPT", "the hen slept"),
        ("the hen 51ept", "the hen slept"),
        ("the rnan slept", "the man slept"),
    ],
)
def test_slips_of_a_scan_are_put_right_in_the_case_and_marks_of_the_word(written, said):
    found = put_right(written, said, "the hen slept man")
    assert "".join(c for c in found.lower() if c.isalpha() or c == " ") == said
    assert [c for c in found if not c.isalnum()] == [c for c in written if not c.isalnum()]
    assert found.split()[0][0].isupper() == written[0].isupper()


def test_what_no_lexicon_and_no_document_knows_is_never_written():
    assert put_right("tbe hen slept", "the hen slept") == "tbe hen slept"
    assert put_right("tbe hen in the barn", "the hen in the barn") == "the hen in the barn"


def test_a_doubtful_recogniser_changes_nothing_and_known_words_need_more():
    assert put_right("tbe hen slept", "the hen slept", "the hen slept", sure=0.2) == "tbe hen slept"
    assert put_right("the hen slept", "the han slept", "the hen han slept", sure=0.5) == "the hen slept"


@pytest.mark.parametrize("written", ["Thehen slept.", "Thexhen slept."])
def test_words_whose_space_the_scan_lost_are_written_apart_with_times_of_their_own(written):
    item = SentenceMatch("d-0", "r", "d", 0.0, 2.4, 0.9, 0.0, 0.5, 14.0, probability=0.99, words=[
        WordTime("Thehen" if "x" not in written else "Thexhen", 0.0, 1.4, -0.1), WordTime("slept.", 1.6, 2.6, -0.1),
    ])  # fmt: skip
    corrections = Corrector(heard("the hen slept"), Spellings([written], ["the", "hen", "slept", "then"])).of_match(
        item, written
    )
    assert [(each.word, each.spelling) for each in corrections] == [(0, "The hen")]
    (first, second) = corrections[0].times
    assert first == pytest.approx((0.0, 0.6), abs=0.11)  # two frames of 0.1 s a letter
    assert second == pytest.approx((0.8, 1.4), abs=0.11)
    sentence = Sentence("d-0", 0, written, 0, len(written))
    matched = msgspec.structs.replace(item, corrections=corrections)
    row = utterance_of(matched, sentence, Recording("r", "r.wav", 16000, 160_000, 1, []), "en")
    assert row.text == "The hen slept."
    assert [word.symbol for word in row.alignment["word"]] == ["The", "hen", "slept."]
    assert [word.start for word in row.alignment["word"]] == sorted(word.start for word in row.alignment["word"])


def test_joined_words_need_two_known_ones_and_a_single_letter_one_of_the_document():
    assert put_right("thehen slept", "thehen slept", "the hen slept") == "thehen slept"
    assert list(splits("abc")) == [("a", "bc"), ("a", "c"), ("ab", "c")]
    spellings = Spellings(["a barn"], ["the", "b", "hen"])
    corrector = Corrector(heard("the"), spellings)
    assert corrector._both_known("the", "hen")
    assert corrector._both_known("a", "hen")
    assert not corrector._both_known("b", "hen")
    assert not corrector._both_known("the", "henn")
    assert np.exp(spellings.log_counts(["the hen", "the henn"], "thehen")).tolist() == pytest.approx([1.02, 0.02])


def slow_score(log_probs, edge, spelling, blank):
    """The best of all ways to lay the symbols over the frames."""
    states = [None, *itertools.chain.from_iterable((symbol, None) for symbol in spelling)]
    best = -np.inf
    for path in itertools.combinations_with_replacement(range(len(states)), len(log_probs)):
        steps = [path[0], *np.diff(path)]
        skipped = any(
            step > 2 or (step == 2 and (place % 2 == 0 or (place > 1 and states[place] == states[place - 2])))
            for step, place in zip(steps[1:], path[1:], strict=True)
        )
        if skipped or path[0] > 1 or path[-1] < len(states) - 2:
            continue
        total = 0.0
        for frame, place in enumerate(path):
            outer = place in (0, len(states) - 1)
            value = edge[frame] if outer else log_probs[frame, blank if states[place] is None else states[place]]
            total += value if outer else max(value, -12.0)
        best = max(best, total)
    return best


@settings(max_examples=60)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(3, 6), st.integers(0, 2**31))
def test_spelling_scores_equal_the_best_of_all_paths(spelling, frames, seed):
    log_probs = np.random.default_rng(seed).normal(-3, 4, (frames, 4)).astype(np.float32)
    edge = log_probs[:, :2].max(1)
    found = spelling_scores(log_probs, edge, np.array([spelling], np.int32), np.array([len(spelling)]), 0)[0]
    expected = slow_score(log_probs, edge, spelling, 0)
    if np.isfinite(expected):
        assert found == pytest.approx(expected, rel=1e-5)
    else:
        assert found < -1e20


@given(st.text("abc", min_size=1, max_size=5))
def test_slips_are_all_that_is_one_letter_or_a_pair_away(word):
    alphabet = "abc"
    expected = {word[:i] + c + word[j:] for i in range(len(word) + 1) for j in (i, i + 1, i + 2) for c in alphabet
                if j <= len(word)}  # fmt: skip
    expected |= {word[:i] + word[i + 1 :] for i in range(len(word)) if len(word) > 1}
    assert set(slips(word, alphabet)) | {word} == expected | {word}


def test_original_is_kept_beside_the_corrected_text_and_words_follow():
    sentence = Sentence("d-0", 0, "Tbe  hen slept.", 0, 15)
    item = match("Tbe hen slept.", "the hen slept", corrections=[Correction(0, "The")], probability=0.99)
    row = utterance_of(item, sentence, Recording("r", "r.wav", 16000, 160_000, 1, []), "en")
    assert row.text == "The  hen slept."
    assert row.custom["written"] == "Tbe  hen slept."
    assert row.custom["corrected_words"] == 1
    assert [word.symbol for word in row.alignment["word"]] == ["The", "hen", "slept."]


def test_a_lost_word_is_not_taken_for_its_twin():
    item = match("the hen", "the hen", lost_before=1, corrections=[Correction(1, "then")])
    text, words = corrected(item, "the the hen")
    assert (text, [word.word for word in words]) == ("the then hen", ["then", "hen"])


def test_marks_around_a_word_are_no_part_of_it():
    assert parts("“What?”") == ("“", "What", "?”")
    assert parts("—") == ("—", "", "")


def test_lexicon_is_a_file_or_what_is_at_hand(tmp_path):
    (tmp_path / "words.txt").write_text("Hen HH EH N\nhen(2) H\n\n'tis\n")
    assert read_lexicon(str(tmp_path / "words.txt"), "en") == {"hen"}
    assert read_lexicon("auto", "hi") == frozenset()
    assert lexicon_digest(str(tmp_path / "words.txt")) != lexicon_digest("auto")
    with pytest.raises(UserError, match="cannot be read as a lexicon"):
        read_lexicon(str(tmp_path / "none.txt"), "en")
