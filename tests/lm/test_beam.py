"""Claims about beam search: enough beams find the best of all sequences, groups find other ones."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from speechkit.errors import ConfigError
from speechkit.lm.decoding.beam import BeamConfig, beam_search
from tests.lm.planted_tables import random_markov


def log_probability(model, tokens, ended):
    """Of a sequence behind the boundary alone."""
    total, last = 0.0, model.boundary
    for token in [*tokens, *([model.boundary] if ended else [])]:
        total += model.logp[last, token]
        last = token
    return total


def every_sequence(model, longest):
    """(log-probability, tokens) of all that end before ``longest`` tokens, and of all that are cut off there."""
    units = range(model.boundary)
    for length in range(longest + 1):
        for tokens in product(units, repeat=length):
            yield log_probability(model, tokens, length < longest), tokens


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_the_tree_finds_the_best_sequences_in_order(seed):
    model = random_markov(3, seed)
    found = beam_search(model, [2], BeamConfig(width=15, max_tokens=3))
    best = sorted(every_sequence(model, 3), reverse=True)
    assert len(found) == len(best)
    assert [each.tokens for each in found] == [tokens for _, tokens in best]
    np.testing.assert_allclose([each.logp for each in found], [value for value, _ in best])


def plain_beam(model, width, longest):
    """Beam search over a Markov chain, by lists."""
    beams = [((), False, 0.0)]
    for _ in range(longest):
        pool = [beam for beam in beams if beam[1]]
        for tokens, ended, value in beams:
            if not ended:
                last = tokens[-1] if tokens else model.boundary
                for token in range(model.vocabulary):
                    end = token == model.boundary
                    pool.append((tokens if end else (*tokens, token), end, value + model.logp[last, token]))
        beams = sorted(pool, key=lambda beam: -beam[2])[:width]
    return beams


@pytest.mark.parametrize("width", [1, 3])
def test_one_group_is_a_plain_beam(width):
    model = random_markov(6, width)
    found = beam_search(model, [5], BeamConfig(width=width, groups=1, diversity=9.0, max_tokens=6))
    assert [each.tokens for each in found] == [tokens for tokens, _, _ in plain_beam(model, width, 6)]


def test_the_first_group_is_a_plain_beam_of_its_width():
    model = random_markov(6, 8)
    found = beam_search(model, [5], BeamConfig(width=6, groups=3, diversity=2.0, max_tokens=5))
    first = {each.tokens for each in found if each.group == 0}
    assert first == {tokens for tokens, _, _ in plain_beam(model, 2, 5)}


@pytest.mark.parametrize("accumulate", [False, True])
def test_a_large_cost_makes_the_first_tokens_of_groups_differ(accumulate):
    model = random_markov(7, 1, endless=True)
    config = BeamConfig(width=4, groups=4, diversity=100.0, accumulate=accumulate, max_tokens=4)
    found = beam_search(model, [6], config)
    assert len({each.tokens[0] for each in found}) == 4
    for each in found:
        assert each.logp == pytest.approx(log_probability(model, each.tokens, each.ended))


def test_no_diversity_gives_copies_which_are_told_once():
    model = random_markov(6, 3, endless=True)
    assert len(beam_search(model, [5], BeamConfig(width=6, groups=3, diversity=0.0, max_tokens=5))) == 2


def test_diversity_makes_pairs_of_tokens_more_various():
    def distinct_pairs(seed, config):
        found = beam_search(random_markov(12, seed, endless=True), [11], config)
        pairs = [pair for each in found for pair in pairwise(each.tokens)]
        return len(set(pairs)) / len(pairs)

    plain, diverse = BeamConfig(8, max_tokens=8), BeamConfig(8, groups=8, diversity=3.0, max_tokens=8)
    for seed in range(3):
        assert distinct_pairs(seed, diverse) > distinct_pairs(seed, plain)


def test_length_power_prefers_long_hypotheses():
    model = random_markov(3, 0)
    plain = beam_search(model, [2], BeamConfig(width=15, max_tokens=3))
    normed = beam_search(model, [2], BeamConfig(width=15, max_tokens=3, length_power=1.0))
    assert {each.tokens for each in plain} == {each.tokens for each in normed}
    assert len(normed[0].tokens) >= len(plain[0].tokens)
    values = [each.logp / (len(each.tokens) + each.ended) for each in normed]
    assert values == sorted(values, reverse=True)


def test_groups_that_do_not_share_the_width_are_refused():
    with pytest.raises(ConfigError, match="divisible by groups"):
        BeamConfig(width=8, groups=3)
