"""With compat=True every score equals what the reference toolkit's functions gave, defects included."""

from __future__ import annotations

import pytest

from speechkit.slue.metrics.answers import frame_overlap
from speechkit.slue.metrics.classification import labels_above, score_label_sets, score_labels
from speechkit.slue.metrics.entities import score_entities
from speechkit.slue.metrics.entity_tags import COMBINED_OF, COMBINED_SYMBOLS, END_SYMBOL, RAW_SYMBOLS
from speechkit.slue.metrics.entity_text import mark_entities, parse_entities, tag_words
from speechkit.slue.metrics.localisation import _frame_compat, read_marked, score_localisation, tune_offset
from speechkit.slue.metrics.measures import slue_score
from speechkit.slue.systems.entity_decoding import spans_of_symbols


def check_prf(score, prefix, expected, f1="f1"):
    for part, key in (("precision", "precision"), ("recall", "recall"), ("f1", f1)):
        value = score.measures[f"{prefix}{part}"].value
        assert value == pytest.approx(expected[key], abs=1e-12), (prefix, part)


def test_tables_are_the_published_ones(golden):
    tables = golden["meta"]["tables"]
    assert tables["raw_entity_to_symbol"] == RAW_SYMBOLS
    assert tables["combined_entity_to_symbol"] == COMBINED_SYMBOLS
    assert {raw: tag or "DISCARD" for raw, tag in COMBINED_OF.items()} == tables["raw_to_combined"]
    assert tables["entity_end_symbol"] == END_SYMBOL


def test_entity_scores(golden, plain):
    cases = [*golden["ner_scores"], golden["realistic"]["ner_earnings21_google_oracle_tagger"]]
    for case in cases:
        gold, predicted = ([[tuple(e) for e in row] for row in case[side]] for side in ("gt", "pred"))
        score = score_entities(gold, predicted, tags="raw", compat=True, resampling=plain)
        assert score.mode == "compat"
        for level, prefix in (("f1", ""), ("label_f1", "label_")):
            expected = case["expected"][level]
            check_prf(score, prefix, expected["overall_micro"], "fscore")
            check_prf(score, f"{prefix}macro_", expected["overall_macro"], "fscore")
            tags = {tag: e for tag, e in expected.items() if not tag.startswith("overall")}
            for tag, e in tags.items():
                found = score.classes[tag if level == "f1" else f"{tag} (label)"]
                assert (found.precision, found.recall, found.f1) == pytest.approx(
                    (e["precision"], e["recall"], e["fscore"]), abs=1e-12
                )
            assert len(score.classes) == 2 * len(tags)
    assert len(cases) == 14


def test_entities_where_there_are_none_have_no_macro_mean(golden, plain):
    case = golden["ner_all_empty"]
    score = score_entities(case["gt"], case["pred"], resampling=plain)
    assert score.value == 0
    assert score.measures["macro_f1"].value is None
    assert case["expected"]["overall_macro"]["fscore"] is None


def test_end_to_end_transcripts_are_parsed_alike(golden):
    for case in golden["e2e_parse"]:
        for line, expected in zip(case["lines"], case["expected"], strict=True):
            found = parse_entities(line, tags=case["eval_label"])
            if case["score_type"] == "label":
                found = [(tag, "phrase") for tag, _ in found]
            numbered = [[tag, phrase, found[: i + 1].count((tag, phrase))] for i, (tag, phrase) in enumerate(found)]
            assert sorted(numbered) == sorted(expected), line


def test_texts_become_tags_and_words_alike(golden):
    import ast

    for case in golden["text_ner_prep"]:
        spans = [tuple(span) for span in ast.literal_eval(case["ner"]) or []]
        tagged = tag_words(case["text"], spans, tags=case["label_type"])
        assert [list(pair) for pair in tagged] == case["expected_bio"], case["text"]
        marked = mark_entities(tagged, symbols=case["label_type"])
        assert marked == case["expected_wrd"]


