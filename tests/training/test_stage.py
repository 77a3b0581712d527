"""Claims about the stage that trains: equal runs write equal bytes, also after a stop; two processes share steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
import torch
from torch import nn

from speechkit.pipeline import NEUTRAL, Context, Interrupted, Output, Recipe, Stage, outputs, run_recipe
from speechkit.training import Objective, TrainingConfig, Turn, train_stage
from speechkit.training.objective import mean_losses


class Config(msgspec.Struct, frozen=True):
    processes: Annotated[int, NEUTRAL] = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(
        steps=6, learning_rates=(0.05,), warmup_steps=0, log_every=2, evaluate_every=3, save_every=4
    )


def loss(network, batch):
    value = (network(batch) - batch.sum(1, keepdim=True)).square().mean()
    return value, {"twice": 2 * float(value.detach())}


def batch(number):
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(number))


def objective(context):
    network = nn.Linear(3, 1)  # of the stage's seed

    def save(folder: Path) -> None:
        folder.mkdir()
        (folder / "weights.json").write_text(json.dumps([value.tolist() for value in network.state_dict().values()]))

    turn = Turn(loss, [list(network.parameters())])
    return Objective(network, [turn], batch, mean_losses(loss, [batch(-1), batch(-2)]), save=save)


def train(context):
    config = context.config
    train_stage(context, objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


recipe = Recipe("toy", (Stage(1, "train", train, (), (Output("model"), Output("metrics.jsonl")), Config),))


def written(exp):
    folder = outputs(recipe, exp, "train")
    return [(folder / name).read_bytes() for name in ("model/weights.json", "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    exp = tmp_path_factory.mktemp("whole")
    assert run_recipe(recipe, exp, device="cpu") == 0
    return written(exp)


def test_equal_runs_write_equal_bytes_and_another_seed_others(whole, tmp_path):
    assert run_recipe(recipe, tmp_path / "again", device="cpu") == 0
    assert written(tmp_path / "again") == whole
    assert run_recipe(recipe, tmp_path / "seed", ["seed=2"], device="cpu") == 0
    assert written(tmp_path / "seed")[0] != whole[0]
    lines = [json.loads(line) for line in whole[1].splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 6]
    assert list(lines[0]) == ["step", "loss", "twice", "gradient_norm", "rate_factor"]
    assert list(lines[1]) == ["step", "dev_loss", "dev_twice"]
    assert lines[1]["dev_twice"] == pytest.approx(2 * lines[1]["dev_loss"])


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(whole, tmp_path, monkeypatch):
    asked = iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(Context, "interrupted", property(lambda self: next(asked, True)))
        assert run_recipe(recipe, tmp_path, device="cpu") == Interrupted.exit_code
    assert list(tmp_path.glob("01-train/*.work/**/checkpoints/step-00000003"))
    assert run_recipe(recipe, tmp_path, device="cpu") == 0
    assert written(tmp_path) == whole


def test_curves_stay_beside_the_result_and_change_none_of_its_bytes(whole, tmp_path):
    pytest.importorskip("tensorboard")
    assert run_recipe(recipe, tmp_path, ["train.tensorboard=true"], device="cpu") == 0
    assert written(tmp_path) == whole
    (events,) = tmp_path.glob("01-train/tensorboard/*/events.*")
    assert events.stat().st_size


@pytest.mark.slow
def test_two_processes_share_each_step(tmp_path):
    for name, more in (("one", "train.loop.accumulation=2"), ("two", "train.processes=2")):
        assert run_recipe(recipe, tmp_path / name, [more], device="cpu") == 0
    one, two = (json.loads(written(tmp_path / name)[0]) for name in ("one", "two"))
    assert two[0][0] == pytest.approx(one[0][0], abs=1e-5)
    assert two[1] == pytest.approx(one[1], abs=1e-5)
