"""Keywords and entities: by hand, and against a slow count of occurrences."""

from __future__ import annotations

import json

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from speechkit.cli.score import score
from speechkit.errors import UserError
from speechkit.metrics import word_errors
from speechkit.metrics.keywords import keyword_scores, read_keywords, read_phrases
from speechkit.text import get_normalizer

SIMPLE = get_normalizer("simple")
DRAWN = {"confidence": 0.95, "resamples": 200, "seed": 0}


def scores(said, heard, phrases):
    said, heard = ({str(i): text for i, text in enumerate(side)} for side in (said, heard))
    result = word_errors(said, heard, normalizer=SIMPLE).utterances
    return keyword_scores(result, phrases, SIMPLE, units=list(said), **DRAWN)


def test_only_words_of_keywords_count():
    found = scores(
        ["call New York today", "new york is new", "bill owes ten"],
        ["call new york to day", "newark is new", "bill new york owes ten"],
        ["New York", "bill"],
    )
    # new york | new york -> newark (a substitution and a deletion) | bill, and an inserted new york
    rate = found.rate
    assert (rate.tokens, rate.hits, rate.substitutions, rate.deletions, rate.insertions) == (5, 3, 1, 1, 2)
    assert rate.rate == 4 / 5
    assert (found.right, found.reference_occurrences, found.hypothesis_occurrences) == (2, 3, 3)
    assert (found.precision.value, found.recall.value) == (2 / 3, 2 / 3)
    assert found.f1.value == pytest.approx(2 / 3)
    assert found.rate.interval.low <= found.rate.rate <= found.rate.interval.high


def test_the_longest_phrase_is_taken_and_entities_are_those_of_the_utterance():
    assert scores(["new york city"], ["new york city"], ["new york", "new york city"]).reference_occurrences == 1
    mine = scores(["paris is in paris", "paris"], ["paris is in perris", "perris"], {"0": ["Paris"]})
    assert (mine.rate.tokens, mine.rate.substitutions) == (2, 1)


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.lists(st.sampled_from("abcd"), max_size=9)] * 2), min_size=1, max_size=4))
def test_single_keywords_are_found_as_often_as_both_sides_have_them(pairs):
    said, heard = ([" ".join(pair[k]) for pair in pairs] for k in (0, 1))
    if not any(set("ab") & set(one) for one, _ in pairs):
        with pytest.raises(UserError, match="no keyword occurs in a reference"):
            scores(said, heard, ["a", "b"])
        return
    found = scores(said, heard, ["a", "b"])
    assert found.right == sum(min(one.count(k), two.count(k)) for one, two in pairs for k in "ab")
    assert found.rate.tokens == sum(one.count(k) for one, _ in pairs for k in "ab")
    everything = scores(said, heard, list("abcd"))
    assert everything.rate.rate == word_errors(said, heard).rate


def test_the_command_takes_a_list_and_a_field_of_entities(tmp_path):
    app = typer.Typer()
    app.command()(score)
    (tmp_path / "r.jsonl").write_text(
        json.dumps({"id": "a", "text": "we met Ann in Rome", "ner": [["PER", "Ann"]]}) + "\n"
    )
    (tmp_path / "h.trn").write_text("we met and in rome (a)\n")
    (tmp_path / "words").write_text("Rome\nAnn\n")
    files = [str(tmp_path / "r.jsonl"), str(tmp_path / "h.trn"), "--normalizer", "simple"]
    listed = CliRunner().invoke(app, [*files, "--keywords", str(tmp_path / "words"), "--json"])
    assert listed.exit_code == 0, listed.output
    assert json.loads(listed.stdout)["keywords"]["h"]["rate"]["rate"] == 0.5
    entities = CliRunner().invoke(app, [*files, "--entity-field", "ner"])
    assert entities.exit_code == 0, entities.output
    (shown,) = (
        line.split()
        for line in entities.stdout.splitlines()
        if line.startswith("h ") and "∞" not in line and line.split()[1] == "100.00"
    )
    assert shown == ["h", "100.00", "1", "0.00", "0.00", "0.00", "0", "1", "0"]
    both = CliRunner().invoke(app, [*files, "--entity-field", "ner", "--keywords", "x"])
    assert "give one" in str(both.exception)


def test_files_without_keywords_or_entities_are_named(tmp_path):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="has no keyword"):
        read_keywords(tmp_path / "empty")
    (tmp_path / "r.jsonl").write_text('{"id": "a", "text": "x"}\n')
    with pytest.raises(UserError, match="no row has a field 'ner'"):
        read_phrases(tmp_path / "r.jsonl", "ner")
    (tmp_path / "r.jsonl").write_text('{"id": "a", "ner": [3]}\n')
    with pytest.raises(UserError, match=r"r.jsonl:1: ner holds 3"):
        read_phrases(tmp_path / "r.jsonl", "ner")
