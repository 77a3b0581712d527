"""Claims about speculative decoding: whatever drafts, what comes out has the target's law."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from speechkit.errors import ConfigError, UserError
from speechkit.lm.decoding import draft_tree as trees
from speechkit.lm.decoding.draft_tree import DraftTree, rejection
from speechkit.lm.decoding.sampling import SamplingConfig, sample
from speechkit.lm.decoding.speculative import DraftConfig, speculate
from speechkit.lm.decoding.speculative import draft_tree as grow
from tests.lm.planted_tables import random_markov, unit_trigram

DRAFTS = {
    "chain": DraftConfig(factors=(1, 1, 1)),
    "RSD-C": DraftConfig(factors=(3, 2)),
    "RSD-S": DraftConfig(width=3, levels=2),
}


def drawing_chance(q, children):
    """Of these children in this order, without replacement."""
    chance, left = 1.0, q.copy()
    for token in children:
        chance *= left[token] / left.sum()  # a difference to 1 would lose the digits of what is unlikely
        left[token] = 0.0
    return chance


def law_of_next_token(p, q, count):
    """What one node emits or accepts, over every order in which children can be drawn."""
    law = np.zeros_like(p)
    for children in permutations(range(len(p)), count):
        reached = drawing_chance(q, children)
        chances, residual = rejection(p, q, children)
        for token, chance in zip(children, chances, strict=True):
            law[token] += reached * chance
            reached *= 1 - chance
        law += reached * residual
    return law


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000), st.data())
def test_recursive_rejection_emits_the_law_of_the_target_exactly(vocabulary, seed, data):
    count = data.draw(st.integers(0, vocabulary))
    p, q = np.random.default_rng(seed).dirichlet(np.full(vocabulary, 0.7), 2)
    assert np.abs(law_of_next_token(p, q, count) - p).sum() / 2 < 1e-12


def test_two_children_without_replacement_accept_what_one_would_refuse():
    p, q = np.array([0.1, 0.9]), np.array([0.9, 0.1])
    accepted = 0.0
    for children in permutations(range(2)):
        refused = np.prod([1 - chance for chance in rejection(p, q, children)[0]])
        accepted += drawing_chance(q, children) * (1 - refused)
    assert accepted == pytest.approx(1.0)


def misfit(target, draft, config, runs=2500, seed=0):
    """Chi-square of the first two tokens of many runs, and the value that chance passes once in 10,000."""
    size = target.vocabulary - 1
    counts = np.zeros((size, size))
    sampling = SamplingConfig(max_tokens=2)
    generator = np.random.default_rng(seed)
    prompt = [target.boundary]
    for _ in range(runs):
        first, second = speculate(target, draft, prompt, sampling, config, generator).tokens
        counts[first, second] += 1
    law = np.exp(target.logp)
    expected = runs * law[target.boundary, :size, None] * law[:size, :size]
    return float(((counts - expected) ** 2 / expected).sum()), chi2.isf(1e-4, size * size - 1)


TARGET, DRAFT = random_markov(5, 3, 0.8, endless=True), random_markov(5, 4, 0.8, endless=True)


@pytest.mark.parametrize("kind", DRAFTS)
def test_two_tokens_together_have_the_law_of_the_target(kind):
    value, limit = misfit(TARGET, DRAFT, DRAFTS[kind])
    assert value < limit


def test_a_verifier_that_forgets_what_was_drawn_is_found_out(monkeypatch):
    monkeypatch.setattr(trees, "_without", lambda q, token: q)
    value, limit = misfit(TARGET, DRAFT, DRAFTS["RSD-S"])
    assert value > 2 * limit


def test_siblings_tested_in_order_of_probability_are_found_out(monkeypatch):
    honest = DraftTree.children

    def likeliest_first(self, node):
        return sorted(honest(self, node), key=lambda child: -self.draft[node + 1, self.tokens[child]])

    monkeypatch.setattr(DraftTree, "children", likeliest_first)
    value, limit = misfit(TARGET, DRAFT, DRAFTS["RSD-S"])
    assert value > 2 * limit


@pytest.mark.parametrize("kind", DRAFTS)
def test_greedy_speculation_gives_the_greedy_sequence(kind):
    target, draft = unit_trigram(), unit_trigram(order=1)
    greedy = SamplingConfig(temperature=0, max_tokens=30)
    prompt = [target.boundary, 1]
    config = DraftConfig(
        **{**{name: getattr(DRAFTS[kind], name) for name in ("factors", "width", "levels")}, "temperature": 1.0}
    )
    alone = sample(target, [prompt], greedy, [np.random.default_rng(0)])[0]
    for seed in range(5):
        found = speculate(target, draft, prompt, greedy, config, np.random.default_rng(seed))
        assert found.tokens == alone.tokens
        assert found.logp == pytest.approx(alone.logp)


@pytest.mark.parametrize("kind", DRAFTS)
def test_a_draft_that_is_the_target_is_accepted_whole(kind):
    config, target = DRAFTS[kind], random_markov(6, 1, endless=True)
    found = speculate(target, target, [5], SamplingConfig(max_tokens=60), config, np.random.default_rng(0))
    depth = config.levels if config.width else len(config.factors)
    assert found.target_calls == 60 // (depth + 1)


def test_more_children_mean_fewer_calls_of_the_target():
    target, draft = random_markov(8, 1, 0.5, endless=True), random_markov(8, 2, 0.5, endless=True)

    def calls(config):
        sampling = SamplingConfig(max_tokens=600)
        return speculate(target, draft, [7], sampling, config, np.random.default_rng(0)).target_calls

    assert calls(DraftConfig(factors=(3, 1, 1))) < calls(DraftConfig(factors=(1, 1, 1)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(sorted(DRAFTS)))
def test_siblings_differ_and_trees_have_their_size(seed, kind):
    config, model = DRAFTS[kind], random_markov(6, seed, 0.5)
    state = model.prefill(np.array([[5]]), np.array([1]))[1]
    tree = grow(model, state, SamplingConfig(), config, np.random.default_rng(seed))
    assert len(tree.tokens) <= config.nodes
    for node in range(-1, len(tree.tokens)):
        tokens = tree.tokens[tree.children(node)].tolist()
        assert len(set(tokens)) == len(tokens)
        assert node < 0 or not tokens or tree.tokens[node] != model.boundary
        assert all(tree.draft[node + 1, token] > 0 for token in tokens)


def test_the_first_tokens_of_a_stochastic_beam_have_the_law_of_the_draft():
    model, counts = random_markov(4, 2, endless=True), np.zeros(3)
    state = model.prefill(np.array([[3]]), np.array([1]))[1]
    generator = np.random.default_rng(0)
    for _ in range(2000):
        counts[grow(model, state, SamplingConfig(), DraftConfig(width=2, levels=1), generator).tokens[0]] += 1
    expected = 2000 * np.exp(model.logp[3, :3])
    assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-4, 2)


def test_ended_sequences_and_short_ones_come_out_as_the_target_ends_them():
    target, draft = random_markov(4, 5), random_markov(4, 6)
    runs = 3000
    law = np.exp(target.logp)
    generator = np.random.default_rng(1)
    ended = sum(
        not speculate(target, draft, [3], SamplingConfig(max_tokens=9), DRAFTS["RSD-C"], generator).tokens
        for _ in range(runs)
    )
    chance = law[3, 3]
    assert abs(ended - runs * chance) < 4 * np.sqrt(runs * chance * (1 - chance))


def test_models_of_other_vocabularies_and_trees_of_two_kinds_are_refused():
    with pytest.raises(UserError, match="models of one codebook"):
        speculate(
            random_markov(4, 0), random_markov(5, 0), [3], SamplingConfig(), DRAFTS["chain"], np.random.default_rng(0)
        )
    for wrong in ({}, {"factors": (2,), "width": 2}):
        with pytest.raises(ConfigError, match="give one of them"):
            DraftConfig(**wrong)
