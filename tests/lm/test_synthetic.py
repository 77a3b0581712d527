"""Languages and their oracle against slow ones; recall rows; models of equal size; the recipe from draw to table."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError
from speechkit.lm.synthetic.automata import (
    SEPARATOR,
    VOCABULARY,
    context_ngram,
    distances,
    instance,
    minimal,
    random_automaton,
)
from speechkit.lm.synthetic.comparison import SYSTEMS, Judge, equal_model
from speechkit.lm.synthetic.recall import asked, recall_row
from speechkit.lm.synthetic.records import ComparisonConfig
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module

CONF = Path(__file__).resolve().parents[2] / "recipes" / "sequence_layers" / "conf"


def accepted(edges, length, begin=0):
    """All strings of a length that an automaton accepts from a state on."""
    found = {((), begin)}
    for _ in range(length):
        found = {((*string, symbol), target) for string, state in found for symbol, target in edges[state]}
    return {string for string, _ in found}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_minimal_automaton_accepts_the_same_strings_whatever_its_states_are_called(seed):
    random = np.random.default_rng(seed)
    states = 6
    edges = tuple(
        tuple((int(symbol), int(random.integers(states))) for symbol in np.sort(random.permutation(3)[:n]))
        for n in random.integers(1, 4, size=states)
    )
    made = minimal(edges)
    for length in range(5):
        assert accepted(made, length) == accepted(edges, length)
    assert minimal(made) == made
    order = [0, *(random.permutation(states - 1) + 1).tolist()]  # the first state stays the first
    renamed = [()] * states
    for old, new in enumerate(order):
        renamed[new] = tuple((symbol, order[target]) for symbol, target in edges[old])
    assert minimal(tuple(renamed)) == made
    # No two states of it foresee the same strings.
    for one, other in itertools.combinations(range(len(made)), 2):
        assert any(accepted(made, n, one) != accepted(made, n, other) for n in range(1, states + 1))


def test_the_oracle_makes_no_mistake_and_a_uniform_guess_is_as_far_as_edges_say():
    random = np.random.default_rng(0)
    edges = random_automaton(random)
    own = instance(edges, random)
    right, apart = distances(own, own.following)
    assert right.all()
    assert not apart.any()
    uniform = np.full((len(own.tokens), VOCABULARY), 1 / VOCABULARY)
    _, apart = distances(own, uniform)
    choices = (own.following[own.scored] > 0).sum(1)
    np.testing.assert_allclose(apart, 1 - choices / VOCABULARY)
    follows = own.tokens[1:][own.scored[:-1]]
    assert (own.following[own.scored][np.arange(len(follows)), follows] > 0).all()
    assert (own.tokens[1:][~own.scored[:-1]] == SEPARATOR).all()


def test_taken_languages_do_not_come_again():
    taken = {random_automaton(np.random.default_rng(seed)) for seed in range(5)}
    for seed in range(5):
        assert random_automaton(np.random.default_rng(seed), taken) not in taken


def test_ngrams_of_an_instance_are_its_counts():
    tokens = np.array([0, 1, 2, 1, 3, 0, 1, 2, 1])
    bigram = context_ngram(tokens, 2)
    # Before the last 1, a 1 was followed by 2, 3 and 2; a separator by 1 each time; at first nothing is known.
    np.testing.assert_allclose(bigram[8, [2, 3]], [2 / 3, 1 / 3])
    assert bigram[5, 1] == 1
    np.testing.assert_allclose(bigram[0, 1:], 1 / 18)
    np.testing.assert_allclose(context_ngram(tokens, 3)[8, 3], 1.0)  # 2 1 was followed by 3
    np.testing.assert_allclose(context_ngram(tokens, 1)[4, [1, 2, 3]], [2 / 4, 1 / 4, 1 / 4])
    assert np.allclose(context_ngram(tokens, 3).sum(1), 1)


def test_a_recall_row_asks_for_each_value_once():
    row = recall_row(np.random.default_rng(0), 5, 8, 8)
    held = dict(zip(row[:10:2], row[1:10:2], strict=True))
    assert sorted(held) == sorted(row[10::2])
    asking = np.flatnonzero(asked(5))
    assert [held[row[t]] for t in asking] == row[asking + 1].tolist()
    with pytest.raises(ValueError, match="as many keys as pairs"):
        recall_row(np.random.default_rng(0), 9, 8, 8)


def test_all_systems_have_one_size():
    sizes = [
        sum(weight.numel() for weight in equal_model(layers, 64, 150_000, VOCABULARY).parameters())
        for layers in SYSTEMS.values()
    ]
    assert max(sizes) - min(sizes) < 0.005 * 150_000
    with pytest.raises(ConfigError, match="allow more than"):
        equal_model(SYSTEMS["lstm"], 64, 10_000, VOCABULARY)


def test_training_draws_no_language_of_the_test():
    config = ComparisonConfig(rows=2, judged=4, strings=(2, 3), longest=5)
    judge = Judge("languages", config, 3)
    tokens, lengths, scored = judge.batch(0)
    assert tokens.shape == scored.shape
    assert [bool(row[length:].any()) for row, length in zip(scored, lengths, strict=True)] == [False, False]
    again = Judge("languages", config, 3).batch(0)
    assert all(one.equal(other) for one, other in zip((tokens, lengths, scored), again, strict=True))
    cells = {cell.system: cell for cell in judge.untrained()}
    assert cells["oracle"].accuracy == 1.0
    assert cells["oracle"].distance == 0.0


@pytest.mark.slow
def test_the_recipe_runs_from_draw_to_table(tmp_path):
    recipe = recipe_module("sequence_layers").recipe
    assert run_recipe(recipe, tmp_path, config_files=[CONF / "tiny.yaml"], device="cpu") == 0
    table = (outputs(recipe, tmp_path, "table") / "table.md").read_text()
    assert "oracle" in table
    rows = [line for line in table.splitlines() if line.startswith(("| recall", "| languages"))]
    assert len(rows) == 3 + 3 + 5
    assert all("(" in row for row in rows)


def test_unknown_systems_are_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"systems": ["mamba"]}, ComparisonConfig)
    with pytest.raises(ConfigError, match="as many keys as pairs"):
        ComparisonConfig(pairs=9, keys=8)
