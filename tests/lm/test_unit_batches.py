"""Claims about batches of units: everything is foreseen once, and no document sees another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.lm.objectives.infill import MixtureConfig
from speechkit.lm.objectives.next_token import next_token
from speechkit.lm.packing import IGNORED, PackedRows, pack, windows
from speechkit.lm.unit_batches import UnitBatches, sequence_windows
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.units.sequences import UnitSequence
from tests.lm.planted_networks import LAYERS, UNITS, unit_model

PLAIN, MARKED = UnitVocabulary(UNITS), UnitVocabulary(UNITS, spans=3)


def speech(count=6, seed=0, shortest=1, longest=20):
    """Recordings of drawn units."""
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest, count)
    return [
        UnitSequence(f"r{n}", random.integers(0, 7, size).tolist(), random.integers(1, 9, size).tolist(), UNITS.digest)
        for n, size in enumerate(lengths)
    ]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.integers(2, 20), st.data())
def test_windows_foresee_every_token_once_and_read_what_is_before_it(length, context, data):
    overlap = data.draw(st.integers(0, context - 1))
    tokens = list(range(length))
    foreseen = []
    for number, window in enumerate(windows(tokens, context, overlap)):
        assert len(window.tokens) <= context
        assert window.tokens.tolist() == window.positions.tolist()
        new = window.targets != IGNORED
        assert (window.targets[new] == window.tokens[new] + 1).all()
        foreseen += window.targets[new].tolist()
        assert number == 0 or window.positions[0] == max(0, window.targets[new][0] - 1 - overlap)
    assert foreseen == tokens[1:]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 10), min_size=1, max_size=40), st.integers(10, 30), st.randoms())
def test_packing_takes_each_sequence_once_and_no_row_overflows(lengths, capacity, random):
    order = list(range(len(lengths)))
    random.shuffle(order)
    rows = pack(lengths, capacity, order)
    assert sorted(index for row in rows for index in row) == sorted(order)
    assert all(sum(lengths[index] for index in row) <= capacity for row in rows)


def test_rows_are_filled_well():
    lengths = np.random.default_rng(0).integers(1, 65, 500).tolist()
    assert sum(lengths) / (128 * len(pack(lengths, 128, range(500)))) > 0.85


def test_a_batch_depends_on_its_number_alone_and_epochs_differ():
    lengths = [3, 5, 2, 8, 1, 7]
    first, second = PackedRows(lengths, 10, 2, seed=1), PackedRows(lengths, 10, 2, seed=1)
    assert second[7] == first[7]
    assert [first[n] for n in (0, 3, 7)] == [second[n] for n in (0, 3, 7)]
    seen = [index for number in range(30) for row in first[number] for index in row]
    assert max(seen.count(index) for index in range(6)) - min(seen.count(index) for index in range(6)) <= 1


def sequence_nats(network, row, context=64, overlap=0):
    """(token, duration) nats of a recording alone."""
    with torch.no_grad():
        parts = []
        for batch in sequence_windows(row, network.vocabulary, context, overlap):
            hidden = network.hidden(batch["tokens"])
            foreseen = batch["targets"] != IGNORED
            logp = network.logits(hidden).log_softmax(-1)[foreseen]
            tokens = -logp.gather(1, batch["targets"][foreseen][:, None]).sum()
            lasting = batch["durations"] > 0
            durations = network.duration_head.nats(
                hidden[lasting], batch["durations_before"][lasting], batch["durations"][lasting]
            ).sum()
            parts.append((float(tokens), float(durations)))
    return np.sum(parts, 0)


@pytest.mark.parametrize("layer", LAYERS)
def test_packed_documents_cost_what_they_cost_alone(layer):
    network, rows = unit_model(layer, duration_bins=5), speech()
    alone = np.sum([sequence_nats(network, row) for row in rows], 0)
    batches = UnitBatches(rows, PLAIN, context=40, rows=1)
    total, count = np.zeros(2), 0
    with torch.no_grad():
        for number in range(4):
            batch = batches[number]
            foreseen = int((batch["targets"] != IGNORED).sum())
            if count + foreseen > batches.tokens:
                break
            _, numbers = next_token(network, batch)
            total += foreseen * np.array([numbers["token_nats"], numbers["duration_nats"]])
            count += foreseen
    assert count == batches.tokens == sum(len(row.units) + 1 for row in rows)
    np.testing.assert_allclose(total, alone, rtol=1e-5)


def test_windows_with_overlap_count_every_duration_once():
    row = speech(1, seed=3, shortest=40, longest=41)[0]
    for overlap in (0, 3, 7):
        heard = [
            (int(unit), int(duration))
            for batch in sequence_windows(row, PLAIN, 8, overlap)
            for unit, duration in zip(batch["tokens"][0], batch["durations"][0], strict=True)
            if duration
        ]
        assert heard == list(zip(row.units, row.durations, strict=True))


def test_a_mixture_of_plain_sequences_is_the_plain_objective():
    rows, network = speech(), unit_model(spans=3)
    with torch.no_grad():
        plain = next_token(network, UnitBatches(rows, MARKED, 40, 2)[0])[0]
        mixed, numbers = next_token(network, UnitBatches(rows, MARKED, 40, 2, MixtureConfig())[0])
    assert float(mixed) == pytest.approx(float(plain))
    assert numbers["causal_nats"] == pytest.approx(numbers["token_nats"])


def test_prefixes_are_read_both_ways_and_not_learnt():
    rows, network = speech(shortest=12), unit_model(spans=3)
    batch = UnitBatches(rows, MARKED, 40, 2, MixtureConfig(prefix=1.0))[0]
    inside = batch["prefix"][:, :-1] & batch["prefix"][:, 1:]
    assert (batch["targets"][:, :-1][inside] == IGNORED).all()
    assert (batch["targets"] != IGNORED).any()
    # A later token of the prefix changes what an earlier one becomes; one behind it does not.
    row = batch["prefix"][0].nonzero()[:, 0]
    changed = batch["tokens"].clone()
    changed[0, row[-1]] = (changed[0, row[-1]] + 1) % 7
    options = {"documents": batch["documents"], "prefix": batch["prefix"]}
    before, after = (network.hidden(each, **options) for each in (batch["tokens"], changed))
    same_document = batch["documents"][0] == batch["documents"][0, row[-1]]
    first = int((same_document & batch["prefix"][0]).nonzero()[0])
    assert not torch.allclose(before[0, first], after[0, first]) or first == int(row[-1])


def test_cut_sequences_fit_their_rows_and_cost_something():
    rows, network = speech(20, shortest=9, longest=40), unit_model(spans=3)
    batches = UnitBatches(rows, MARKED, 50, 2, MixtureConfig(infill=1.0))
    for number in range(6):
        batch = batches[number]
        assert batch["tokens"].shape[1] <= 50 + 1 + 3 * 3
        assert int(batch["tokens"].max()) > MARKED.separator
    assert "infill_nats" in next_token(network, batches[0])[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (UnitSequence("a", [], [], UNITS.digest), "a: has no units"),
        (UnitSequence("a", [1, 7], [1, 1], UNITS.digest), "a: unit 7 is out of range; the model knows 0 to 6"),
        (UnitSequence("a", [1], [1], "another"), "a: its units are of the codebook another and the model's of c0ffee"),
    ],
)
def test_recordings_that_cannot_be_learnt_are_named(row, message):
    with pytest.raises(UserError, match=message):
        UnitBatches([row], PLAIN, 40, 2)


def test_infill_without_marks_and_no_recordings_are_refused():
    with pytest.raises(ConfigError, match="model has no mask tokens"):
        UnitBatches(speech(), PLAIN, 40, 2, MixtureConfig(infill=0.5))
    with pytest.raises(UserError, match="no units to train on"):
        UnitBatches([], PLAIN, 40, 2)
