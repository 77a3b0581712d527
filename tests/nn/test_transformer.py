"""Claims about the transformer with rotary positions: padding, distances, conditions, training as in use."""

from __future__ import annotations

import pytest
import torch

from speechkit.nn.masks import length_mask
from speechkit.nn.positions import Rotation, sinusoidal
from speechkit.nn.transformer import Transformer


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Transformer(16, 3, 2, 32, kernel=5, condition_width=8)
    for parameter in network.parameters():  # the gates begin closed, and would let nothing be seen
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.mark.parametrize("training", [False, True])
def test_padded_batch_equals_single_items(network, training):
    network.train(training)
    lengths = torch.tensor([9, 4, 1])
    x, condition = torch.randn(3, 9, 16), torch.randn(3, 8)
    inside = length_mask(lengths, 9)
    batch = network(x.masked_fill(~inside[..., None], 7.0), inside, condition)
    for row, item, length, own in zip(batch, x, lengths.tolist(), condition, strict=True):
        single = network(item[None, :length], None, own[None])
        torch.testing.assert_close(row[:length], single[0], atol=2e-5, rtol=1e-4)


def test_training_computes_what_use_does(network):
    x, condition = torch.randn(2, 7, 16), torch.randn(2, 8)
    inside = length_mask(torch.tensor([7, 5]), 7)
    used = network(x, inside, condition)
    torch.testing.assert_close(network.train()(x, inside, condition)[inside], used[inside], atol=2e-5, rtol=1e-4)


def test_only_distances_between_positions_count(network):
    x, condition = torch.randn(1, 6, 16), torch.randn(1, 8)
    near = network(x, None, condition)
    far = network(x, None, condition, positions=torch.arange(6) + 100.5)
    torch.testing.assert_close(near, far, atol=1e-4, rtol=1e-3)
    other = network(x, None, condition, positions=3.0 * torch.arange(6))
    assert not torch.allclose(near, other, atol=1e-2)


def test_a_rotation_keeps_lengths_and_turns_products_by_the_distance():
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(at, other):
        return float((Rotation(torch.tensor([at]), 8)(query) * Rotation(torch.tensor([other]), 8)(key)).sum())

    assert float(Rotation(torch.tensor([3.5]), 8)(query).norm()) == pytest.approx(float(query.norm()), rel=1e-5)
    assert product(2.0, 5.0) == pytest.approx(product(12.0, 15.0), rel=1e-3)
    assert product(0.0, 0.0) == pytest.approx(float((query * key).sum()), rel=1e-5)


def test_a_conditioned_layer_begins_as_nothing():
    network = Transformer(16, 2, 2, 32, condition_width=8)
    x = torch.randn(1, 4, 16)
    torch.testing.assert_close(network(x, None, torch.randn(1, 8)), network.norm(x))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="multiple of twice"):
        Transformer(10, 1, 4, 8)
    with pytest.raises(ValueError, match="odd"):
        Transformer(16, 1, 4, 8, kernel=4)


def test_times_are_told_apart():
    embedded = sinusoidal(torch.linspace(0, 1, 11), 32)
    assert embedded.shape == (11, 32)
    distances = torch.cdist(embedded, embedded) + 10 * torch.eye(11)
    assert float(distances.min()) > 0.5
