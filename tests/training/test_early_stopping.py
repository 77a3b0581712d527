"""Patience ends a run, the best weights come back, and a resumed run repeats the looks behind its checkpoint."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from speechkit.errors import UserError
from speechkit.training import TrainingConfig, train
from speechkit.training.early_stopping import EarlyStopping


def look_at(stopping, model, values):
    for value in values:
        with torch.no_grad():
            model.weight.fill_(value)
        stopping.look(model, value)


def test_two_looks_without_a_new_best_end_the_run_and_the_best_weights_come_back(tmp_path):
    stopping, model = EarlyStopping(tmp_path, 2, 10), nn.Linear(2, 1)
    look_at(stopping, model, [3.0, 2.0, 2.5])
    assert not stopping.should_stop()
    look_at(stopping, model, [math.nan])
    assert stopping.over
    stopping.restore(model)
    assert model.weight.flatten().tolist() == [2.0, 2.0]
    endless = EarlyStopping(tmp_path / "endless", 0, 10)
    look_at(endless, model, [1.0, 2.0, 3.0])
    assert not endless.over


def test_a_run_stops_by_itself_and_goes_on_as_if_it_had_not_been_interrupted(tmp_path):
    config = TrainingConfig(
        steps=200, learning_rates=(0.1,), warmup_steps=0, evaluate_every=2, save_every=3, log_every=50
    )

    def run(folder, interrupt_at):
        torch.manual_seed(0)
        model = nn.Linear(1, 1)
        stopping = EarlyStopping(folder, 3, config.evaluate_every)
        asked = iter(range(1000))

        def evaluate(current):
            # Falls until the weight reaches 1, and rises behind it: the target of training is 2.
            stopping.look(current, float((current.weight - 1).square().sum()))
            return {}

        def loss(current, batch):
            return (current.weight - 2).square().sum() + 0.0 * current(batch).sum(), {}

        done = train(
            model,
            [list(model.parameters())],
            lambda number: torch.full((1, 1), float(number)),
            loss,
            config,
            folder,
            evaluate=evaluate,
            should_stop=lambda: stopping.over or next(asked) == interrupt_at,
            log=lambda _: None,
        )
        return done, stopping, model

    _, whole, expected = run(tmp_path / "whole", None)
    assert whole.over
    run(tmp_path / "halves", 6)
    _, halves, model = run(tmp_path / "halves", None)
    assert halves.values == whole.values
    whole.restore(expected)
    halves.restore(model)
    assert torch.equal(expected.weight, model.weight)


def test_a_folder_with_a_checkpoint_and_no_looks_is_told(tmp_path):
    (tmp_path / "checkpoints/step-00000010").mkdir(parents=True)
    (tmp_path / "checkpoints/step-00000010/progress.json").write_text("{}")
    with pytest.raises(UserError, match="begin the run in another folder"):
        EarlyStopping(tmp_path, 2, 5)
