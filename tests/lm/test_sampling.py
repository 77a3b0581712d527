"""Claims about sampling: tokens have the warped law, and nothing else of a batch matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from speechkit.errors import UserError
from speechkit.lm.decoding.sampling import SamplingConfig, draw, sample, warp
from tests.lm.planted_tables import random_markov, unit_trigram


def warped_slowly(row, config):
    """Probabilities (V,) token by token."""
    values = np.exp(row / config.temperature)
    order = sorted(range(len(row)), key=lambda token: (-values[token], token))
    kept = order[: config.top_k] if config.top_k else order
    total, mass, chosen = sum(values[token] for token in kept), 0.0, []
    for token in kept:
        if mass >= config.top_p:
            break
        chosen.append(token)
        mass += values[token] / total
    answer = np.zeros(len(row))
    answer[chosen] = values[chosen] / values[chosen].sum()
    return answer


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 2.0), st.integers(0, 8), st.floats(0.05, 1.0))
def test_warped_probabilities_equal_the_slow_ones(seed, temperature, top_k, top_p):
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    rows = np.log(np.random.default_rng(seed).dirichlet(np.ones(7), 3))
    for row, warped in zip(rows, np.exp(warp(rows, config)), strict=True):
        np.testing.assert_allclose(warped, warped_slowly(row, config), atol=1e-12)


def test_temperature_zero_takes_the_first_of_the_most_probable():
    row = np.log([[0.2, 0.4, 0.4]])
    assert np.exp(warp(row, SamplingConfig(temperature=0))).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("config", [SamplingConfig(0.7), SamplingConfig(0.8, top_k=3), SamplingConfig(top_p=0.6)])
def test_twenty_thousand_draws_have_the_law(config):
    model = random_markov(6, 0)
    law = np.exp(warp(model.logp[2], config))
    generator = np.random.default_rng(0)
    counts = np.bincount([draw(law, generator) for _ in range(20_000)], minlength=6)
    possible = law > 0
    assert not counts[~possible].any()
    expected = 20_000 * law[possible]
    assert ((counts[possible] - expected) ** 2 / expected).sum() < chi2.isf(1e-3, possible.sum() - 1)


def test_a_sample_does_not_depend_on_its_batch():
    model, config = unit_trigram(), SamplingConfig(max_tokens=20)
    prompts = [[5, 1, 2], [5], [5, 0, 1, 2, 3]]
    together = sample(model, prompts, config, [np.random.default_rng([7, n]) for n in range(3)])
    for number, prompt in enumerate(prompts):
        assert sample(model, [prompt], config, [np.random.default_rng([7, number])])[0] == together[number]


def test_the_log_probability_of_a_sample_is_that_of_its_tokens():
    model = unit_trigram()
    for seed in range(5):
        found = sample(model, [[5, 1]], SamplingConfig(0.5, max_tokens=8), [np.random.default_rng(seed)])[0]
        tokens = [5, 1, *found.tokens, *([5] if found.ended else [])]
        logp, _ = model.prefill(np.array([tokens]), np.array([len(tokens)]))
        assert found.logp == pytest.approx(sum(logp[0, place - 1, tokens[place]] for place in range(2, len(tokens))))
        assert len(found.tokens) <= 8
        assert found.ended or len(found.tokens) == 8


@pytest.mark.parametrize(
    ("prompts", "message"), [([[]], "a prompt is empty"), ([], "a prompt is empty"), ([[5, 6]], "unit 6 is out")]
)
def test_prompts_that_say_nothing_or_strange_units_are_refused(prompts, message):
    with pytest.raises(UserError, match=message):
        sample(unit_trigram(), prompts, SamplingConfig(), [np.random.default_rng(0)] * len(prompts))
