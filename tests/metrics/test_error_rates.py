from __future__ import annotations

import math

import jiwer
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics import Counts, UtteranceErrors, character_errors, word_errors

WORDS = st.lists(st.sampled_from(["a", "b", "c", "the", "की", "é", "x\u0301"]), max_size=7).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6)


def slow_edits(reference: list[str], hypothesis: list[str]) -> int:
    """The textbook table, nothing else."""
    row = list(range(len(hypothesis) + 1))
    for i, r in enumerate(reference, 1):
        above, row = row, [i]
        for j, h in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (r != h)))
    return row[-1]


@given(PAIRS)
@settings(max_examples=200)
def test_word_errors_equal_the_textbook_table(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    result = word_errors(references, hypotheses)
    assert [u.counts.errors for u in result.utterances] == [slow_edits(r.split(), h.split()) for r, h in pairs]
    assert result.counts.reference_tokens == sum(len(r.split()) for r in references)


@given(PAIRS)
def test_character_errors_equal_the_textbook_table(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    result = character_errors(references, hypotheses)
    assert [u.counts.errors for u in result.utterances] == [slow_edits(list(r), list(h)) for r, h in pairs]


@given(PAIRS.filter(lambda pairs: any(r for r, _ in pairs)))
def test_rates_and_counts_equal_jiwer(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    ours, theirs = word_errors(references, hypotheses), jiwer.process_words(references, hypotheses)
    assert ours.rate == pytest.approx(theirs.wer)
    assert ours.counts == Counts(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
    assert ours.counts.match_error_rate == pytest.approx(theirs.mer)
    assert ours.counts.information_preserved == pytest.approx(theirs.wip)
    assert ours.counts.information_lost == pytest.approx(theirs.wil)
    assert character_errors(references, hypotheses).rate == pytest.approx(jiwer.cer(references, hypotheses))


@given(PAIRS)
def test_operations_rebuild_both_sides(pairs):
    for utterance in word_errors([r for r, _ in pairs], [h for _, h in pairs]).utterances:
        reference, hypothesis = [], []
        for o in utterance.operations:
            reference += utterance.reference[o.reference_begin : o.reference_end]
            hypothesis += utterance.hypothesis[o.hypothesis_begin : o.hypothesis_end]
            if o.kind == "equal":
                assert (
                    utterance.reference[o.reference_begin : o.reference_end]
                    == utterance.hypothesis[o.hypothesis_begin : o.hypothesis_end]
                )
        assert reference == utterance.reference
        assert hypothesis == utterance.hypothesis


def test_an_empty_reference_counts_its_insertions():
    result = word_errors({"a": "one two", "b": ""}, {"a": "one two", "b": "three"})
    assert result.counts == Counts(2, 0, 0, 1)
    assert result.rate == 0.5


def test_only_insertions_are_an_infinite_rate_and_nothing_is_zero():
    assert math.isinf(word_errors([""], ["x"]).rate)
    assert word_errors([""], [""]).rate == 0
    assert word_errors([], []).rate == 0


def test_any_white_space_separates_words():
    assert word_errors(["a\u00a0b\tc\n"], ["a b c"]).rate == 0


def test_normaliser_is_applied_to_both_sides_and_recorded():
    result = word_errors(["Twenty-one cats!"], ["21 cats"], normalizer="english")
    assert result.rate == 0
    assert result.normalizer.name == "english"
    assert result.normalizer.version >= 1


def test_ids_match_in_any_order_and_the_references_give_the_order():
    result = word_errors({"b": "x", "a": "y"}, {"a": "y", "b": "z"})
    assert [u.id for u in result.utterances] == ["b", "a"]
    assert result.counts.substitutions == 1


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"a": "x", "b": "y"}, {"a": "x"}, "missing among the hypotheses (b)"),
        ({"a": "x"}, {"a": "x", "c": "y"}, "missing among the references (c)"),
        ([("a", "x"), ("a", "y")], [("a", "x")], "duplicate id a among the reference"),
        ([("a", "x")], [("a", "x"), ("a", "x")], "duplicate id a among the hypothesis"),
        ("one text", "one text", "give a list"),
    ],
)
def test_ids_that_do_not_match_are_errors(references, hypotheses, message):
    with pytest.raises(UserError) as error:
        word_errors(references, hypotheses)
    assert message in str(error.value)


def test_speaker_intervals_need_speakers_and_are_wider_when_speakers_differ():
    references = {f"{s}-{i}": "a b c d" for s in range(6) for i in range(30)}
    hypotheses = {i: ("a b c d" if int(i[0]) % 2 else "a x c d") for i in references}
    speakers = {i: i[0] for i in references}
    result = word_errors(references, hypotheses, speakers=speakers)
    by_utterance, by_speaker = result.interval(), result.interval("speaker")
    assert by_utterance.low < result.rate < by_utterance.high
    assert by_speaker.high - by_speaker.low > 2 * (by_utterance.high - by_utterance.low)
    assert by_speaker.units == 6
    assert list(result.by_speaker()) == list("012345")
    with pytest.raises(UserError, match="has no speaker"):
        word_errors(references, hypotheses).interval("speaker")


def test_utterances_survive_json():
    found = list(word_errors({"a": "x y"}, {"a": "x z"}, normalizer="simple", speakers={"a": "s"}).utterances)
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[UtteranceErrors]) == found
