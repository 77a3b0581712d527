"""Caches that grow in place: no state changes, whoever goes on from it, and one row's kernel is the layer."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.nn.sequence.growing import MIN_CAPACITY, append_columns, keep_last_columns
from speechkit.nn.sequence.mixer import select_rows
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import Stack, StackConfig

LAYERS = {
    "plain": AttentionConfig(heads=2),
    "grouped": AttentionConfig(heads=4, key_heads=2),
    "window": AttentionConfig(heads=2, window=5),
    "window of one": AttentionConfig(heads=2, window=1),
    "bias": AttentionConfig(heads=2, bias=True),
    "learnt": AttentionConfig(heads=2, persistent=2),
    "no rotation": AttentionConfig(heads=2, rotary=False),
}


def stack(name, feeds=True):
    torch.manual_seed(len(name))
    layer = LAYERS[name]
    return Stack(StackConfig(layers=(layer, layer), width=16, feed_width=24 if feeds else 0)).eval()


@settings(max_examples=30, deadline=None)
@given(moves=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.integers(0, 12)), min_size=1, max_size=12))
def test_columns_that_branch_are_those_of_plain_concatenation(moves):
    """A tree of columns: each move goes on from an earlier one, and may forget its first."""
    states = [(torch.zeros(2, 3, 0, 4), torch.zeros(2, 3, 0, 4))]
    with torch.no_grad():
        for number, (parent, added, forgotten) in enumerate(moves):
            ours, plain = states[parent % len(states)]
            new = torch.full((2, 3, added, 4), float(number)) + torch.randn(2, 3, added, 4)
            kept = max(1, ours.shape[2] + added - forgotten)
            states.append(
                (keep_last_columns(append_columns(ours, new), kept), torch.cat([plain, new], 2)[:, :, -kept:].clone())
            )
        for ours, plain in states:
            assert ours.equal(plain)


def test_a_long_row_is_copied_a_few_times_and_not_at_each_step():
    with torch.inference_mode():
        columns, places = torch.zeros(1, 2, 0, 4), set()
        for _ in range(1000):
            columns = append_columns(columns, torch.zeros(1, 2, 1, 4))
            places.add(columns.untyped_storage().data_ptr())
            assert columns.untyped_storage().nbytes() <= 4 * 8 * (2 * columns.shape[2] + MIN_CAPACITY)
        assert len(places) < 12


def test_a_window_stays_within_twice_its_memory():
    mixer = stack("window")
    with torch.inference_mode():
        state = mixer.start(1, "cpu", torch.float32)
        for _ in range(300):
            _, state = mixer.step(torch.randn(1, 16), state)
    assert state["0.keys"].shape[2] == 4
    assert state["0.keys"].untyped_storage().nbytes() <= 4 * 16 * (2 * 5 + MIN_CAPACITY)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("feeds", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_steps_of_one_row_are_the_whole_row_at_once(name, feeds, mode):
    mixer = stack(name, feeds)
    x = torch.randn(1, 75, 16)
    with mode():
        whole = mixer(x)
        state, rows = mixer.start(1, "cpu", torch.float32), []
        for place in range(75):
            given_row = x[:, place].clone()
            row, state = mixer.step(given_row, state)
            assert given_row.equal(x[:, place])
            rows.append(row)
    torch.testing.assert_close(torch.stack(rows, 1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_two_ways_on_from_one_state_do_not_meet(name):
    mixer = stack(name)
    x, other = torch.randn(1, 9, 16), torch.randn(1, 9, 16)
    with torch.inference_mode():
        _, begun = mixer.prefill(x[:, :4], mixer.start(1, "cpu", torch.float32))
        ours = theirs = begun
        found = []
        for place in range(4, 9):
            _, theirs = mixer.step(other[:, place], theirs)
            row, ours = mixer.step(x[:, place], ours)
            found.append(row)
        again, _ = mixer.step(x[:, 4], select_rows(begun, torch.tensor([0])))
    with torch.no_grad():
        whole = mixer(x)
    torch.testing.assert_close(torch.stack(found, 1), whole[:, 4:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again, whole[:, 4], atol=1e-5, rtol=1e-5)


def test_a_state_can_go_on_in_another_mode_and_be_copied():
    mixer = stack("grouped")
    x = torch.randn(1, 6, 16)
    with torch.no_grad():
        whole = mixer(x)
    with torch.inference_mode():
        _, state = mixer.prefill(x[:, :2], mixer.start(1, "cpu", torch.float32))
        _, state = mixer.step(x[:, 2], state)
    with torch.no_grad():
        row, state = mixer.step(x[:, 3], state)
        copied = copy.deepcopy(state)
        torch.testing.assert_close(row, whole[:, 3], atol=1e-5, rtol=1e-5)
        mixer.step(torch.randn(1, 16), state)
        row, _ = mixer.step(x[:, 4], copied)
    torch.testing.assert_close(row, whole[:, 4], atol=1e-5, rtol=1e-5)
    row, _ = mixer.step(x[:, 4], state)  # gradients are kept
    row.sum().backward()
    torch.testing.assert_close(row.detach(), whole[:, 4], atol=1e-5, rtol=1e-5)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in mixer.parameters())


def test_a_row_of_nan_stays_nan():
    mixer = stack("plain")
    with torch.inference_mode():
        row, _ = mixer.step(torch.full((1, 16), torch.nan), mixer.start(1, "cpu", torch.float32))
    assert row.isnan().all()
