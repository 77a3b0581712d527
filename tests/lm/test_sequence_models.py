"""Claims that every model of token sequences must meet: reading at once, token by token and as a tree is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.lm.decoder import NetworkDecoder
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.lm.warm_model import warm_start
from tests.lm.planted_networks import LAYERS, UNITS, text_model, unit_model
from tests.lm.planted_tables import unit_trigram

MODELS = {
    **{name: lambda folder, name=name: NetworkDecoder(unit_model(name)) for name in LAYERS},
    **{name: lambda folder, name=name: warm(name, folder) for name in ("llama", "gpt2")},
    "unigram table": lambda folder: unit_trigram(order=1),
    "trigram table": lambda folder: unit_trigram(order=3),
}


@pytest.fixture(params=MODELS, scope="module")
def model(request, tmp_path_factory):
    return MODELS[request.param](tmp_path_factory.mktemp("text"))


def warm(kind, folder):
    """A text model over units."""
    text_model(kind, folder)
    network = warm_start(str(folder), UnitVocabulary(UNITS), 32)
    for weight in (network.decoder.get_input_embeddings().weight, network.decoder.get_output_embeddings().weight):
        torch.nn.init.normal_(weight, std=0.5)
    return NetworkDecoder(network)


def tolerance(model):
    return 1e-5 if isinstance(model, NetworkDecoder) else 1e-12


def sequences(data, model, count, longest=9):
    token = st.integers(0, model.vocabulary - 1)
    return [[model.boundary, *data.draw(st.lists(token, min_size=0, max_size=longest - 1))] for _ in range(count)]


def read(model, rows, longest=None):
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), longest or lengths.max()), 0)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    return model.prefill(tokens, lengths)


def by_steps(model, row):
    """The log-probabilities behind each token but the first, which begins alone."""
    _, state = read(model, [row[:1]])
    found = [state.logp[0]]
    for token in row[1:]:
        state = model.step(state, np.array([token]))
        found.append(state.logp[0])
    return np.stack(found)


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_reading_at_once_equals_reading_token_by_token(model, data):
    row = sequences(data, model, 1)[0]
    logp, state = read(model, [row])
    np.testing.assert_allclose(logp[0], by_steps(model, row), atol=tolerance(model))
    np.testing.assert_allclose(state.logp[0], logp[0, -1], atol=tolerance(model))


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_probabilities_sum_to_one_and_padding_changes_nothing(model, data):
    rows = sequences(data, model, 3)
    logp, state = read(model, rows, longest=12)
    np.testing.assert_allclose(np.exp(state.logp).sum(-1), 1.0, atol=1e-5)
    for number, row in enumerate(rows):
        alone, _ = read(model, [row])
        np.testing.assert_allclose(logp[number, : len(row)], alone[0], atol=tolerance(model))
        np.testing.assert_allclose(state.logp[number], alone[0, -1], atol=tolerance(model))


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_a_later_token_changes_nothing_before_it(model, data):
    row = sequences(data, model, 1)[0]
    other = [*row[:-1], (row[-1] + 1) % model.vocabulary]
    np.testing.assert_allclose(read(model, [row])[0][0, :-1], read(model, [other])[0][0, :-1], atol=tolerance(model))


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_selected_rows_go_on_as_they_would_have_alone(model, data):
    rows = sequences(data, model, 3)
    chosen = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))
    tokens = np.array([data.draw(st.integers(0, model.vocabulary - 1)) for _ in chosen])
    before = read(model, rows)[1]
    values = before.logp.copy()
    after = model.step(model.select(before, np.array(chosen)), tokens)
    for found, number, token in zip(after.logp, chosen, tokens.tolist(), strict=True):
        np.testing.assert_allclose(found, by_steps(model, [*rows[number], token])[-1], atol=tolerance(model))
    np.testing.assert_array_equal(before.logp, values)
    again = model.step(before, np.array([0, 0, 0]))
    np.testing.assert_allclose(again.logp[0], by_steps(model, [*rows[0], 0])[-1], atol=tolerance(model))


def paths(parents):
    for node in range(len(parents)):
        path = [node]
        while parents[path[0]] >= 0:
            path.insert(0, int(parents[path[0]]))
        yield path


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_a_tree_equals_its_paths_and_a_committed_path_goes_on(model, data):
    row = sequences(data, model, 1)[0]
    size = data.draw(st.integers(1, 7))
    parents = np.array([data.draw(st.integers(-1, node - 1)) for node in range(size)])
    tokens = np.array([data.draw(st.integers(0, model.vocabulary - 1)) for _ in range(size)])
    state = read(model, [row])[1]
    tree = model.score_tree(state, tokens, parents)
    np.testing.assert_allclose(tree.logp[0], state.logp[0], atol=tolerance(model))
    for node, path in enumerate(paths(parents)):
        along = by_steps(model, [*row, *tokens[path].tolist()])
        np.testing.assert_allclose(tree.logp[node + 1], along[-1], atol=tolerance(model))
        committed = model.commit(tree, path)
        np.testing.assert_allclose(committed.logp[0], along[-1], atol=tolerance(model))
        following = model.step(committed, np.array([0])).logp[0]
        expected = by_steps(model, [*row, *tokens[path].tolist(), 0])[-1]
        np.testing.assert_allclose(following, expected, atol=tolerance(model))
    np.testing.assert_allclose(model.commit(tree, []).logp[0], state.logp[0], atol=tolerance(model))