def test_localisation_scores(golden, plain):
    cases = [*golden["nel_scores"], golden["realistic"]["nel_earnings21"]]
    for case in cases:
        alignments = {key: read_marked(words) for key, words in case["word_alignments"].items()}
        score = score_localisation(alignments, case["pred"], case["gt_entities"], compat=True, resampling=plain)
        check_prf(score, "frame_", case["expected"]["frame"])
        for rho, expected in case["expected"]["word"].items():
            check_prf(score, f"word_{float(rho):g}_", expected)
    assert len(cases) == 17


def test_times_become_frames_as_the_toolkit_cuts_them(golden):
    assert [_frame_compat(seconds) for seconds, _ in golden["nel_convert"]] == [f for _, f in golden["nel_convert"]]


def test_the_offset_is_tuned_alike(golden):
    case = golden["realistic"]["nel_earnings21"]
    alignments = {key: read_marked(words) for key, words in case["word_alignments"].items()}
    chosen = tune_offset(alignments, {"only": case["pred"]}, case["gt_entities"], compat=True)
    expected = golden["realistic"]["nel_offset_sweep_frame_f1"]
    assert [(offset, f1) for _, offset, f1 in chosen.tried] == [
        (offset, pytest.approx(f1, abs=1e-12)) for offset, f1 in expected
    ]
    assert [chosen.offset, chosen.frame_f1] == pytest.approx(golden["realistic"]["nel_best_offset"], abs=1e-12)


def test_ctc_frames_become_spans_alike(golden):
    for case in golden["nel_ctc_spans_e2e"]:
        found = spans_of_symbols(
            case["chars"], case["durations"], include_blank=case["include_blank"], offset=case["offset"]
        )
        assert [list(span) for span in found] == [
            [p, pytest.approx(a), pytest.approx(b)] for p, a, b in case["expected"]
        ]


def check_percent(score, expected):
    for name in ("macro", "weighted"):
        given = next(value for key, value in expected.items() if key.startswith(name))
        for part in ("precision", "recall", "f1"):
            assert 100 * score.measures[f"{name}_{part}"].value == pytest.approx(given[part], abs=1e-9)


def test_sentiment_scores(golden, plain):
    for case in golden["sentiment"]:
        gold, predicted = ([case["labels"][index] for index in case[side]] for side in ("gt", "pred"))
        score = score_labels(gold, predicted, case["labels"], compat=True, resampling=plain)
        check_percent(score, case["expected_percent"])
        seen = [label for label in case["labels"] if label in {*gold, *predicted}]
        own = [100 * score.classes[label].f1 for label in seen]
        assert own == pytest.approx(case["expected_percent"]["per_class_f1"], abs=1e-9)


def test_dialog_act_scores_and_threshold(golden, plain):
    for case in golden["dialog_acts"]:
        for compat in (True, False):
            score = score_label_sets(case["gt"], case["pred"], case["labels"], compat=compat, resampling=plain)
            check_percent(score, case["expected_percent"])
        own = [100 * score.classes[label].f1 for label in case["labels"]]
        assert own == pytest.approx(case["expected_percent"]["per_class_f1"], abs=1e-9)
    case = golden["dialog_acts_threshold"]
    chosen = labels_above(case["logits"], ["a", "b", "c"])
    assert [int(name in chosen) for name in "abc"] == case["expected"]


def test_answers(golden):
    for case in golden["qa_frame_f1"]["cases"]:
        assert frame_overlap(case["pred"], case["gold"])[0] == pytest.approx(case["expected"], abs=1e-12)


def test_the_slue_score_reproduces_the_leaderboard(golden):
    for case in golden["slue_score"]:
        given = {key: case[key] for key in ("wer_voxpopuli", "wer_voxceleb", "sentiment_macro_f1", "ner_micro_f1")}
        assert slue_score(**given) == pytest.approx(case["expected"], abs=1e-9)
        assert abs(slue_score(**given) - case["published"]) <= 0.0501
