"""The corrected scores, against slow obvious versions, and where they differ from the toolkit's."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.slue.metrics.answers import Answer, frame_overlap, score_answers
from speechkit.slue.metrics.classification import SENTIMENTS, score_label_sets, score_labels
from speechkit.slue.metrics.entities import score_entities
from speechkit.slue.metrics.entity_text import (
    entities_of_tags,
    mark_entities,
    parse_entities,
    plain_text,
    split_clitics,
    tag_words,
)
from speechkit.slue.metrics.localisation import AlignedWord, score_localisation, tune_offset
from speechkit.slue.metrics.measures import Resampling, slue_score
from speechkit.slue.metrics.summaries import longest_common_subsequence, meteor, rouge_n, score_summaries
from speechkit.slue.systems.entity_decoding import collapse, spans_of_symbols

PLAIN = Resampling(resamples=0)


def measure(score, name):
    return score.measures[name].value


entity = st.tuples(st.sampled_from(["PLACE", "ORG", "WHEN"]), st.sampled_from(["eu", "un", "today"]))
utterances = st.lists(st.tuples(st.lists(entity, max_size=5), st.lists(entity, max_size=5)), min_size=1, max_size=6)


@given(utterances)
@settings(max_examples=60)
def test_entity_f1_strikes_out_what_was_found_one_by_one(pairs):
    correct = predicted = wanted = 0
    for gold, guess in pairs:
        left = list(gold)
        for each in guess:
            if each in left:
                left.remove(each)
                correct += 1
        predicted += len(guess)
        wanted += len(gold)
    score = score_entities([g for g, _ in pairs], [p for _, p in pairs], resampling=PLAIN)
    assert measure(score, "f1") == pytest.approx(2 * correct / (predicted + wanted) if predicted + wanted else 0)


def test_raw_tags_are_combined_and_discarded_before_counting():
    gold = [[("GPE", "rome"), ("EVENT", "world cup"), ("DATE", "today")]]
    found = [[("LOC", "rome"), ("TIME", "today")]]
    assert score_entities(gold, found, resampling=PLAIN).value == 1
    assert score_entities(gold, found, tags="raw", resampling=PLAIN).value == 0
    with pytest.raises(UserError, match="'CITY' is not an entity tag"):
        score_entities([[("CITY", "rome")]], [[]])


def test_a_transcript_in_combined_symbols_is_read_with_the_combined_table():
    line = "the # commission ] met & today ]"
    assert parse_entities(line, symbols="combined") == [("ORG", "commission"), ("WHEN", "today")]
    assert parse_entities(line) == [("EVENT", "commission"), ("LAW", "today")]
    assert plain_text(line, symbols="combined") == "the commission met today"
    assert split_clitics("the commission's view") == "the commission 's view"


words_and_spans = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["eu", "rome", "two"]), min_size=1, max_size=3), st.sampled_from([None, "GPE", "LAW"])
    ),
    min_size=1,
    max_size=5,
)


@given(words_and_spans)
@settings(max_examples=60)
def test_spans_tags_and_symbols_say_the_same_entities(pieces):
    text, spans, expected = "", [], []
    for words, tag in pieces:
        phrase = " ".join(words)
        text += " " if text else ""
        if tag:
            spans.append((tag, len(text), len(phrase)))
            expected.append((tag, phrase))
        text += phrase
    tagged = tag_words(text, spans)
    assert entities_of_tags(tagged) == expected
    marked = mark_entities(tagged)
    assert parse_entities(marked) == expected
    assert plain_text(marked) == text


@pytest.mark.parametrize(
    ("spans", "why"),
    [
        ([("GPE", 0, 4), ("LAW", 2, 5)], "overlaps the entity before it"),
        ([("GPE", 5, -2)], "is outside the text"),
        ([("GPE", 8, 9)], "is outside the text"),
        ([("GPE", 4, 1)], "contains no word"),
    ],
)
def test_spans_that_cannot_be_are_refused(spans, why):
    with pytest.raises(UserError, match=why):
        tag_words("rome is here", spans)


def test_the_corrected_sentiment_mean_has_three_classes_whatever_the_split_holds():
    gold, predicted = ["Neutral", "Positive"], ["Neutral", "Positive"]
    corrected = score_labels(gold, predicted, resampling=PLAIN)
    assert measure(corrected, "macro_f1") == pytest.approx(2 / 3)
    assert measure(score_labels(gold, predicted, compat=True, resampling=PLAIN), "macro_f1") == 1
    assert "the references have no Negative" in corrected.warnings[-1]
    assert (corrected.mode, corrected.settings["mean over"]) == ("corrected", "all labels")
    with pytest.raises(UserError, match=r"b: unknown label 'Mixed' in the prediction.*Negative"):
        score_labels(gold, ["Neutral", "Mixed"], ids=["a", "b"])
    with pytest.raises(UserError, match="the split is empty"):
        score_labels([], [])


@given(st.lists(st.tuples(*[st.sampled_from(SENTIMENTS)] * 2), min_size=1, max_size=30))
@settings(max_examples=40)
def test_macro_f1_equals_scikit_learn(pairs):
    from sklearn.metrics import f1_score

    gold, predicted = [g for g, _ in pairs], [p for _, p in pairs]
    theirs = f1_score(gold, predicted, average="macro", labels=list(SENTIMENTS), zero_division=0)
    assert measure(score_labels(gold, predicted, resampling=PLAIN), "macro_f1") == pytest.approx(theirs)


label_set = st.lists(st.sampled_from("abcd"), unique=True)


@given(st.lists(st.tuples(label_set, label_set), min_size=1, max_size=20))
@settings(max_examples=40)
def test_label_sets_equal_scikit_learn(pairs):
    from sklearn.metrics import f1_score

    def matrix(side):
        return np.array([[int(label in row[side]) for label in "abcd"] for row in pairs])

    theirs = f1_score(matrix(0), matrix(1), average="macro", zero_division=0)
    score = score_label_sets([g for g, _ in pairs], [p for _, p in pairs], "abcd", resampling=PLAIN)
    assert measure(score, "macro_f1") == pytest.approx(theirs)


tenths = st.integers(0, 30)


@given(tenths, tenths, tenths, tenths)
def test_frame_overlap_counts_the_frames_that_are_shared(a, b, c, d):
    predicted, gold = set(range(a, b)), set(range(c, d))
    f1, aos = frame_overlap((a, b), (c, d))
    if not predicted or not gold:
        assert (f1, aos) == (0, 0)
    else:
        assert f1 == pytest.approx(2 * len(predicted & gold) / (len(predicted) + len(gold)))
        assert aos == pytest.approx(len(predicted & gold) / len(predicted | gold))


def test_a_question_takes_its_best_gold_span_and_bad_predictions_are_counted():
    gold = [Answer(((0, 1), (5, 6))), Answer(((2, 3),)), Answer(((2, 3),))]
    score = score_answers(gold, [(5, 6), (3, 2), None], ids=["a", "b", "c"], resampling=PLAIN)
    assert score.value == pytest.approx(1 / 3)
    assert score.utterances == {"a": 1, "b": 0, "c": 0}
    assert any("end before they begin" in w for w in score.warnings)
    assert any("1 questions have no predicted answer" in w for w in score.warnings)
    with pytest.raises(UserError, match=r"b:.*gold answer.*3 to 2 s.*empty.*reversed"):
        score_answers([Answer(((0, 1),)), Answer(((3, 2),))], [(0, 1)] * 2, ids=["a", "b"])


def aligned(cells):
    return [AlignedWord(text, begin / 10, end / 10, entity) for text, begin, end, entity in cells]


@st.composite
def alignment_and_spans(draw):
    cells, at = [], 0
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.integers(1, 8))
        cells.append((draw(st.sampled_from(["", "a", "b"])), at, at + length, draw(st.booleans())))
        at += length
    spans = draw(st.lists(st.tuples(st.just("x"), st.integers(0, at + 5), st.integers(0, at + 5)), max_size=4))
    return cells, spans


@given(alignment_and_spans())
def test_localisation_counts_frames_and_words_one_by_one(case):
    cells, spans = case
    covered = {frame for _, begin, end in spans for frame in range(begin, end)}
    wanted = {frame for _, begin, end, entity in cells if entity for frame in range(begin, end)}
    score = score_localisation(
        {"u": aligned(cells)}, {"u": [(p, b / 10, e / 10) for p, b, e in spans]}, {}, resampling=PLAIN
    )
    both = len(covered & wanted)
    assert measure(score, "frame_f1") == pytest.approx(
        2 * both / (len(covered) + len(wanted)) if covered or wanted else 0
    )
    for rho in (Fraction(1), Fraction(8, 10), Fraction(1, 2)):
        hit = [
            (entity, Fraction(len(covered & set(range(begin, end))), end - begin) >= rho)
            for text, begin, end, entity in cells
            if text
        ]
        correct, found = hit.count((True, True)), sum(f for _, f in hit)
        words = sum(e for e, _ in hit)
        assert measure(score, f"word_{float(rho):g}_f1") == pytest.approx(
            2 * correct / (found + words) if found + words else 0
        )


def test_each_defect_of_the_toolkit_is_mended():
    paris = {"u": [AlignedWord("paris", 0.5, 1.0, True)]}
    gold = {"u": [("paris", 0.5, 1.0)]}
    early = {"u": [("x", 0.0, 0.1), ("paris", 0.5, 1.0)]}
    for compat, expected in ((True, 0), (False, 1)):
        assert measure(score_localisation(paris, early, gold, compat=compat, resampling=PLAIN), "word_1_f1") == expected

    two = {"u": [AlignedWord("rome", 0, 1, True), AlignedWord("today", 2, 3, True)]}
    first = {"u": [("rome", 0.0, 1.0)]}
    both = {"u": [("rome", 0.0, 1.0), ("today", 2.0, 3.0)]}
    for compat, expected in ((True, 1), (False, 0.5)):
        score = score_localisation(two, first, both, compat=compat, resampling=PLAIN)
        assert measure(score, "word_0.8_recall") == expected

    longer = {"u": [("a", 0.5, 3.0), ("b", 0.6, 0.9)]}
    for compat, expected in ((True, 1), (False, 0.2)):
        score = score_localisation(paris, longer, gold, compat=compat, resampling=PLAIN)
        assert measure(score, "frame_precision") == expected

    noisy = {"u": [AlignedWord("a", 0.29, 0.58, True)]}
    score = score_localisation(noisy, {"u": [("a", 0.29, 0.58)]}, {}, resampling=PLAIN)
    assert measure(score, "frame_f1") == 1


def test_the_offset_that_undoes_a_shift_is_found():
    words = {"u": [AlignedWord("in", 0, 1), AlignedWord("rome", 1, 2, True), AlignedWord("is", 2, 3)]}
    late = {"u": [("rome", 1.1, 2.1)]}
    chosen = tune_offset(words, {"blank": {"u": [("rome", 0.5, 2.6)]}, "letters": late}, {})
    assert (chosen.offset, chosen.variant, chosen.frame_f1) == (-0.1, "letters", 1.0)
    assert len(chosen.tried) == 62


def test_spans_of_ctc_frames():
    frames = list("hi") + ["|"] * 2 + ["%", "|"] + ["<b>"] + list("ro") + ["|", "]"]
    symbols, durations = collapse(frames)
    assert durations[2] == pytest.approx(0.04)
    assert spans_of_symbols(symbols, durations, include_blank=True) == [("ro", 0.08, 0.22)]
    assert spans_of_symbols(symbols, durations, include_blank=False) == [("ro", 0.14, 0.18)]


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
@settings(max_examples=80)
def test_the_common_subsequence_is_the_longest(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assert longest_common_subsequence(first, second) == table[-1, -1]


def test_rouge_and_meteor_by_hand():
    reference, summary = ["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "lay", "on", "the", "mat"]
    assert rouge_n(reference, summary, 1)[2] == pytest.approx(5 / 6)
    assert rouge_n(reference, summary, 2)[2] == pytest.approx(3 / 5)
    # Five matches in two chunks.
    assert meteor(reference, summary) == pytest.approx(5 / 6 * (1 - 0.5 * (2 / 5) ** 3))
    assert meteor(["a", "b"], ["c"]) == 0
    # Two runs, and not three: the longest run is taken first.
    assert meteor(["a", "b", "c", "a"], ["a", "a", "b", "c"]) == pytest.approx(1 - 0.5 * (2 / 4) ** 3)
    score = score_summaries(["The cat, sat!", "x y"], ["the CAT sat", ""], resampling=PLAIN)
    assert score.value == pytest.approx(0.5)
    assert "1 summaries are empty" in score.warnings[-1]


def test_intervals_hold_the_value_and_draw_whole_speakers():
    random = np.random.default_rng(3)
    gold = random.choice(SENTIMENTS, 300).tolist()
    predicted = [g if random.random() < 0.7 else "Neutral" for g in gold]
    score = score_labels(gold, predicted, resampling=Resampling(500))
    interval = score.measures["macro_f1"].interval
    assert interval.low < score.value < interval.high
    assert (score.units, interval.units) == (300, 300)
    grouped = score_labels(gold, predicted, resampling=Resampling(500, groups=tuple(i // 30 for i in range(300))))
    assert grouped.units == 10
    assert "from 10 units only" in grouped.warnings[0]
    assert grouped.value == score.value


def test_the_slue_score_wants_percent():
    with pytest.raises(UserError, match="ner_micro_f1 is 120"):
        slue_score(wer_voxpopuli=10, wer_voxceleb=10, sentiment_macro_f1=50, ner_micro_f1=120)
    with pytest.raises(UserError, match="wer_voxceleb is -1"):
        slue_score(wer_voxpopuli=10, wer_voxceleb=-1, sentiment_macro_f1=50, ner_micro_f1=12)
    with pytest.raises(UserError, match=r"sentiment_macro_f1 is 0.65, which is a fraction; give percent, 65"):
        slue_score(wer_voxpopuli=10, wer_voxceleb=10, sentiment_macro_f1=0.65, ner_micro_f1=70)
    with pytest.raises(UserError, match="are fractions"):
        slue_score(wer_voxpopuli=0.1, wer_voxceleb=0.12, sentiment_macro_f1=65, ner_micro_f1=70)
    assert slue_score(wer_voxpopuli=0, wer_voxceleb=0, sentiment_macro_f1=66.8, ner_micro_f1=81.4) > 82


def test_in_compat_an_empty_list_without_an_alignment_misses_frames_but_no_words():
    """As the toolkit's two loops do: over alignments for words, over predictions for frames."""
    alignments = {"a": [AlignedWord("rome", 0.0, 1.0, True)]}
    gold = {"a": [("rome", 0.0, 1.0)], "b": [("oslo", 0.0, 1.0)]}
    found = {"a": [("rome", 0.0, 1.0)], "b": []}
    score = score_localisation(alignments, found, gold, compat=True, resampling=PLAIN)
    assert measure(score, "word_1_recall") == 1.0
    assert measure(score, "frame_recall") == 0.5
    absent = score_localisation(alignments, {"a": found["a"]}, gold, compat=True, resampling=PLAIN)
    assert measure(absent, "word_1_recall") == 0.5
    corrected = score_localisation(alignments, found, gold, resampling=PLAIN)
    assert measure(corrected, "word_1_recall") == 0.5
