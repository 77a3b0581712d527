"""Files of every published form are scored by id; what does not fit is an error that says where."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from speechkit.cli.slue import app
from speechkit.errors import UserError
from speechkit.report.slue_page import render_slue_page
from speechkit.slue.fields import Options
from speechkit.slue.rows import literal, read_rows
from speechkit.slue.scoring import score_files
from speechkit.slue.tasks import TASKS


def value(comparison, name=None, system=0):
    return comparison.systems[system].score.measures[name or comparison.main].value


@pytest.fixture
def write(tmp_path):
    def call(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return call


VOXPOPULI = """id\traw_text\tnormalized_text\tspeaker_id\tsplit\traw_ner\tnormalized_ner
u1\tWe met in Rome.\twe met in rome\t7\tdev\t[['GPE', 10, 4]]\t[['GPE', 10, 4]]
u2\tHe said: "no".\the said no\t8\tdev\tNone\tNone
u3\tToday, the EU.\ttoday the eu\t9\tdev\t[['DATE', 0, 5], ['ORG', 11, 2]]\t[['DATE', 0, 5], ['ORG', 10, 2]]
"""
SUBMISSION = """id\tpred_text\tpred_ner
u3\ttoday the eu\t[['DATE', 'today'], ['ORG', 'eu'], ['ORG', 'eu']]
u1\twe met in rome\t[['GPE', 'rome']]
u2\the said no\tNone
"""


def test_a_submission_is_scored_against_the_released_table(write):
    found = score_files("ner", write("dev.tsv", VOXPOPULI), [str(write("mine.tsv", SUBMISSION))])
    assert value(found, "precision") == pytest.approx(3 / 4)
    assert value(found, "recall") == 1
    assert found.worst[0].id == "u3"
    assert found.worst[0].gold == "DATE: today, ORG: eu"
    assert any("from 3 units only" in w for w in found.warnings)


def test_symbols_in_transcripts_and_the_manifest_beside_them_name_utterances(write):
    write("manifest/dev.tsv", "/data/dev\nu1.ogg\t100\nu2.ogg\t200\nu3.ogg\t300\n")
    reference = write("manifest/e2e_ner/dev.raw.wrd", "we met in % rome ]\n\n@ today ] the ` eu ]\n")
    assert [row.id for row in read_rows(reference)] == ["u1", "u2", "u3"]
    guesses = write(
        "hyp.jsonl", [{"id": f"u{i}", "pred_text": t} for i, t in ((1, "% rome ]"), (2, ""), (3, "` eu ]"))]
    )
    found = score_files("ner", reference, [str(guesses)])
    assert value(found, "recall") == pytest.approx(2 / 3)


def test_sentiment_leaves_out_what_is_no_sentiment_and_counts_it(write):
    reference = write(
        "dev.tsv",
        "id\tnormalized_text\tsentiment\tspeaker_id\na\tx\tPositive\ts1\nb\ty\tDisagreement\ts1\nc\tz\tNeutral\ts2\n",
    )
    guesses = write("hyp.tsv", "id\tpred_sentiment\na\tPositive\nb\tNeutral\nc\tPositive\n")
    found = score_files("sentiment", reference, [str(guesses)], by="speaker")
    assert found.utterances == 2
    assert found.units == 2
    assert found.notes == ["1 references are not part of the task and were left out (sentiment Disagreement)"]
    assert value(found) == pytest.approx((0 + 0 + 2 / 3) / 3)
    compat = score_files("sentiment", reference, [str(guesses)], options=Options(compat=True))
    assert compat.mode == "compat"
    assert value(compat) == pytest.approx((0 + 2 / 3) / 2)


def test_dialog_acts_come_as_lists_or_lines_and_are_named_by_their_milliseconds(write):
    head = "issue_id\tspeaker_id\tchannel\tstart_ms\tduration_ms\ttext\tdialog_acts\n"
    reference = write("dev.tsv", head + "c1\t1\t0\t100\t50\thi\t['thanks', 'self']\nc1\t2\t1\t200\t50\tyes\t[]\n")
    guesses = [{"id": "c1_100_150", "pred_dialog_acts": ["thanks"]}, {"id": "c1_200_250", "pred_dialog_acts": []}]
    found = score_files("dialog_acts", reference, [str(write("hyp.jsonl", guesses))], by="call")
    assert value(found) == pytest.approx(1 / 18)
    assert any("1 unit is too few" in w for w in found.warnings)
    lines = write("dev.da", "thanks,self\n\n")
    assert TASKS["dialog-acts"].gold(read_rows(lines)[0], Options()) == ["self", "thanks"]


def test_questions_take_hugging_face_columns(write):
    spans = {"answer": ["x", "x"], "start_second": [1.0, 5.0], "end_second": [2.0, 6.0]}
    reference = write("qa.jsonl", [{"question_id": "q1", "answer_spans": spans}])
    guesses = write("hyp.jsonl", [{"question_id": "q1", "pred_span": [5.0, 6.0]}])
    assert value(score_files("qa", reference, [str(guesses)])) == 1
    table = write("hyp.tsv", "id\tpred_start\tpred_end\nq1\t1.5\t2.5\n")
    assert value(score_files("qa", reference, [str(table)])) == pytest.approx(0.5)


def test_a_summary_is_title_and_abstract(write):
    reference = write("ted.tsv", "id\tspeaker\ttitle\tabstract\tt\n1\tx\ta b\tc d\tt\n")
    guesses = write("hyp.tsv", "id\tpred_summary\n1\ta b [sep] c d\n")
    assert value(score_files("summarisation", reference, [str(guesses)])) == 1
    assert value(score_files("summarisation", reference, [str(guesses)], options=Options(compat=True))) == 1


def test_localisation_reads_the_toolkits_files_and_milliseconds(write):
    words = {"u": [["in", 0, 1], ["#rome", 1, 2], ["", 2, 3]], "v": [["no", 0, 1]]}
    reference = write("dev_tagged_word_alignments.json", json.dumps(words))
    write("dev_entity_alignments.csv", "id,entity_phrase,start,end,entity_label\nu,rome,1,2,GPE\n")
    guesses = write("hyp.json", json.dumps({"u": [["rome", 1.0, 2.0]], "v": []}))
    pairs = write("other_ms.json", json.dumps({"u": [[1000, 1500]], "v": []}))
    found = score_files("localisation", reference, [str(guesses), str(pairs)])
    assert value(found) == 1
    assert value(found, system=1) == pytest.approx(2 / 3)
    assert found.pairs[0].difference == pytest.approx(1 / 3)
    manifest = [
        {
            "id": "u",
            "alignment": {"word": [["in", 0, 1], ["rome", 1, 1]]},
            "custom": {"entity_spans": [["rome", 1, 2]]},
        }
    ]
    found = score_files("localisation", write("ref.jsonl", manifest), [str(write("one.json", '{"u": [[1, 2]]}'))])
    assert (value(found), value(found, "word_1_f1")) == (1, 1)


def test_paired_differences_use_the_same_draws(write):
    labels = ["Neutral", "Positive", "Negative"]
    rows = [{"id": str(i), "sentiment": labels[i % 3]} for i in range(60)]
    good = [{"id": str(i), "pred_sentiment": labels[i % 3 if i % 10 else 0]} for i in range(60)]
    bad = [{"id": str(i), "pred_sentiment": labels[i % 3 if i % 2 else 0]} for i in range(60)]
    files = [str(write("good.jsonl", good)), f"same={write('same.jsonl', good)}", str(write("bad.jsonl", bad))]
    found = score_files("sentiment", write("ref.jsonl", rows), files)
    pairs = {(p.first, p.second): p for p in found.pairs}
    assert pairs["good", "same"].difference == 0
    assert pairs["good", "same"].p_value == 1
    assert pairs["good", "bad"].interval.low > 0
    assert pairs["good", "bad"].holm_p < 0.05
    assert all(system.score.draws == [] for system in found.systems)


BAD = {
    "mismatched ids": ("ner", VOXPOPULI, SUBMISSION.replace("u3", "u4"), "lacks 1 of 3 utterances"),
    "twice": ("ner", VOXPOPULI, SUBMISSION.replace("u3", "u1"), "hyp.tsv:3: duplicate id u1"),
    "utf-16": ("ner", VOXPOPULI, SUBMISSION.encode("utf-16"), "hyp.tsv:1: is UTF-16, not UTF-8"),
    "latin-1": ("ner", VOXPOPULI, SUBMISSION.replace("eu", "é").encode("latin-1"), "is not UTF-8"),
    "tag": ("ner", VOXPOPULI, SUBMISSION.replace("GPE", "CITY"), "hyp.tsv:3: u1: 'CITY' is not an entity tag"),
    "no list": ("ner", VOXPOPULI, SUBMISSION.replace("[['GPE', 'rome']]", "rome("), "is neither a list nor None"),
    "no entity": ("ner", VOXPOPULI, SUBMISSION.replace("['GPE', 'rome']", "3"), "3 is not an entity"),
    "overlap": ("ner", VOXPOPULI.replace("['ORG', 10, 2]", "['ORG', 2, 6]"), SUBMISSION, "ref.tsv:4: u3: entity ORG"),
    "reversed": ("ner", VOXPOPULI.replace("['ORG', 10, 2]", "['ORG', 10, -2]"), SUBMISSION, "is outside the text"),
    "cells": ("ner", VOXPOPULI, SUBMISSION + "u5\tx\n", "hyp.tsv:5: has 2 cells, the header 3"),
    "empty": ("ner", "id\tnormalized_ner\n", SUBMISSION, "ref.tsv: contains no rows; the split is empty"),
    "label": ("sentiment", "id\tsentiment\na\tGood\n", "id\tpred_sentiment\na\tNeutral\n", "a: unknown label 'Good'"),
    "no task": ("emotion", VOXPOPULI, SUBMISSION, "'emotion' is not a task; use one of ner"),
    "no field": ("sentiment", VOXPOPULI, SUBMISSION, "ref.tsv:2: u1 has no label"),
    "no id": ("ner", VOXPOPULI.replace("id\t", "x\t", 1), SUBMISSION, "ref.tsv:2: has no id"),
    "skipped": ("sentiment", "id\tsentiment\na\t<mixed>\n", "id\tpred_sentiment\na\tNeutral\n", "no rows to score"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_that_says_where(write, name):
    task, reference, guesses, why = BAD[name]
    files = write("ref.tsv", reference), [str(write("hyp.tsv", guesses))]
    with pytest.raises(UserError) as error:
        score_files(task, *files)
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_of_a_hundred_megabytes_is_refused(write, tmp_path):
    long = tmp_path / "long.jsonl"
    with long.open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    for name, why in (
        ("long.jsonl", "long.jsonl:1"),
        ("long.tsv", "longer than 16 MiB"),
        ("long.json", "larger than 64"),
    ):
        long = long.rename(tmp_path / name)
        with pytest.raises(UserError, match=why):
            score_files("localisation", long, [str(long)])
    with pytest.raises(UserError, match="longer than 1 MiB"):
        literal("[" * 2_000_000, "here", "labels")
    with pytest.raises(UserError, match="neither a list nor None"):
        literal("[" * 100_000, "here", "labels")
    with pytest.raises(UserError, match="neither a list nor None"):
        literal("__import__('os').getcwd()", "here", "labels")


def test_missing_predictions_count_as_empty_or_are_dropped_as_told(write):
    reference, partial = write("ref.tsv", VOXPOPULI), write("hyp.tsv", SUBMISSION.replace("u1\t", "zz\t"))
    empty = score_files("ner", reference, [str(partial)], missing="empty")
    assert empty.utterances == 3
    assert value(empty, "recall") == pytest.approx(2 / 3)
    assert len(empty.notes) == 2
    dropped = score_files("ner", reference, [str(partial)], missing="drop")
    assert (dropped.utterances, value(dropped, "recall")) == (2, 1)
    sentiments = write("s.tsv", "id\tsentiment\na\tNeutral\nb\tNeutral\n")
    one = write("one.tsv", "id\tpred_sentiment\na\tNeutral\n")
    assert value(score_files("sentiment", sentiments, [str(one)], missing="empty"), "accuracy") == 0.5


def test_the_command_prints_a_table_and_writes_json_and_a_page(write, tmp_path):
    reference = write("ref.tsv", VOXPOPULI.replace("we met in rome", "we <b>met</b> <script>alert(1)</script>"[:14]))
    evil = "<script>alert(1)</script>"
    guesses = write("hyp.tsv", SUBMISSION.replace("'rome'", f"'{evil}'"))
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["score", "ner", str(reference), str(guesses), f"b={guesses}", "--out", str(out)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "corrected definitions" in done.output
    scores = json.loads((out / "scores.json").read_text())
    assert scores["systems"][0]["score"]["settings"] == {"tags": "combined", "macro over": "tags of the references"}
    page = (out / "report.html").read_text()
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page
    as_json = CliRunner().invoke(app, ["score", "ner", str(reference), str(guesses), "--json"], catch_exceptions=False)
    assert json.loads(as_json.output)["main"] == "f1"


def test_the_overall_score_and_the_list_of_tasks():
    given = ["--wer-voxpopuli", "9.3", "--wer-voxceleb", "11.1", "--sentiment", "65.5", "--ner", "71.8"]
    assert CliRunner().invoke(app, ["overall", *given]).output.strip() == "75.70"
    assert list(json.loads(CliRunner().invoke(app, ["tasks", "--json"]).output)) == list(TASKS)


def test_answers_as_text_take_the_best_gold_answer_and_ignore_case_marks_and_articles(write):
    gold = {"id": "q1", "answers": {"text": ["The Denver Broncos", "Broncos"], "answer_start": [177, 184]}}
    more = {"id": "q2", "answers": ["Santa Clara, California"]}
    reference = write("ref.jsonl", [gold, more])
    guesses = [{"id": "q1", "pred_answer_text": "broncos"}, {"id": "q2", "pred_answer_text": "in santa clara"}]
    found = score_files("qa-text", reference, [str(write("hyp.jsonl", guesses))])
    assert value(found, "exact_match") == 0.5
    assert value(found, "word_f1") == pytest.approx((1 + 2 / 3) / 2)


def test_entities_of_other_corpora_keep_their_tags_when_any_is_said(write):
    reference = write("ref.jsonl", [{"id": "a", "text": "wake me at five", "ner": [["time", 11, 4]]}])
    hypothesis = write("hyp.jsonl", [{"id": "a", "pred_ner": [["time", "five"]]}])
    assert value(score_files("ner", reference, [str(hypothesis)], options=Options(tags="any")), "f1") == 1
    with pytest.raises(UserError, match="'time' is not an entity tag"):
        score_files("ner", reference, [str(hypothesis)])


def test_the_score_of_entities_says_what_recognition_did_to_them(write, tmp_path):
    reference = write("ref.tsv", VOXPOPULI)
    wrong = write("wrong.tsv", SUBMISSION.replace("met in rome", "met in roma").replace("'rome'", "'<b>roma'"))
    found = score_files("ner", reference, [str(wrong)])
    entities = found.entities["wrong"]
    assert (entities.total("exact"), entities.total("near miss"), entities.gold) == (2, 1, 3)
    page = render_slue_page(tmp_path / "report.html", found).read_text()
    assert "Entities after recognition" in page
    assert "<b>roma" not in page
    without = write("without.tsv", "id\tpred_ner\nu1\tNone\nu2\tNone\nu3\tNone\n")
    assert score_files("ner", reference, [str(without)]).entities == {}


def test_rows_of_text_without_the_option_for_them_are_told_of_it(write, tmp_path):
    rows = write("rows.jsonl", [{"id": "a", "text": "turn it on", "intent": "on"}])
    done = CliRunner().invoke(app, ["predict", "intent", str(rows), "--model", "m", "--out", str(tmp_path / "o.jsonl")])
    assert isinstance(done.exception, UserError)
    assert "add --text to predict from its texts" in str(done.exception)


def test_training_that_is_stopped_says_how_it_goes_on(write, tmp_path, monkeypatch):
    from speechkit.slue.systems import endtoend

    asked = {}

    def stopped(task, manifest, folder, config, **options):
        asked.update(save_every=config.loop.save_every, stop=options["should_stop"]())
        return False

    monkeypatch.setattr(endtoend, "train_system", stopped)
    done = CliRunner().invoke(
        app, ["train", "intent", str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "s"), "--evaluate-every", "20"]
    )
    assert done.exception.exit_code == 130
    assert "the same command resumes from it" in str(done.exception)
    assert asked == {"save_every": 20, "stop": False}
