"""Patience ends a run, the best weights come back, and a resumed run stops where an unbroken one does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from speechkit.errors import UserError
from speechkit.training import EarlyStopping, Objective, TrainingConfig, Turn, train


def evaluate_at(stopping, model, values, folder):
    for value in values:
        with torch.no_grad():
            model.weight.fill_(value)
        stopping.update({"loss": value}, model, folder)


@pytest.mark.parametrize("sign", [1, -1])
def test_two_evaluations_without_a_new_best_end_the_run_and_the_best_weights_come_back(tmp_path, sign):
    stopping, model = EarlyStopping("loss", 2, higher_is_better=sign < 0), nn.Linear(2, 1)
    evaluate_at(stopping, model, [sign * 3.0, sign * 2.0, sign * 2.5], tmp_path)
    assert not stopping.should_stop
    evaluate_at(stopping, model, [math.nan], tmp_path)
    assert stopping.should_stop
    assert stopping.best == sign * 2.0
    stopping.restore(model, tmp_path)
    assert model.weight.flatten().tolist() == [sign * 2.0, sign * 2.0]


def test_no_patience_is_endless(tmp_path):
    endless = EarlyStopping("loss", 0)
    evaluate_at(endless, nn.Linear(2, 1), [1.0, 2.0, 3.0], tmp_path)
    assert not endless.should_stop


CONFIG = TrainingConfig(steps=200, learning_rates=(0.1,), warmup_steps=0, evaluate_every=2, save_every=3, log_every=50)


def run(folder, interrupt_at=None):
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    stopping = EarlyStopping("distance", 3)
    asked = iter(range(1000))

    def evaluate(current):
        # Falls until the weight reaches 1, and rises behind it: the target of training is 2.
        return {"distance": float((current.weight - 1).square().sum())}

    def loss(current, batch):
        return (current.weight - 2).square().sum() + 0.0 * current(batch).sum(), {}

    turn = Turn(loss, [list(model.parameters())])
    objective = Objective(model, [turn], lambda number: torch.full((1, 1), float(number)), evaluate, stopping)
    done = train(objective, CONFIG, folder, should_stop=lambda: next(asked) == interrupt_at, log=lambda _: None)
    return done, stopping, model


def test_a_run_stops_by_itself_and_goes_on_as_if_it_had_not_been_interrupted(tmp_path):
    done, whole, expected = run(tmp_path / "whole")
    assert done
    assert whole.should_stop
    assert run(tmp_path / "halves", 6)[0] is False
    done, halves, model = run(tmp_path / "halves")
    assert done
    assert halves.history == whole.history
    assert torch.equal(expected.weight, model.weight)
    assert abs(float(model.weight.detach()) - 1) == pytest.approx(math.sqrt(whole.best))
    assert (tmp_path / "halves/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_a_run_that_stopped_by_itself_is_complete(tmp_path):
    _, stopping, expected = run(tmp_path)
    done, again, model = run(tmp_path)
    assert done
    assert again.history == stopping.history
    assert torch.equal(expected.weight, model.weight)


def test_best_weights_that_are_gone_are_told(tmp_path):
    run(tmp_path)
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(UserError, match="another folder"):
        run(tmp_path)
