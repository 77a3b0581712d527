import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics.alternatives import Alternatives
from speechkit.metrics.comparison import compare
from speechkit.metrics.sides import match_sides
from speechkit.metrics.transcripts import Transcript
from speechkit.text.english_numbers import cardinal, with_and


def rates(reference, hypothesis, normalizer="simple", **alternatives):
    sides = match_sides([Transcript("u", reference)], {"s": [Transcript("u", hypothesis)]})
    offered = Alternatives(**(alternatives or {"braces": True}))
    (table, *_) = compare(sides, normalizers=[normalizer], alternatives=offered, characters=True).comparison.tables
    return table.systems[0].wer.rate, table.systems[0].cer.rate


@pytest.mark.parametrize(
    "hypothesis", ["a x d", "a b y d", "a b z w d", "a d"], ids=["outer", "inner first", "inner second", "nothing"]
)
def test_braces_inside_braces_are_read(hypothesis):
    assert rates("a { x / b { y / z { w / v } } / @ } d", hypothesis) == (0, 0)


def test_a_brace_without_its_partner_is_said():
    for text in ("a { b / c", "a b / c }", "{ a / { b / c }"):
        with pytest.raises(UserError, match="unbalanced brace"):
            rates(text, "a")
    deep = "{ a / b } " * 8
    with pytest.raises(UserError, match="more than 64 alternatives"):
        rates(f"{{ {deep} / x }}", "a")


def test_braces_without_ways_are_words():
    assert rates("a {b} c", "a b c")[0] == 0


@given(st.integers(0, 10**9))
def test_a_number_is_right_in_digits_and_in_both_englishes(number):
    ways = [str(number), cardinal(str(number)), with_and(cardinal(str(number)))]
    for reference in ways:
        assert all(rates(reference, way, numbers=True) == (0, 0) for way in ways)


def test_and_is_said_in_a_number_where_it_is_said():
    assert with_and("five hundred one") == "five hundred and one"
    assert with_and("one thousand two") == "one thousand and two"
    assert (
        with_and("two million three hundred five thousand twenty")
        == "two million three hundred and five thousand and twenty"
    )
    assert with_and("twenty one") == "twenty one"
    assert rates("five hundred and and one", "501", numbers=True)[0] > 0


def test_character_errors_are_those_of_the_way_that_was_chosen():
    assert rates("{ colour / color } it", "color at") == (0.5, pytest.approx(1 / 8))


def test_hesitations_that_the_normaliser_drops_are_counted():
    sides = match_sides([Transcript("u", "uh yes <noise>")], {"s": [Transcript("u", "yes um um um")]})
    comparison = compare(sides, normalizers=["english"]).comparison
    assert comparison.tables[0].systems[0].wer.rate == 0
    assert "2 from the reference, 3 from s" in " ".join(comparison.notes)
