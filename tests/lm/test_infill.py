"""Claims about cutting out and filling in: what is put back is what was cut, and nothing cut stands elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.lm.objectives.infill import MixtureConfig, cut_out, draw_spans, infill_prompt, put_back
from speechkit.lm.vocabulary import UnitVocabulary
from tests.lm.planted_networks import UNITS

VOCABULARY = UnitVocabulary(UNITS, spans=4)


@settings(max_examples=200, deadline=None)
@given(st.integers(8, 120), st.integers(0, 10_000))
def test_spans_lie_in_order_at_least_one_unit_apart(units, seed):
    config = MixtureConfig(infill=1.0)
    spans = draw_spans(units, VOCABULARY.spans, config, np.random.default_rng(seed))
    assert len(spans) <= VOCABULARY.spans
    ends = [end for _, end in spans]
    assert all(begin < end for begin, end in spans)
    assert all(begin > end for (begin, _), end in zip(spans[1:], ends, strict=False))
    assert not spans or (spans[0][0] >= 0 and ends[-1] <= units)
    assert sum(end - begin for begin, end in spans) <= max(1, units * config.most_cut)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=8, max_size=60), st.integers(0, 10_000))
def test_putting_back_undoes_cutting_out(units, seed):
    spans = draw_spans(len(units), VOCABULARY.spans, MixtureConfig(infill=1.0), np.random.default_rng(seed))
    tokens = cut_out(units, spans, VOCABULARY)
    assert put_back(tokens, VOCABULARY) == units
    head = tokens[: tokens.index(VOCABULARY.separator)] if spans else tokens
    cut = sum(end - begin for begin, end in spans)
    assert sum(token < VOCABULARY.boundary for token in head) == len(units) - cut
    assert max(tokens) < VOCABULARY.size
    for number, (begin, end) in enumerate(spans):
        prompt = infill_prompt(units, spans, number, VOCABULARY)
        assert tokens[: len(prompt)] == prompt
        assert tokens[len(prompt) :][: end - begin + 1] == [*units[begin:end], VOCABULARY.end_of_span]


def test_short_sequences_stay_whole():
    assert draw_spans(5, 4, MixtureConfig(infill=1.0), np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    "wrong", [{"infill": 0.8, "prefix": 0.8}, {"least_cut": 0.6}, {"shortest_span": 9, "longest_span": 4}]
)
def test_shares_beyond_the_whole_and_ranges_from_top_to_bottom_are_refused(wrong):
    with pytest.raises(ConfigError, match="at most"):
        MixtureConfig(**wrong)


def test_what_was_not_filled_is_said():
    tokens = cut_out(list(range(7)) * 2, [(2, 4), (8, 9)], VOCABULARY)
    with pytest.raises(UserError, match="span 1 is masked and not filled"):
        put_back(tokens[:-3], VOCABULARY)
    with pytest.raises(UserError, match="has no end"):
        put_back(tokens[:-1], VOCABULARY)
    with pytest.raises(UserError, match="train it with more spans"):
        infill_prompt([1, 2, 3], [(0, 1)], 0, UnitVocabulary(UNITS))
