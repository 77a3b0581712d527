"""Every gold entity has one outcome, and every kind is told from the others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.slue.entity_errors import KINDS, entity_errors, recognised_entities

CASES = {
    "exact": ("we met anna smith", "we met anna smith", "anna smith"),
    "form only": ("on june twenty fifth we met", "on june 25th we met", "june twenty fifth"),
    "form only ": ("We paid twenty-five dollars.", "we paid $25", "twenty-five dollars"),
    "near miss": ("we met anna smith", "we met hanna smyth", "anna smith"),
    "split or merge": ("we met in new york", "we met in newyork", "new york"),
    "wrong": ("we met in rome today", "we met in a box today", "rome"),
    "deleted": ("we met in rome today", "we met in today", "rome"),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_is_told_from_the_others(kind):
    text, heard, phrase = CASES[kind]
    found = entity_errors({"a": text}, {"a": heard}, {"a": [("T", phrase)]})
    assert found.kinds == {"T": {kind.strip(): 1}}
    assert found.total(kind.strip()) == 1


def test_what_the_system_found_lost_and_invented():
    texts = {"a": "anna went to rome and rome", "b": "nothing here"}
    heard = {"a": "hanna went to rome and rome", "b": "nothing here"}
    gold = {"a": [("PERSON", "anna"), ("GPE", "rome"), ("GPE", "rome")], "b": []}
    predicted = {"a": [("PERSON", "hanna"), ("GPE", "rome")], "b": [("GPE", "here")]}
    found = entity_errors(texts, heard, gold, predicted)
    assert found.kinds == {"GPE": {"exact": 2}, "PERSON": {"near miss": 1}}
    assert found.found == {"exact": 1, "near miss": 0}
    # hanna is what was heard for anna: no invention.
    assert found.hallucinated == {"GPE": 1}
    assert found.invented[0].phrase == "here"


def test_a_phrase_that_is_not_in_its_text_is_counted_and_left_out():
    found = entity_errors({"a": "we met"}, {"a": "we met"}, {"a": [("GPE", "oslo")]})
    assert (found.gold, found.not_in_text) == (0, 1)


def test_a_perfect_tagger_marks_what_was_heard():
    found = recognised_entities(
        {"a": "we met anna in rome"}, {"a": "we met hanna in"}, {"a": [("P", "anna"), ("G", "rome")]}
    )
    assert found == {"a": [("P", "hanna")]}


words = st.lists(st.sampled_from(["rome", "new", "york", "the", "two", "anna"]), min_size=1, max_size=8)


@settings(max_examples=150)
@given(words, words, st.data())
def test_every_gold_entity_has_one_outcome(reference, hypothesis, data):
    begin = data.draw(st.integers(0, len(reference) - 1))
    end = data.draw(st.integers(begin + 1, len(reference)))
    phrase = " ".join(reference[begin:end])
    found = entity_errors({"a": " ".join(reference)}, {"a": " ".join(hypothesis)}, {"a": [("T", phrase)]})
    assert sum(found.total(kind) for kind in KINDS) == found.gold == 1
    if reference == hypothesis:
        assert found.total("exact") == 1
