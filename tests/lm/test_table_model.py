"""Claims about an n-gram as a model of token sequences: it says what the n-gram says."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.errors import UserError
from speechkit.lm.ngram import UNKNOWN
from speechkit.lm.ngram_training import estimate
from speechkit.lm.table_model import NgramTable

UNITS = 6
SENTENCES = [["0", "1", "2"], ["0", "2", "2", "1"], ["3", "1", "2"], ["1", "0"], ["2", "1", "3", "0"]]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_sequence_costs_what_the_ngram_says(order):
    ngram = estimate(SENTENCES, order)[0]
    model = NgramTable(ngram, UNITS)
    sentence = [0, 1, 4, 2, 2, 5, 1]  # 4 and 5 were never seen
    tokens = [UNITS, *sentence, UNITS]
    logp, _ = model.prefill(np.array([tokens]), np.array([len(tokens)]))
    total = sum(logp[0, place, token] for place, token in enumerate(tokens[1:]))
    words = [str(unit) if str(unit) in ngram.entries else UNKNOWN for unit in sentence]
    assert total == pytest.approx(ngram.sentence(words) - 2 * np.log(2))


def test_words_that_are_no_units_are_refused():
    with pytest.raises(UserError, match="'hello' is not a unit below 6"):
        NgramTable(estimate([["0", "hello"]], 2)[0], UNITS)
    with pytest.raises(UserError, match="'7' is not a unit below 6"):
        NgramTable(estimate([["0", "7"]], 2)[0], UNITS)
