"""The loop resumes as if never stopped, and processes share a step as accumulation would."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from speechkit.errors import ConfigError, UserError
from speechkit.training import LengthBuckets, Objective, TrainingConfig, Turn, train
from speechkit.training.checkpoint import latest_checkpoint
from speechkit.training.config import mixed_precision, rate_factor
from speechkit.training.loop import train_measured


def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 2))


def batch(number):
    generator = np.random.default_rng([7, number])
    x = generator.standard_normal((8, 4)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy((x[:, 0] * x[:, 1] > 0).astype(np.int64))


def loss(network, item):
    x, y = item
    logits = network(x)
    return nn.functional.cross_entropy(logits.float(), y), {"accuracy": float((logits.argmax(1) == y).float().mean())}


def objective_of(network, evaluate=None):
    return Objective(network, [Turn(loss, [list(network.parameters())])], batch, evaluate)


def run(folder, network=None, stop_after=None, objective=None, **settings):
    objective = objective or objective_of(network or model())
    config = TrainingConfig(
        **{"steps": 30, "learning_rates": (1e-2,), "warmup_steps": 5, "log_every": 5, "save_every": 10, **settings}
    )
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) == stop_after

    done = train(objective, config, folder, should_stop=should_stop, log=lambda line: None)
    return objective.network, done


def weights(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


@pytest.mark.parametrize("stop_after", [1, 7, 10, 29])
def test_interrupted_run_ends_in_the_same_bits_and_metrics(tmp_path, stop_after):
    def parameter_norm(network):
        return {"dev_norm": float(weights(network).norm())}

    whole, _ = run(tmp_path / "whole", objective=objective_of(model(), parameter_norm), evaluate_every=7)
    parts = objective_of(model(), parameter_norm)
    _, done = run(tmp_path / "parts", stop_after=stop_after, objective=parts, evaluate_every=7)
    assert not done
    again = objective_of(nn.Sequential(*model()), parameter_norm)
    resumed, done = run(tmp_path / "parts", objective=again, evaluate_every=7)
    assert done
    assert torch.equal(weights(whole), weights(resumed))
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    assert len(metrics[0].splitlines()) == 6 + 5
    # Once more it is complete, and says the same.
    run(tmp_path / "parts", objective=objective_of(model(), parameter_norm), evaluate_every=7)
    assert (tmp_path / "parts" / "metrics.jsonl").read_bytes() == metrics[0]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_training_equals_the_loop_written_out(tmp_path, accumulation):
    found, _ = run(tmp_path, accumulation=accumulation, clip_norm=0.5)
    network, config = model(), TrainingConfig(steps=30, learning_rates=(1e-2,), warmup_steps=5)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay)
    averages = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * rate_factor(config, step, 0)
        for number in range(step * accumulation, (step + 1) * accumulation):
            torch.manual_seed(number)
            (loss(network, batch(number))[0] / accumulation).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        for name, value in network.state_dict().items():
            averages[name].lerp_(value, 1 - min(config.average_decay, step / (step + 10)))
    for name, value in found.state_dict().items():
        assert torch.equal(value, averages[name]), name


def test_killed_run_goes_on_from_the_last_complete_checkpoint(tmp_path):
    whole, _ = run(tmp_path / "whole")
    _, _ = run(tmp_path / "killed", stop_after=15)
    checkpoints = tmp_path / "killed" / "checkpoints"
    torn = checkpoints / ".step-00000020.tmp"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    with (tmp_path / "killed" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 99, "loss": 1}\n{"step": 1')
    resumed, _ = run(tmp_path / "killed")
    assert torch.equal(weights(whole), weights(resumed))
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 30


def test_seconds_per_step_are_those_of_the_steps_of_this_call(tmp_path, monkeypatch):
    clock = iter([0.0, 6.0, 10.0, 24.0, 30.0])
    monkeypatch.setattr("speechkit.training.loop.time.process_time", lambda: next(clock))
    config, asked = TrainingConfig(steps=10, learning_rates=(1e-2,)), iter(range(10))

    def measured(should_stop=lambda: False):
        return train_measured(objective_of(model()), config, tmp_path, should_stop=should_stop, device="cpu")

    assert measured(lambda: next(asked) == 2) == (False, 2.0)  # three steps in 6 s
    assert measured() == (True, 2.0)  # seven in 14 s
    assert measured() == (True, None)


def test_training_lowers_the_loss_and_keeps_few_checkpoints(tmp_path):
    run(tmp_path, steps=200, log_every=50, save_every=20)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_bfloat16_trains_too(tmp_path):
    network, done = run(tmp_path, precision="bf16")
    assert done
    assert torch.isfinite(weights(network)).all()


@pytest.mark.parametrize(("dtype", "chosen"), [(torch.bfloat16, "bf16"), (torch.float16, "no"), (None, "no")])
def test_auto_is_bfloat16_where_the_device_is_faster_with_it(tmp_path, monkeypatch, dtype, chosen):
    monkeypatch.setattr("speechkit.runtime.device.autocast_dtype", lambda device: dtype)
    assert mixed_precision("auto", "cpu") == chosen
    assert (mixed_precision("no", "cpu"), mixed_precision("bf16", "cpu")) == ("no", "bf16")
    expected, _ = run(tmp_path / "named", precision=chosen)
    found, _ = run(tmp_path / "auto", precision="auto")
    torch.testing.assert_close(weights(found), weights(expected), atol=0, rtol=0)


def test_evaluation_sees_averaged_weights_and_changes_nothing(tmp_path):
    whole, _ = run(tmp_path / "a")
    network = model()
    seen = []

    def evaluate(current):
        seen.append(weights(current).clone())
        torch.rand(3)
        return {"norm": float(seen[-1].norm())}

    config = TrainingConfig(steps=30, learning_rates=(1e-2,), warmup_steps=5, evaluate_every=10)
    train(objective_of(network, evaluate), config, tmp_path / "b", log=lambda _: None)
    assert len(seen) == 3
    assert torch.equal(seen[-1], weights(network))
    assert torch.equal(weights(whole), weights(network))


def test_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    run(tmp_path, stop_after=3)
    with pytest.raises(UserError, match=r"steps 30.*40"):
        run(tmp_path, steps=40)


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    run(tmp_path, stop_after=3)
    (latest_checkpoint(tmp_path / "checkpoints") / "optimizer-0.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="does not fit"):
        run(tmp_path)


def test_a_checkpoint_of_another_version_is_one_sentence(tmp_path):
    folder = tmp_path / "checkpoints" / "step-00000003"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text('{"step": 3, "next_batch": 3, "seconds": 1.5, "config": {}}')
    with pytest.raises(UserError, match=r"another version.* remove .*checkpoints"):
        run(tmp_path)


def test_a_loss_that_is_not_finite_is_skipped_and_checkpoints_say_so(tmp_path):
    def strange(network, item):
        mean, values = loss(network, item)
        return mean * (math.nan if torch.initial_seed() == 3 else 1), values

    def made():
        network = model()
        return Objective(network, [Turn(strange, [list(network.parameters())])], batch)

    whole, _ = run(tmp_path / "whole", objective=made())
    assert torch.isfinite(weights(whole)).all()
    run(tmp_path / "parts", objective=made(), stop_after=4)
    run(tmp_path / "parts", objective=made())
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    assert json.loads(metrics[0].splitlines()[0])["loss"] is None


def test_what_belongs_to_no_network_is_refused(tmp_path):
    objective = Objective(model(), [Turn(loss, [list(model().parameters())])], batch)
    with pytest.raises(ValueError, match="outside the objective's network"):
        run(tmp_path, objective=objective)
    with pytest.raises(ConfigError, match="2 learning_rates for 1 parameter group"):
        run(tmp_path, learning_rates=(1e-2, 1e-3))


def test_settings_are_checked_together():
    with pytest.raises(ConfigError, match=r"steps is 0.*accumulation is 0"):
        TrainingConfig(steps=0, accumulation=0)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"learning_rates": (float("nan"),)}, "learning_rates .* must be finite"),
        ({"max_minutes": 0.0}, "max_minutes is 0"),
        ({"max_minutes": float("nan")}, "max_minutes is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"clip_norm": 0.0}, "clip_norm is 0"),
        ({"average_decay": 1.0}, "average_decay is 1"),
    ],
)
def test_settings_that_would_train_nothing_or_nonsense_are_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        TrainingConfig(**setting)


class Adversaries(nn.Module):
    """A generator of numbers and a discriminator of them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.generator = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
        self.discriminator = nn.Sequential(nn.Linear(1, 32), nn.LeakyReLU(), nn.Dropout(0.1), nn.Linear(32, 1))


