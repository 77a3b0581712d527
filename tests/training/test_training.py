"""The loop resumes as if never stopped, and processes share a step as accumulation would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from speechkit.errors import ConfigError, UserError
from speechkit.training import LengthBuckets, TrainingConfig, train
from speechkit.training.checkpoint import latest_checkpoint
from speechkit.training.loop import mixed_precision


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


def run(folder, network=None, stop_after=None, **settings):
    network = network or model()
    config = TrainingConfig(
        **{"steps": 30, "learning_rates": (1e-2,), "warmup_steps": 5, "log_every": 5, "save_every": 10, **settings}
    )
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) == stop_after

    done = train(
        network,
        [list(network.parameters())],
        batch,
        loss,
        config,
        folder,
        should_stop=should_stop,
        log=lambda line: None,
    )
    return network, done


def weights(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


@pytest.mark.parametrize("stop_after", [1, 7, 10, 29])
def test_interrupted_run_ends_in_the_same_bits(tmp_path, stop_after):
    whole, _ = run(tmp_path / "whole")
    _, done = run(tmp_path / "parts", stop_after=stop_after)
    assert not done
    resumed, done = run(tmp_path / "parts", network=nn.Sequential(*model()))
    assert done
    assert torch.equal(weights(whole), weights(resumed))


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
    train(
        network,
        [list(network.parameters())],
        batch,
        loss,
        config,
        tmp_path / "b",
        evaluate=evaluate,
        log=lambda _: None,
    )
    assert len(seen) == 3
    assert torch.equal(seen[-1], weights(network))
    assert torch.equal(weights(whole), weights(network))


def test_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    run(tmp_path, stop_after=3)
    with pytest.raises(UserError, match=r"steps 30 there and 40 here"):
        run(tmp_path, steps=40)


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    run(tmp_path, stop_after=3)
    (latest_checkpoint(tmp_path / "checkpoints") / "optimizer.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="does not fit"):
        run(tmp_path)


def test_settings_are_checked_together():
    with pytest.raises(ConfigError, match=r"steps is 0.*accumulation is 0"):
        TrainingConfig(steps=0, accumulation=0)


SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from test_training import run, weights
network, _ = run(sys.argv[1], accumulation=int(sys.argv[3]), steps=12)
import os
if os.environ.get("RANK", "0") == "0":
    from safetensors.torch import save_file
    save_file({"weights": weights(network)}, sys.argv[1] + "/end.safetensors")
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_accumulation(tmp_path):
    from safetensors.torch import load_file

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    here = str(Path(__file__).parent)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for folder, launcher, accumulation in (
        ("one", [sys.executable], "2"),
        ("two", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"], "1"),
    ):
        (tmp_path / folder).mkdir()
        command = [*launcher, str(script), str(tmp_path / folder), here, accumulation]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
    one = load_file(tmp_path / "one" / "end.safetensors")["weights"]
    two = load_file(tmp_path / "two" / "end.safetensors")["weights"]
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


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
