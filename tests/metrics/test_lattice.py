from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics import word_errors
from speechkit.metrics.alternatives import Alternatives, Ways, read_groups
from speechkit.metrics.lattice import SUBSTITUTION_AND_GAP, Choice, align_lattice
from speechkit.metrics.spellings import spelling_groups

WORDS = st.lists(st.sampled_from("abc"), max_size=6)


def cheapest(reference, hypothesis, substitution, gap):
    """The plain quadratic recursion."""
    rows = [[j * gap for j in range(len(hypothesis) + 1)]]
    for i, word in enumerate(reference, 1):
        row = [i * gap]
        for j, heard in enumerate(hypothesis, 1):
            row.append(min(rows[-1][j - 1] + (0 if word == heard else substitution), rows[-1][j] + gap, row[-1] + gap))
        rows.append(row)
    return rows[-1][-1]


def every_path(reference, choices, place=0):
    if place == len(reference):
        yield []
    else:
        for rest in every_path(reference, choices, place + 1):
            yield [reference[place], *rest]
        for choice in choices:
            if choice.begin == place:
                for rest in every_path(reference, choices, choice.end):
                    yield [*choice.words, *rest]


def cost_of(steps, weights):
    substitution, gap = SUBSTITUTION_AND_GAP[weights]
    return steps.count("s") * substitution + (steps.count("d") + steps.count("i")) * gap


@st.composite
def lattices(draw):
    reference = draw(WORDS)
    choices = []
    for _ in range(draw(st.integers(0, 3)) if reference else 0):
        begin = draw(st.integers(0, len(reference) - 1))
        end = draw(st.integers(begin + 1, len(reference)))
        choices.append(Choice(begin, end, tuple(draw(st.lists(st.sampled_from("abc"), max_size=3)))))
    return reference, choices


@settings(max_examples=200)
@given(lattices(), WORDS, st.sampled_from(["levenshtein", "sclite"]))
def test_the_chosen_path_is_the_cheapest_of_all_and_its_steps_cost_that(lattice, hypothesis, weights):
    reference, choices = lattice
    found = align_lattice(reference, choices, hypothesis, weights)
    expected = min(cheapest(p, hypothesis, *SUBSTITUTION_AND_GAP[weights]) for p in every_path(reference, choices))
    assert cost_of(found.steps, weights) == expected
    assert found.reference in list(every_path(reference, choices))
    assert len(found.steps) - found.steps.count("i") == len(found.reference)
    assert len(found.steps) - found.steps.count("d") == len(hypothesis)
    i = j = 0
    for step in found.steps:
        if step in "=s":
            assert (found.reference[i] == hypothesis[j]) == (step == "=")
        i, j = i + (step != "i"), j + (step != "d")


def test_ties_prefer_the_written_words_and_a_substitution_to_a_deletion_and_an_insertion():
    assert align_lattice(["a"], [Choice(0, 1, ("b",))], ["c"]).reference == ["a"]
    assert align_lattice(["a", "b"], [], ["c"]).steps == "ds"
    assert align_lattice(["c"], [], ["a", "b"]).steps == "is"


def test_sclite_weights_prefer_a_match_between_gaps_to_two_substitutions():
    assert align_lattice(["a", "b"], [], ["b", "c"], "sclite").steps == "d=i"
    counts = word_errors({"u": "a b"}, {"u": "b c"}, weights="sclite").counts
    assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (1, 0, 1, 1)


def test_sclite_cost_equals_the_peer():
    kaldialign = pytest.importorskip("kaldialign")
    import random

    random.seed(3)
    for _ in range(200):
        reference = random.choices("abcde", k=random.randint(0, 12))
        hypothesis = random.choices("abcde", k=random.randint(0, 12))
        theirs = kaldialign.edit_distance(reference, hypothesis, sclite_mode=True)
        ours = align_lattice(reference, [], hypothesis, "sclite").steps
        assert cost_of(ours, "sclite") == 4 * theirs["sub"] + 3 * (theirs["del"] + theirs["ins"])


def test_a_lattice_that_is_too_large_is_refused():
    with pytest.raises(UserError, match="split the recording"):
        align_lattice(["a"] * 40_000, [], ["a"] * 40_000, "sclite")
    with pytest.raises(UserError, match="alternatives end"):
        align_lattice(["a"], [Choice(0, 1, (str(n),)) for n in range(70)], ["a"])


def norm(text):
    return text.lower()