def real_numbers(number):
    return torch.from_numpy(np.random.default_rng([3, number]).normal(3.0, 0.5, (64, 1)).astype(np.float32))


def drawn(networks, count):
    return networks.generator(torch.randn(count, 2))


def discriminator_loss(networks, real):
    made = drawn(networks, len(real))
    judged = [networks.discriminator(real), networks.discriminator(made)]
    return (judged[0] - 1).square().mean() + judged[1].square().mean(), {"real": float(judged[0].detach().mean())}


def generator_loss(networks, real):
    return (networks.discriminator(drawn(networks, len(real))) - 1).square().mean(), {}


def adversarial(networks=None):
    networks = networks or Adversaries()
    turns = [
        Turn(discriminator_loss, [list(networks.discriminator.parameters())], "discriminator", (0.5, 0.9)),
        Turn(generator_loss, [list(networks.generator.parameters())], "generator", (0.5, 0.9)),
    ]
    return Objective(networks, turns, real_numbers)


ADVERSARIAL = {"learning_rates": (1e-2, 5e-3), "steps": 20, "accumulation": 2, "clip_norm": 10.0, "save_every": 6}


def test_adversaries_equal_the_loop_written_out(tmp_path):
    found, _ = run(tmp_path, objective=adversarial(), **{**ADVERSARIAL, "average_decay": 0.0})
    networks, config = Adversaries(), TrainingConfig(steps=20, warmup_steps=5)
    parts = [
        (networks.discriminator, discriminator_loss, 1e-2, 0),
        (networks.generator, generator_loss, 5e-3, 1 << 48),
    ]
    optimizers = [torch.optim.AdamW(part.parameters(), betas=(0.5, 0.9), weight_decay=0.01) for part, *_ in parts]
    for step in range(config.steps):
        for (part, its_loss, rate, seed), optimizer in zip(parts, optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = rate * rate_factor(config, step, 0)
            optimizer.zero_grad()  # of what the other's loss has left there
            for number in (2 * step, 2 * step + 1):
                torch.manual_seed(seed + number)
                (its_loss(networks, real_numbers(number))[0] / 2).backward()
            nn.utils.clip_grad_norm_(part.parameters(), 10.0)
            optimizer.step()
    assert torch.equal(weights(found), weights(networks))
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert list(line)[1:5] == [
        "discriminator_loss",
        "discriminator_real",
        "discriminator_gradient_norm",
        "generator_loss",
    ]


def test_adversaries_learn_the_distribution(tmp_path):
    networks, _ = run(
        tmp_path, objective=adversarial(), steps=400, learning_rates=(1e-2, 5e-3), average_decay=0.9, log_every=100
    )
    with torch.no_grad():
        made = drawn(networks, 4000)
    assert abs(float(made.mean()) - 3.0) < 0.5


@pytest.mark.parametrize("stop_after", [1, 9, 12])
def test_interrupted_adversaries_end_in_the_same_bits(tmp_path, stop_after):
    whole, _ = run(tmp_path / "whole", objective=adversarial(), **ADVERSARIAL)
    _, done = run(tmp_path / "parts", objective=adversarial(), stop_after=stop_after, **ADVERSARIAL)
    assert not done
    resumed, _ = run(tmp_path / "parts", objective=adversarial(), **ADVERSARIAL)
    assert torch.equal(weights(whole), weights(resumed))
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]


