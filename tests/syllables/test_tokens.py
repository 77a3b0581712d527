"""Tokens, silence and their cost."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.syllables.tokens import Token, add_silence_tokens, token_rates

SILENCE = 99


def spans(pairs):
    found, place = [], 0
    for gap, length in pairs:
        found.append((place + gap, place + gap + length))
        place += gap + length
    return np.array(found, np.int64).reshape(-1, 2), place


def test_only_long_gaps_become_silence_and_a_long_one_is_one_token():
    boundaries = np.array([[8, 10], [17, 20], [28, 30]])
    tokens = add_silence_tokens([1, 2, 3], boundaries, 130, SILENCE)
    assert tokens == [
        Token(SILENCE, 0, 8),
        Token(1, 8, 10),
        Token(2, 17, 20),
        Token(SILENCE, 20, 28),
        Token(3, 28, 30),
        Token(SILENCE, 30, 130),
    ]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=8), st.integers(0, 12), st.integers(-1, 10))
def test_silence_stands_exactly_where_a_gap_is_longer_than_allowed(pairs, tail, longest):
    boundaries, end = spans(pairs)
    tokens = add_silence_tokens(list(range(len(pairs))), boundaries, end + tail, SILENCE, longest)
    silent = [token.end - token.start for token in tokens if token.token == SILENCE]
    assert silent == [gap for gap in [*(gap for gap, _ in pairs), tail] if gap > max(longest, 0)]
    assert [token.token for token in tokens if token.token != SILENCE] == list(range(len(pairs)))
    assert all(before.end <= after.start for before, after in pairwise(tokens))


def test_rates_of_a_case_done_by_hand():
    rows = [[Token(0, 0, 10), Token(1, 10, 20), Token(SILENCE, 20, 50)], [Token(0, 0, 25)]]
    rates = token_rates(rows, 2.0, SILENCE)
    assert rates.tokens == 4
    assert rates.silence_tokens == 1
    assert rates.used == 3
    assert rates.per_second == 2.0
    assert rates.per_second_of_speech == pytest.approx(3 / 0.9)
    assert rates.entropy == pytest.approx(1.5)
    assert rates.bits_per_second == pytest.approx(3.0)
    assert rates.conditional_entropy == pytest.approx(0.0)
    assert rates.coding_rate(3) == pytest.approx(0.5)


def test_k_equal_tokens_cost_log_k_bits():
    rows = [[Token(n, n, n + 1) for n in range(64)]]
    assert token_rates(rows, 1.0, SILENCE).entropy == pytest.approx(math.log2(64))


def test_what_has_no_tokens_is_named():
    with pytest.raises(UserError, match="2 labels for 1 segments"):
        add_silence_tokens([0, 1], np.array([[0, 1]]), 3, SILENCE)
    with pytest.raises(UserError, match="except 99"):
        add_silence_tokens([99], np.array([[0, 1]]), 3, SILENCE)
    with pytest.raises(ConfigError, match="-1 or more"):
        add_silence_tokens([], np.zeros((0, 2)), 3, SILENCE, -2)
    with pytest.raises(UserError, match="cannot compute rates"):
        token_rates([[]], 1.0, SILENCE)
