from __future__ import annotations

import pytest

from speechkit.errors import ConfigError, UserError
from speechkit.metrics import word_errors
from speechkit.metrics.alternatives import Alternatives
from speechkit.metrics.comparison import compare, length_bin
from speechkit.metrics.confusions import confusions, only_under
from speechkit.metrics.gates import failures, parse_gate
from speechkit.metrics.rate_tables import LENGTH_NAMES
from speechkit.metrics.sides import match_sides, name_systems, read_sides
from speechkit.metrics.significance import shown_p
from speechkit.metrics.transcripts import Transcript


def sides(reference, systems, **fields):
    return match_sides(
        [Transcript(i, t, **{k: v[i] for k, v in fields.items()}) for i, t in reference.items()],
        {n: [Transcript(i, t) for i, t in texts.items()] for n, texts in systems.items()},
    )


REFERENCE = {str(i): "It costs ten, dollars" for i in range(30)}
CASED = {str(i): "It costs ten, x" for i in range(30)}  # one error of meaning
LOWER = {str(i): "it costs ten dollars" for i in range(30)}  # two errors of form


def test_a_ranking_that_the_normaliser_flips_is_said():
    found = compare(sides(REFERENCE, {"cased": CASED, "lower": LOWER}))
    names = [(t.normalizer.name, t.ranking) for t in found.comparison.tables]
    assert names == [("none", ["cased", "lower"]), ("simple", ["lower", "cased"])]
    flip = found.comparison.flips[0]
    assert (flip.better, flip.worse, flip.normalizer, flip.other) == ("cased", "lower", "none", "simple")
    assert compare(sides(REFERENCE, {"a": CASED, "b": CASED})).comparison.flips == []


def test_an_order_that_chance_explains_is_counted_and_not_said_one_by_one():
    worse = {**REFERENCE, "0": "It costs ten, x", "1": "It costs ten, x"}  # two errors of meaning
    form = {**REFERENCE, "2": "it costs Ten, dollars", "3": "It costs ten dollars"}  # three of form
    comparison = compare(sides(REFERENCE, {"meaning": worse, "form": form})).comparison
    assert [t.ranking[0] for t in comparison.tables] == ["meaning", "form"]
    assert comparison.flips == []
    assert comparison.notes == ["1 pair changes its order with the normaliser, none significantly"]


def test_speakers_are_drawn_where_ten_or_more_are_known():
    def drawn(count, **options):
        speakers = {i: f"s{int(i) % count}" for i in REFERENCE}
        comparison = compare(sides(REFERENCE, {"a": CASED}, speaker=speakers), **options).comparison
        return comparison.by, comparison.units

    assert drawn(10) == ("speaker", 10)
    assert drawn(9) == ("utterance", 30)
    assert drawn(10, by="utterance") == ("utterance", 30)
    assert compare(sides(REFERENCE, {"a": CASED})).comparison.by == "utterance"


