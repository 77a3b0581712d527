"""Claims about what units cost: even laws cost what they must, windows change nothing, savings are paired."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.lm.analysis.degeneration import degeneration, longest_loop
from speechkit.lm.duration_table import DurationTable
from speechkit.lm.ngram_training import estimate
from speechkit.lm.sequence_bits import sequence_bits, unit_words
from speechkit.lm.table_model import NgramTable
from speechkit.lm.unit_costs import network_costs, saving, summarize, table_costs
from speechkit.units.sequences import UnitSequence
from tests.lm.planted_networks import LAYERS, UNITS, unit_model


def speech(count=5, seed=0, length=30):
    random = np.random.default_rng(seed)
    return [
        UnitSequence(f"r{n}", random.integers(0, 7, length).tolist(), random.integers(1, 60, length).tolist(), "c0ffee")
        for n in range(count)
    ]


def test_even_logits_cost_the_logarithm_of_the_vocabulary():
    network, rows = unit_model(spans=3), speech()
    torch.nn.init.zeros_(network.head.weight)
    found = summarize("even", list(network_costs(network, rows)))
    assert found.perplexity == pytest.approx(8)  # seven units and the end; marks do not follow in speech
    rate = (found.units + found.recordings) / found.seconds
    assert found.bits_per_second == pytest.approx(rate * 3)
    assert found.interval.low <= found.bits_per_second <= found.interval.high


@pytest.mark.parametrize("layer", ["windowed attention", "gru"])
def test_a_recording_within_the_context_costs_what_steps_cost(layer):
    network, row = unit_model(layer), speech(1)[0]
    cost = next(network_costs(network, [row]))
    tokens = [7, *row.units, 7]
    state, total = network.start(1), 0.0
    with torch.no_grad():
        for token, following in pairwise(tokens):
            hidden, state = network.step(torch.tensor([token]), state)
            total -= float(network.logits(hidden).log_softmax(-1)[0, following])
    assert cost.unit_nats + cost.end_nats == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_recording_longer_than_the_context_is_counted_once(layer):
    network, row = unit_model(layer, duration_bins=6).requires_grad_(False), speech(1, length=100)[0]
    cost = next(network_costs(network, [row]))
    assert cost.units == 100
    assert cost.seconds == pytest.approx(sum(row.durations) / 50)
    assert 0 < cost.duration_nats < 100 * 60
    # A model whose memory is shorter than half a context sees all that it can.
    if layer == "windowed attention":
        whole = network(torch.tensor([[7, *row.units]])).log_softmax(-1)[0]
        total = -float(whole[torch.arange(101), torch.tensor([*row.units, 7])].sum())
        assert cost.unit_nats + cost.end_nats == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("order", [1, 3])
def test_tables_cost_what_sequence_bits_says(order):
    train, test = speech(20, 1), speech(3, 2)
    model = estimate(map(unit_words, train), order)[0]
    costs = list(table_costs(NgramTable(model, 7), test, UNITS))
    found, old = summarize("table", costs), sequence_bits(model, test, 7, 50.0)
    # All seven units were seen, so that only rounding of back-off weights parts the two.
    assert found.bits_per_second == pytest.approx(old.bits_per_second, rel=2e-2)
    assert found.full_bits_per_second is None
    for row, cost in zip(test, costs, strict=True):  # the whole at once gives the same
        tokens = np.array([7, *row.units, 7])
        logp, _ = NgramTable(model, 7).prefill(tokens[None, :-1], np.array([len(tokens) - 1]))
        nats = -logp[0, np.arange(len(tokens) - 1), tokens[1:]]
        assert (cost.unit_nats, cost.end_nats) == pytest.approx((nats[:-1].sum(), nats[-1]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 8))
def test_counted_durations_are_a_distribution(seed, bins):
    table = DurationTable(speech(3, seed), 7, bins)
    for unit in (0, 6):
        total = sum(math.exp(-table.nats([unit], [duration])) for duration in range(1, 4000))
        assert total == pytest.approx(1.0, abs=1e-4)


def test_a_model_saves_nothing_of_its_own_bits_and_half_of_twice_as_many():
    costs = list(network_costs(unit_model(), speech()))
    share, interval = saving(costs, costs)
    assert (share, interval.low, interval.high) == (0.0, 0.0, 0.0)
    twice = [msgspec.structs.replace(e, unit_nats=2 * e.unit_nats, end_nats=2 * e.end_nats) for e in costs]
    assert saving(costs, twice)[0] == pytest.approx(0.5)
    assert saving(twice, costs, ["a", "a", "b", "b", "c"])[0] == pytest.approx(-1.0)


def test_nothing_to_measure_is_refused():
    with pytest.raises(UserError, match="no units to measure"):
        summarize("none", [])


def loops_slowly(sequence):
    best = 0
    for period in range(1, 21):
        for begin in range(len(sequence)):
            end = begin
            while end < len(sequence) and sequence[end] == sequence[begin + (end - begin) % period]:
                end += 1
            if end - begin >= 3 * period:
                best = max(best, end - begin)
    return best


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=25))
def test_the_longest_loop_is_that_of_the_obvious_search(sequence):
    assert longest_loop(sequence) == loops_slowly(sequence)


def test_figures_of_sequences_by_hand():
    found = degeneration([[1, 2, 1, 2, 1, 2], [], [3, 4, 5, 6, 7]], [True, True, False])
    assert (found.sequences, found.empty, found.cut_off) == (3, 1 / 3, 1 / 3)
    assert found.repeated_ngrams == 1 / 5  # 1212, 2121, 1212; 3456, 4567
    assert found.repeated_units == 4 / 11
    assert (found.looping, found.longest_loop) == (1 / 3, 6)
    assert found.distinct_bigrams == 6 / 9
    assert degeneration([[0, 1, 2, 3]]).unigram_entropy == 2
    with pytest.raises(UserError, match="no sequence"):
        degeneration([])
