"""Claims about oracle error rates: a sum of fewest errors, which never rises with more hypotheses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics.error_rates import word_errors
from speechkit.metrics.oracle import oracle_error_rates

TEXTS = st.lists(st.sampled_from("abc"), max_size=5).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS.filter(bool), st.lists(TEXTS, min_size=1, max_size=5)), min_size=1, max_size=4))
def test_the_oracle_is_the_sum_of_fewest_errors_and_never_rises(pairs):
    references = {str(n): text for n, (text, _) in enumerate(pairs)}
    lists = {str(n): found for n, (_, found) in enumerate(pairs)}
    rates = oracle_error_rates(references, lists)
    first = word_errors(references, {name: found[0] for name, found in lists.items()}, normalizer="simple")
    assert (rates[0].hypotheses, rates[0].rate) == (1, first.rate)
    for rate in rates:
        fewest = sum(
            min(
                word_errors({name: references[name]}, {name: text}, normalizer="simple").counts.errors
                for text in lists[name][: rate.hypotheses]
            )
            for name in references
        )
        assert rate.errors == fewest
        assert rate.rate == fewest / rate.words
    assert [rate.rate for rate in rates] == sorted((rate.rate for rate in rates), reverse=True)
    assert rates[-1].hypotheses == max(map(len, lists.values()))


def test_texts_that_differ_by_case_alone_are_one():
    assert oracle_error_rates({"a": "one two"}, {"a": ["One two", "one TWO", "one too"]})[-1].texts == 2


def test_lists_without_reference_or_text_are_refused():
    with pytest.raises(UserError, match="b: has no reference"):
        oracle_error_rates({"a": "x"}, {"a": ["x"], "b": ["y"]})
    with pytest.raises(UserError, match="empty list"):
        oracle_error_rates({"a": "x"}, {"a": []})
    with pytest.raises(UserError, match="no word"):
        oracle_error_rates({"a": ""}, {"a": ["x"]})
