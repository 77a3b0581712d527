"""Claims about the memory of pre-training, and about encoders of the base size: they take steps on a processor."""

from __future__ import annotations

import math
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.encoders.families.autoregressive import AutoregressiveConfig, AutoregressiveModel
from speechkit.encoders.pretraining.families import make_family
from speechkit.encoders.pretraining.generative import GenerativeObjective
from speechkit.encoders.pretraining.memory import activation_bytes, step_memory
from speechkit.encoders.pretraining.predictive import PredictiveObjective
from speechkit.encoders.pretraining.sizes import sized_config
from speechkit.encoders.pretraining.targets import no_targets
from speechkit.io.arrays import write_arrays
from speechkit.pipeline.config import read_settings
from speechkit.pipeline.discover import recipe_module

RECIPE = recipe_module("ssl_pretrain").recipe
CONF = Path(__file__).parents[3] / "recipes" / "ssl_pretrain" / "conf"
WITHIN = 0.05


def batch_of(seconds, items=1):
    samples = int(16_000 * seconds)
    waveforms = 0.1 * torch.randn(items, samples, generator=torch.Generator().manual_seed(0))
    return {
        "inputs": waveforms,
        "clean": waveforms,
        "lengths": torch.full((items,), samples),
        "items": torch.zeros(items, dtype=torch.long),
        "begins": torch.zeros(items, dtype=torch.long),
    }


def kept_bytes(family, batch):
    """Bytes of all tensors that autograd keeps of a loss, without the parameters."""
    network = family.network.train()
    own = {value.untyped_storage().data_ptr() for value in (*network.parameters(), *network.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no other takes its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = family.loss(network, batch)
    return sum(count for count, _ in kept.values()), loss


def predictive(size, **settings):
    from transformers import Wav2Vec2Model

    torch.manual_seed(0)
    network = Wav2Vec2Model(sized_config(size, layerdrop=0.0, **settings))
    return network.config, PredictiveObjective(network, 50, lambda item: np.zeros(2_000, np.int64), 0)


@pytest.mark.parametrize(("seconds", "items"), [(1, 1), (2, 2), (6, 1)])
def test_activations_are_what_autograd_keeps(seconds, items):
    config, family = predictive("small", hidden_dropout=0.1, attention_dropout=0.1)
    measured, _ = kept_bytes(family, family.prepare(batch_of(seconds, items), 0))
    assert activation_bytes(config, seconds, items) == pytest.approx(measured, rel=WITHIN)


def test_without_dropout_neither_masks_nor_probabilities_are_kept():
    config, family = predictive("small", hidden_dropout=0.0, attention_dropout=0.0)
    measured, _ = kept_bytes(family, family.prepare(batch_of(4), 0))
    assert activation_bytes(config, 4) == pytest.approx(measured, rel=WITHIN)


def test_recurrent_layers_keep_eight_vectors_a_frame():
    config = AutoregressiveConfig(width=256)
    family = GenerativeObjective(AutoregressiveModel(config))
    measured, _ = kept_bytes(family, family.prepare(batch_of(2), 0))
    assert activation_bytes(config, 2) == pytest.approx(measured, rel=WITHIN)


def test_states_are_those_of_the_optimiser_and_the_average():
    _, family = predictive("tiny")
    network = family.network
    optimizer = torch.optim.AdamW(network.parameters())
    loss, _ = family.loss(network, family.prepare(batch_of(1), 0))
    loss.backward()
    optimizer.step()
    # What no gradient reaches has no moments; the average has a copy of each weight.
    states = sum(2 * value.nbytes for value in network.parameters())
    states += sum(2 * value.nbytes for value in network.parameters() if value.grad is None)
    states += sum(value.grad.nbytes for value in network.parameters() if value.grad is not None)
    states += sum(v.nbytes for kept in optimizer.state.values() for v in kept.values() if v.dim())
    memory = step_memory(network, 10, 1)
    assert memory.parameters == sum(value.numel() for value in network.parameters())
    assert memory.states == pytest.approx(states, rel=0.01)
    assert memory.activations == activation_bytes(family.network.encoder.network.config, 1, 10)
    assert "million parameters" in memory.sentence()


@pytest.fixture
def whisper_base(monkeypatch):
    """A teacher of Whisper base's shape for two seconds, with random weights."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from speechkit.encoders.pretraining import teacher

    shape = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
    encoder = WhisperEncoder(WhisperConfig(max_source_positions=100, **shape)).eval()
    monkeypatch.setattr(teacher, "read_whisper_encoder", lambda name: encoder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contrastive", "predictive", "generative", "distilled"])
def test_a_family_of_the_base_size_takes_two_steps(name, whisper_base, tmp_path):
    torch.manual_seed(0)
    given = [f"family={name}", "train.teacher=whisper-base", "train.teacher_layers=[0,2,4,6]"]
    config = read_settings(RECIPE, [CONF / "base.yaml"], given).config(RECIPE.stage("train"))
    targets = tmp_path / "targets.safetensors"
    if name == "predictive":
        labels = np.arange(100, dtype=np.uint16)
        write_arrays(targets, {"labels": labels, "ends": np.array([100]), "clusters": np.array([100])})
    else:
        no_targets(targets)
    family = make_family(config, lambda number: batch_of(2), targets, 0)
    network = family.network.train()
    memory = step_memory(network, 2, 2)
    assert memory.states < 2.5e9
    before = {key: value.detach().clone() for key, value in network.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(network.parameters(), config.loop.learning_rates[0])
    for number in range(2):
        measured, loss = kept_bytes(family, family.prepare(batch_of(2), number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert math.isfinite(float(loss.detach()))
    # Layer drop leaves some layers out of a step; what a distilled student does beside its encoder is small.
    assert 0.7 * memory.activations < measured < (1 + 2 * WITHIN) * memory.activations
    moved = [key for key, value in network.named_parameters() if not torch.equal(value, before[key])]
    assert len(moved) > 0.9 * len(before)
    assert all(bool(value.isfinite().all()) for value in network.parameters())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 10e6  # kilobytes