def test_tables_go_from_the_best_and_eleven_systems_can_differ():
    from speechkit.report.score_tables import rates_table

    reference = {str(i): "one two three four" for i in range(60)}
    systems = {
        f"s{n:02}": {i: " ".join(["x"] * min(4, n * (1 + int(i) % 3) // 8) + ["one"] * 4)[:18] for i in reference}
        for n in range(10, -1, -1)
    }
    table = compare(sides(reference, systems | {"best": reference})).comparison.tables[0]
    assert [row[0] for row in rates_table(table, 0.95).rows] == table.ranking
    assert table.ranking[0] == "best"
    against = [pair for pair in table.pairs if pair.second == "best"]
    assert all(pair.holm_p < 1e-3 for pair in against)
    assert all(pair.matched_pairs_holm_p >= pair.matched_pairs.p_value for pair in table.pairs)


def test_counts_are_those_of_word_errors_and_breakdowns_sum_to_the_whole():
    speakers = {i: f"s{int(i) % 3}" for i in REFERENCE}
    recordings = {i: f"c{int(i) % 4}" for i in REFERENCE}
    groups = {i: {"lang": "en" if int(i) % 2 else "de"} for i in REFERENCE}
    given = sides(REFERENCE, {"a": CASED}, speaker=speakers, recording=recordings, groups=groups)
    found = compare(given, normalizers=["simple"], groups=["lang"], by="call").comparison
    assert [t.normalizer.name for t in found.tables] == ["simple", "none"]
    system = found.tables[0].systems[0]
    assert system.wer.rate == word_errors(REFERENCE, CASED, normalizer="simple").rate
    for parts in (system.speakers, system.lengths, system.groups["lang"]):
        assert sum(p.substitutions for p in parts.values()) == system.wer.substitutions == 30
        assert sum(p.tokens for p in parts.values()) == system.wer.tokens
    assert list(system.speakers) == ["s0", "s1", "s2"]
    assert found.units == 4
    assert found.warnings == ["only 4 calls: intervals and p-values are rough under 20"]
    with pytest.raises(UserError, match=r"no reference.*field 'accent'.*lang"):
        compare(given, groups=["accent"])
    with pytest.raises(UserError, match="has no speaker"):
        compare(sides(REFERENCE, {"a": CASED}), by="speaker")


def test_one_unit_has_no_interval_and_says_so():
    found = compare(sides({"u": "a b"}, {"a": {"u": "a"}, "b": {"u": "b b"}})).comparison
    assert found.tables[0].systems[0].wer.interval is None
    assert found.tables[0].pairs[0].bootstrap is None
    assert "no interval" in found.warnings[0]


def test_braces_that_nobody_asked_to_read_are_said():
    given = sides({str(i): "a { b / c }" for i in range(3)}, {"a": {str(i): "a c" for i in range(3)}})
    assert "--alternatives braces" in compare(given).comparison.notes[0]
    read = compare(given, alternatives=Alternatives(braces=True)).comparison
    assert read.notes == []
    assert read.tables[0].systems[0].wer.rate == 0


def test_p_values_are_short():
    assert [shown_p(p) for p in (None, 0.0, 0.04321)] == ["–", "<1e-16", "0.043"]


def test_every_length_has_one_bin():
    assert [length_bin(n) for n in (0, 1, 5, 6, 40, 160, 161, 9999)] == [
        "0",
        "1-5",
        "1-5",
        "6-10",
        "21-40",
        "81-160",
        "161+",
        "161+",
    ]
    assert len(set(LENGTH_NAMES)) == len(LENGTH_NAMES)


def test_missing_hypotheses_stop_count_as_empty_or_drop_for_every_system():
    reference = [Transcript(i, "a b") for i in "xyz"]
    systems = {"full": [Transcript(i, "a b") for i in "xyz"], "part": [Transcript(i, "a b") for i in "xyq"]}
    with pytest.raises(UserError, match=r"part: lacks 1 of 3 utterances \(z\).*1.*reference lacks \(q\)"):
        match_sides(reference, systems)
    empty = match_sides(reference, systems, missing="empty")
    assert empty.hypotheses["part"] == {"x": "a b", "y": "a b", "z": ""}
    assert len(empty.notes) == 2
    dropped = match_sides(reference, systems, missing="drop")
    assert [t.id for t in dropped.references] == ["x", "y"]
    assert dropped.hypotheses["full"] == {"x": "a b", "y": "a b"}
    with pytest.raises(UserError, match=r"none.*3 ids"):
        match_sides(reference, {"other": [Transcript("q", "a")]}, missing="drop")


def test_an_id_that_stands_twice_is_an_error_on_either_side():
    twice = [Transcript("x", "a"), Transcript("x", "b")]
    for reference, hypothesis in ((twice, twice[:1]), (twice[:1], twice)):
        with pytest.raises(UserError, match="duplicate id x"):
            match_sides(reference, {"a": hypothesis}, missing="drop")


def test_an_unknown_normaliser_is_said():
    with pytest.raises(ConfigError, match="did you mean 'simple'"):
        compare(sides(REFERENCE, {"a": CASED}), normalizers=["none", "simpel"])


def test_systems_are_named_by_what_tells_them_apart(tmp_path):
    assert list(name_systems(["out/google.trn", "out/rev.trn.gz"])) == ["google", "rev"]
    assert list(name_systems(["exp/a/text", "exp/b/text"])) == ["a", "b"]
    assert list(name_systems(["a/x/text", "b/x/text", "mine=b/x/text2"])) == ["a", "b", "mine"]
    with pytest.raises(UserError, match="name of two hypotheses"):
        name_systems(["text", "text"])


def test_words_of_a_ctm_go_into_the_segments_of_an_stm(tmp_path):
    (tmp_path / "ref.stm").write_text(
        ";; comment\n"
        "call A anna 0.0 2.0 <o,f0,female> hello there\n"
        "call A ben 2.5 4.0 good day\n"
        "call A x 4.0 6.0 IGNORE_TIME_SEGMENT_IN_SCORING\n"
        "call B ben 0.0 2.0 other side\n"
    )
    (tmp_path / "hyp.ctm").write_text(
        "call A 0.5 0.4 hello 0.9\ncall A 2.1 0.2 lost\ncall A 2.6 0.4 good\ncall A 4.5 0.5 noise\ncall B 1 0.5 other\n"
    )
    found = read_sides(tmp_path / "ref.stm", [str(tmp_path / "hyp.ctm")])
    assert found.hypotheses["hyp"] == {
        "call-0.000-2.000": "hello lost",
        "call-2.500-4.000": "good",
        "call-B-0.000-2.000": "other",
    }
    assert [t.speaker for t in found.references] == ["anna", "ben", "ben"]
    assert found.references[0].groups == {"labels": "o,f0,female"}
    assert any("1 words are in segments that the stm marks as ignored" in n for n in found.notes)
    assert any("1 words are outside all segments" in n for n in found.notes)
    (tmp_path / "whole").write_text("call hello there good day\ncall-B other side\n")
    whole = read_sides(tmp_path / "ref.stm", [str(tmp_path / "whole")])
    assert [(t.id, t.text) for t in whole.references] == [("call", "hello there good day"), ("call-B", "other side")]
    assert whole.hypotheses["whole"]["call"] == "hello there good day"


def test_a_reference_that_is_scored_against_itself_is_said(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "a", "text": "x", "pred_text": "y"}\n{"id": "b", "text": "x", "pred_text": "x"}\n')
    assert read_sides(path, [str(path)]).notes == []
    found = read_sides(path, [f"same={path}"], hypothesis_field="text")
    assert "is the reference itself" in found.notes[0]


def test_ids_cannot_steer_the_terminal():
    with pytest.raises(UserError) as error:
        match_sides([Transcript("x", "a"), Transcript("\x1b[2Jy", "a")], {"a": [Transcript("x", "a")]})
    assert "\x1b" not in str(error.value)


def test_gates_name_system_value_and_normaliser():
    found = compare(sides(REFERENCE, {"lower": LOWER, "cased": CASED}), normalizers=["simple"]).comparison
    assert failures(parse_gate("wer>12.5"), found) == [
        "wer of cased is 25.00 % (wer>12.5) under the normaliser simple version 1"
    ]
    assert failures(parse_gate("wer > 25"), found) == []
    assert len(failures(parse_gate("ser>=100%"), found)) == 1
    assert "cased is worse than lower by 25.00 points" in failures(parse_gate("worse"), found)[0]
    for wrong in ("wer", "wer=3", "per>3", "wer>x", ""):
        with pytest.raises(ConfigError, match="is not a condition"):
            parse_gate(wrong)
    alone = compare(sides(REFERENCE, {"a": LOWER})).comparison
    with pytest.raises(UserError, match="two hypotheses"):
        failures(parse_gate("worse"), alone)
    bare = compare(sides(REFERENCE, {"a": LOWER}), characters=False).comparison
    with pytest.raises(UserError, match="--cer"):
        failures(parse_gate("cer>1"), bare)


def test_what_only_one_normaliser_calls_wrong():
    given = sides({"u": "It costs TEN, dollars Now"}, {"a": {"u": "it costs ten pounds then"}})
    results = compare(given).results
    none, simple = (confusions(results[name]["a"]) for name in ("none", "simple"))
    assert none.substitutions == {("It", "it"): 1, ("TEN,", "ten"): 1, ("dollars", "pounds"): 1, ("Now", "then"): 1}
    assert only_under(none, simple) == [(("It", "it"), 1), (("TEN,", "ten"), 1)]
    assert only_under(simple, none) == []
    more = confusions(word_errors({"u": "a b c"}, {"u": "b c d d"}))
    assert (more.deletions, more.insertions) == ({"a": 1}, {"d": 2})