def test_killed_adversaries_end_in_the_same_bits(tmp_path):
    class KilledError(BaseException):
        pass

    def killing(number):
        if number == 21:  # behind the checkpoint of step 6, with lines in the metrics that are behind it, too
            raise KilledError
        return real_numbers(number)

    whole, _ = run(tmp_path / "whole", objective=adversarial(), **ADVERSARIAL)
    with pytest.raises(KilledError):
        run(tmp_path / "parts", objective=replace(adversarial(), batch=killing), **ADVERSARIAL)
    assert latest_checkpoint(tmp_path / "parts" / "checkpoints").name == "step-00000006"
    resumed, _ = run(tmp_path / "parts", objective=adversarial(), **ADVERSARIAL)
    assert torch.equal(weights(whole), weights(resumed))
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]


def test_checkpoints_of_one_optimiser_do_not_fit_two(tmp_path):
    run(tmp_path, objective=adversarial(), stop_after=3, **ADVERSARIAL)
    networks = Adversaries()
    one = Objective(networks, [Turn(generator_loss, [[p] for p in networks.parameters()][:2])], real_numbers)
    with pytest.raises(UserError, match="1 optimisers"):
        run(tmp_path, objective=one, **ADVERSARIAL)


class Dropping(nn.Module):
    """Three layers, of which each micro-batch drops some, and another one that stays, with a zero below 0."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.out = nn.Linear(4, 2)
        self.still = nn.Linear(4, 4)
        self.still.requires_grad_(False)
        self.still.bias.fill_(-0.0)
        self.never = nn.Linear(4, 4)

    def encode(self, x):
        for layer in self.layers:
            if torch.rand(1) < 0.6:
                continue
            x = x + layer(x)
        return x


def dropping_loss(network, item):
    x, y = item
    # Not by forward(), and twice.
    logits = network.out(network.encode(x) + network.encode(network.still(x)))
    return nn.functional.cross_entropy(logits, y), {}


def dropping():
    network = Dropping()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return Objective(network, [Turn(dropping_loss, [learning])], batch)


SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[2])
import os
from safetensors.torch import save_file
from test_training import ADVERSARIAL, adversarial, dropping, run
for name, made, settings in (
    ("plain", lambda: None, {"accumulation": 4, "steps": 12}),
    ("adversaries", adversarial, {**ADVERSARIAL, "accumulation": 4}),
    ("dropping", dropping, {"accumulation": 4, "steps": 12}),
):
    settings["accumulation"] //= int(os.environ.get("WORLD_SIZE", "1"))
    network, _ = run(f"{sys.argv[1]}/{name}", objective=made(), **settings)
    if os.environ.get("RANK", "0") == "0":
        save_file(network.state_dict(), f"{sys.argv[1]}/{name}.safetensors")
"""


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """The same trainings in one process with accumulation and in two."""
    folder = tmp_path_factory.mktemp("layouts")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    here = str(Path(__file__).parent)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for name, launcher in (
        ("one", [sys.executable]),
        ("two", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]),
    ):
        (folder / name).mkdir()
        command = [*launcher, str(script), str(folder / name), here]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "adversaries", "dropping"])
