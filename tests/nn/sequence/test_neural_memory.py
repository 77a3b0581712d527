"""The closed form of a chunk against gradient descent by autograd, one position after another."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError
from speechkit.nn.sequence.neural_memory import chunk_coefficients, gradients, read_memory, update_and_read
from speechkit.nn.sequence.stack import new_mixer
from speechkit.nn.sequence.titans import TitansConfig


def layers(depth, width=4, inside=6):
    widths = [width, *[inside] * (depth - 1), width]
    return [torch.randn(1, 1, out, into, dtype=torch.float64) for into, out in pairwise(widths)]


def single(memory, x):
    """A vector through a memory of one row and head."""
    return read_memory(memory, x[None, None, None])[0, 0, 0]


def by_autograd(memory, key, value):
    own = [weight.clone().requires_grad_() for weight in memory]
    with torch.enable_grad():
        loss = (single(own, key) - value).square().sum()
        return torch.autograd.grad(loss, own)


def slow(memory, keys, values, queries, keep, momentum, rates, chunk):
    speed, origin, read = [torch.zeros_like(weight) for weight in memory], memory, []
    for t in range(len(keys)):
        origin = memory if t % chunk == 0 else origin
        slope = by_autograd(origin, keys[t], values[t])
        speed = [momentum[t] * old - rates[t] * new for old, new in zip(speed, slope, strict=True)]
        memory = [keep[t] * weight + moved for weight, moved in zip(memory, speed, strict=True)]
        read.append(single(memory, queries[t]))
    return torch.stack(read), memory, speed


def chunked(memory, keys, values, queries, keep, momentum, rates, chunk):
    speed, read = [torch.zeros_like(weight) for weight in memory], []
    for begin in range(0, len(keys), chunk):
        cut = slice(begin, begin + chunk)
        gates = [part[None, None, cut] for part in (keep.log(), momentum.log(), rates)]
        parts = chunk_coefficients(*gates, torch.ones_like(gates[0]))
        rows = [part[None, None, cut] for part in (keys, values, queries)]
        out, memory, speed = update_and_read(memory, speed, memory, *rows, parts)
        read.append(out[0, 0])
    return torch.cat(read), memory, speed


@settings(max_examples=12, deadline=None)
@given(length=st.integers(1, 11), chunk=st.integers(1, 6), depth=st.integers(1, 3))
def test_a_chunk_at_once_is_gradient_descent_position_by_position(length, chunk, depth):
    memory = layers(depth)
    keys, values, queries = torch.randn(3, length, 4, dtype=torch.float64)
    keep, momentum, rates = torch.rand(3, length, dtype=torch.float64)
    wanted = slow(memory, keys, values, queries, keep, momentum, 0.05 * rates, chunk)
    found = chunked(memory, keys, values, queries, keep, momentum, 0.05 * rates, chunk)
    torch.testing.assert_close(found[0], wanted[0], atol=1e-10, rtol=1e-10)
    for one, other in zip([*found[1], *found[2]], [*wanted[1], *wanted[2]], strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_the_length_of_chunks_is_a_part_of_the_model():
    memory = layers(2)
    inputs = torch.randn(3, 8, 4, dtype=torch.float64)
    gates = [torch.full((8,), value, dtype=torch.float64) for value in (0.9, 0.5, 0.1)]
    apart = [chunked(memory, *inputs, *gates, chunk)[0] for chunk in (1, 8)]
    assert (apart[0] - apart[1]).abs().max() > 0.01


def test_a_gate_that_is_shut_forgets_all_and_divides_by_nothing():
    memory = layers(2)
    keys, values, queries = torch.randn(3, 5, 4, dtype=torch.float64)
    keep, momentum = torch.ones(5, dtype=torch.float64), torch.full((5,), 0.5, dtype=torch.float64)
    keep[3] = momentum[3] = 0.0
    found, *_ = chunked(memory, keys, values, queries, keep, momentum, torch.full_like(keep, 0.1), 5)
    assert found.isfinite().all()
    # From there on, what was written before is gone: only gradients at the begin of the chunk are left.
    changed = torch.cat([torch.randn(3, 4, dtype=torch.float64), values[3:]])
    after, *_ = chunked(memory, keys, changed, queries, keep, momentum, torch.full_like(keep, 0.1), 5)
    torch.testing.assert_close(after[3:], found[3:], atol=1e-12, rtol=1e-12)
    assert (after[:3] - found[:3]).abs().max() > 1e-3


def test_one_linear_layer_without_momentum_or_forgetting_is_the_delta_rule():
    weight = torch.zeros(4, 4, dtype=torch.float64)
    keys = F.normalize(torch.randn(6, 4, dtype=torch.float64), dim=-1)
    values, rate = torch.randn(6, 4, dtype=torch.float64), 0.3
    keep, rates = torch.ones(6, dtype=torch.float64), torch.full((6,), rate, dtype=torch.float64)
    found, *_ = chunked([weight[None, None]], keys, values, keys, keep, torch.zeros_like(keep), rates, 1)
    for t in range(6):
        weight = weight - 2 * rate * torch.outer(weight @ keys[t] - values[t], keys[t])
        torch.testing.assert_close(found[t], weight @ keys[t], atol=1e-12, rtol=1e-12)


def test_pairs_are_recalled_better_each_time_they_are_read():
    torch.manual_seed(0)
    memory = layers(2, 8, 16)
    keys = F.normalize(torch.randn(4, 8, dtype=torch.float64), dim=-1)
    values = torch.randn(4, 8, dtype=torch.float64)
    keep, momentum = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    errors = []
    for _ in range(6):
        distances = [(single(memory, key) - value).norm() for key, value in zip(keys, values, strict=True)]
        errors.append(float(torch.stack(distances).mean()))
        _, memory, _ = chunked(memory, keys, values, keys, keep, momentum, torch.full_like(keep, 0.02), 4)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7 * errors[0]


def test_gradients_are_those_of_autograd():
    memory = layers(3)
    key, value = torch.randn(2, 4, dtype=torch.float64)
    found = gradients(memory, key[None, None, None], value[None, None, None])
    for (error, entered), wanted in zip(found, by_autograd(memory, key, value), strict=True):
        torch.testing.assert_close(error.mT @ entered, wanted, atol=1e-10, rtol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["lmm", "mag", "mal", "mac"])
def test_a_long_row_neither_grows_the_state_nor_leaves_the_numbers(variant):
    torch.manual_seed(0)
    mixer = new_mixer(16, TitansConfig(variant=variant, heads=2, chunk=8, window=8))
    state = mixer.start(1, "cpu", torch.float32)
    vector = torch.randn(1, 1, 16)
    for _ in range(20):  # the same position again and again is what descent is least stable on
        out, state = mixer.prefill(vector.expand(1, 100, 16), state)
    assert out.isfinite().all()
    assert max(float(part.abs().max()) for part in state.values() if part.is_floating_point()) < 100


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TitansConfig(chunk=0), "chunk 0"),
        (TitansConfig(window=0), "window is 0"),
        (TitansConfig(heads=16, variant="mac"), "even width"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        new_mixer(16, config)