def test_braces_offer_ways_and_the_first_one_is_written():
    ways = Ways(Alternatives(braces=True), norm)
    words, choices = ways.of("It cost { twenty dollars / $20 / @ } and { @ / uh } left {no way}")
    assert words == ["it", "cost", "twenty", "dollars", "and", "uh", "left", "{no", "way}"]
    assert [(c.begin, c.end, c.words) for c in choices] == [(2, 4, ("$20",)), (2, 4, ()), (5, 6, ())]


def test_equivalent_phrases_and_numbers_are_offered_in_both_directions(tmp_path):
    (tmp_path / "groups").write_text("# spelling\ncolour\tcolor\ngoing to\tgonna\n")
    groups = read_groups(tmp_path / "groups")
    alternatives = Alternatives(numbers=True, groups=groups)
    result = word_errors(
        {"a": "gonna colour it on the twenty first of nineteen eighty four", "b": "in 2020 page 12", "c": "nineteen o"},
        {"a": "going to color it on the 21st of 1984", "b": "in twenty twenty page twelve", "c": "19 o"},
        alternatives=alternatives,
    )
    assert result.counts.errors == 0
    assert result.utterances[0].reference == result.utterances[0].hypothesis
    assert result.counts.reference_tokens == 9 + 5 + 2
    with pytest.raises(UserError, match="groups:1"):
        read_groups(_write(tmp_path / "groups", "alone\n"))


def test_british_and_american_spellings_are_one_word_and_no_other_words_are(tmp_path):
    reference = {"a": "the colour of organised theatres was okay", "b": "four years for our hour"}
    american = {"a": "the color of organized theaters was ok", "b": "for years four or hor"}
    assert word_errors(reference, american).counts.errors == 4 + 4
    result = word_errors(reference, american, alternatives=Alternatives(spellings=True))
    assert [u.counts.errors for u in result.utterances] == [0, 4]
    assert word_errors(american, reference, alternatives=Alternatives(spellings=True)).utterances[0].counts.errors == 0
    forms = [form for pair in spelling_groups() for form in pair]
    assert len(set(forms)) == len(forms)


def _write(path, text):
    path.write_text(text)
    return path


@settings(max_examples=60)
@given(WORDS, WORDS)
def test_alternatives_that_do_not_apply_change_no_count(reference, hypothesis):
    texts = {"u": " ".join(reference)}, {"u": " ".join(hypothesis)}
    assert word_errors(*texts).counts == word_errors(*texts, alternatives=Alternatives(groups=(("q", "z"),))).counts


def rule(reference, hypothesis):
    """The documented tie-breaking rule of the engine, from the full table of distances."""
    prefix = 0
    while prefix < min(len(reference), len(hypothesis)) and reference[prefix] == hypothesis[prefix]:
        prefix += 1
    rest = min(len(reference), len(hypothesis)) - prefix
    suffix = 0
    while suffix < rest and reference[len(reference) - 1 - suffix] == hypothesis[len(hypothesis) - 1 - suffix]:
        suffix += 1
    a, b = reference[prefix : len(reference) - suffix], hypothesis[prefix : len(hypothesis) - suffix]
    table = [[max(i, j) if not i or not j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(table[i - 1][j - 1] + (a[i - 1] != b[j - 1]), table[i - 1][j] + 1, table[i][j - 1] + 1)
    i, j, steps = len(a), len(b), []
    while i or j:
        if i and table[i][j] == table[i - 1][j] + 1:
            steps.append("d")
            i -= 1
        elif j and (not i or table[i][j - 1] < table[i - 1][j - 1]):
            steps.append("i")
            j -= 1
        else:
            steps.append("=" if a[i - 1] == b[j - 1] else "s")
            i, j = i - 1, j - 1
    return "=" * prefix + "".join(reversed(steps)) + "=" * suffix


@settings(max_examples=400)
@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_the_engine_breaks_ties_by_the_documented_rule(reference, hypothesis):
    found = word_errors({"u": " ".join(reference)}, {"u": " ".join(hypothesis)}).utterances[0].operations
    names = {"equal": "=", "substitute": "s", "delete": "d", "insert": "i"}
    spelled = "".join(
        names[o.kind] * max(o.reference_end - o.reference_begin, o.hypothesis_end - o.hypothesis_begin) for o in found
    )
    assert [(k, len(list(g))) for k, g in groupby(spelled)] == [
        (k, len(list(g))) for k, g in groupby(rule(reference, hypothesis))
    ]