def test_two_processes_equal_one_with_accumulation(layouts, name):
    from safetensors.torch import load_file

    one, two = (load_file(layouts / layout / f"{name}.safetensors") for layout in ("one", "two"))
    assert list(one) == list(two)
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    if name == "dropping":
        still = dropping().network
        for key in ("never.weight", "never.bias", "still.weight"):
            assert torch.equal(two[key], still.state_dict()[key])
        assert torch.signbit(two["still.bias"]).all()


@given(
    lengths=st.lists(st.floats(0.1, 50), min_size=1, max_size=40),
    limit=st.floats(1, 200),
    seed=st.integers(0, 5),
    number=st.integers(0, 60),
)
def test_buckets_visit_every_item_once_an_epoch_within_the_limit(lengths, limit, seed, number):
    buckets = LengthBuckets(lengths, limit, seed)
    epoch = buckets.epoch_of(number)
    assert LengthBuckets(lengths, limit, seed)[number] == buckets[number]
    first = next(n for n in range(number + 1) if buckets.epoch_of(n) == epoch)
    items, n = [], first
    while buckets.epoch_of(n) == epoch:
        chosen = buckets[n]
        assert len(chosen) == 1 or max(lengths[i] for i in chosen) * len(chosen) <= limit * (1 + 1e-9)
        items += chosen
        n += 1
    assert sorted(items) == list(range(len(lengths)))
