"""Words of other speakers in a track."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speechkit.metrics.speaker_leakage import track_words

words = st.lists(st.sampled_from("abcdef"), max_size=8).map(" ".join)


def test_words_of_the_other_are_leaked_and_own_words_are_not():
    found = track_words("one two three four", ["five six seven"], "one two five four seven")
    assert (found.leaked, found.others) == (2, 3)
    assert found.counts.hits == 3
    assert found.leaked_share == 2 / 3


def test_a_word_that_both_say_leaks_only_where_it_is_wrong():
    assert track_words("the cat", ["the dog"], "the cat").leaked == 0
    assert track_words("the cat", ["the dog"], "the the cat").leaked == 1


def test_three_speakers_share_no_leaked_word():
    found = track_words("a", ["b c", "b d"], "a b")
    assert (found.leaked, found.others) == (1, 4)
    assert track_words("a", ["b c", "b d"], "a b b").leaked == 2


def test_forms_are_normalised_and_nothing_said_is_no_share():
    assert track_words("Hello, you", ["Bye!"], "hello you BYE").leaked == 1
    assert track_words("a", [""], "a").leaked_share is None
    assert track_words("a b", ["c"], "").counts.deletions == 2


@given(words, st.lists(words, max_size=3), words)
def test_no_more_leaks_than_wrong_words_or_than_others_said(own, others, heard):
    found = track_words(own, others, heard)
    assert found.leaked <= found.counts.insertions + found.counts.substitutions
    assert found.leaked <= found.others == sum(len(text.split()) for text in others)


@given(words)
def test_a_track_of_the_other_speaker_alone_leaks_everything(text):
    found = track_words("x", [text], text)
    assert found.leaked == found.others
