"""Claims about frames made by a flow: padding, seeds, guidance, conditions, and that they are learnt."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from speechkit.errors import ConfigError, UserError
from speechkit.nn.flow_matching import item_noise
from speechkit.training import TrainingConfig, train
from speechkit.tts.flow_config import FlowConfig, SamplingConfig
from speechkit.tts.flow_training import FlowItems, flow_objective
from speechkit.tts.flow_transformer import Conditions, FlowTransformer, flow_loss, sample_frames

CONFIG = FlowConfig(width=16, layers=2, heads=2, feed_width=32, kernel=5)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = FlowTransformer(CONFIG, 3)
    for parameter in network.parameters():  # the output begins as nothing
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def conditions(items, frames=None):
    """For three items of 9, 4 and 6 frames, padded with what must not be seen."""
    text_lengths = torch.tensor([5, 2, 7])
    text = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1))
    known = torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(2))
    speaker = torch.randn(3, 16, generator=torch.Generator().manual_seed(3))
    return Conditions(
        text=text[items, : int(text_lengths[items].max())],
        text_lengths=text_lengths[items],
        frames=None if frames is None else known[items, :frames],
        speaker=speaker[items],
    )


LENGTHS = [9, 4, 6]


@pytest.mark.parametrize("with_frames", [False, True])
def test_an_item_is_the_same_in_every_batch(network, with_frames):
    sampling = SamplingConfig(steps=3, guidance=1.5)
    batch = sample_frames(network, LENGTHS, conditions([0, 1, 2], 9 if with_frames else None), sampling, [7, 8, 9])
    for index, length in enumerate(LENGTHS):
        own = conditions([index], length if with_frames else None)
        single = sample_frames(network, [length], own, sampling, [7 + index])
        torch.testing.assert_close(batch[index, :length], single[0], atol=1e-4, rtol=1e-3)


def test_a_seed_decides_what_is_drawn(network):
    drawn = [sample_frames(network, [6], conditions([2]), SamplingConfig(steps=2), [seed]) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_what_is_dropped_changes_nothing(network):
    points, time, lengths = torch.randn(3, 9, 3), torch.rand(3), torch.tensor(LENGTHS)
    given = conditions([0, 1, 2], 9)
    kept = torch.tensor([True, False, False])
    velocity = network(points, time, lengths, replace(given, kept=kept))
    other = replace(given, text=given.text.flip(0), frames=given.frames.flip(0), speaker=given.speaker.flip(0))
    changed = network(points, time, lengths, replace(other, kept=kept))
    torch.testing.assert_close(velocity[1, :4], changed[1, :4])
    torch.testing.assert_close(velocity[2, :6], changed[2, :6])
    assert not torch.allclose(velocity[0], changed[0])


def test_every_condition_is_heard(network):
    points, time, lengths = torch.randn(1, 9, 3), torch.rand(1), torch.tensor([9])
    given = conditions([0], 9)
    velocity = network(points, time, lengths, given)
    for name in ("text", "frames", "speaker"):
        changed = replace(given, **{name: getattr(given, name).flip(-1)})
        assert not torch.allclose(velocity, network(points, time, lengths, changed), atol=1e-4), name


def test_loss_ignores_what_lies_behind_an_end(network):
    data = torch.randn(3, 9, 3)
    losses = []
    for filler in (0.0, 50.0):
        for index, length in enumerate(LENGTHS):
            data[index, length:] = filler
        torch.manual_seed(4)
        losses.append(flow_loss(network, data, torch.tensor(LENGTHS), conditions([0, 1, 2])).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="twice the heads"):
        FlowConfig(width=20, heads=4, kernel=5)
    with pytest.raises(UserError, match="no item is left"):
        FlowItems([], lambda chosen: {})


class Levels(torch.nn.Module):
    """Frames that follow a level known frame by frame."""

    def __init__(self, prediction):
        super().__init__()
        self.flow = FlowTransformer(msgspec.structs.replace(CONFIG, prediction=prediction), 3)
        self.level = torch.nn.Linear(1, 16)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("deviation", torch.ones(3))

    def batch_conditions(self, batch):
        return Conditions(frames=self.level(batch["levels"]))


def test_a_step_leads_to_the_data_that_a_network_predicts(network):
    predicting = FlowTransformer(msgspec.structs.replace(CONFIG, prediction="data"), 3).eval()
    predicting.load_state_dict(network.state_dict())
    given, lengths = conditions([0, 1, 2]), torch.tensor(LENGTHS)
    noise = item_noise([7, 8, 9], LENGTHS, 3)
    with torch.no_grad():
        data = network(
            noise, torch.zeros(3), lengths, given
        )  # the same weights without a velocity made of their output
    drawn = sample_frames(predicting, LENGTHS, given, SamplingConfig(steps=1, guidance=0.0), [7, 8, 9])
    torch.testing.assert_close(drawn, data)


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["velocity", "data"])
def test_frames_follow_their_condition_after_training(tmp_path, prediction):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    levels = [np.repeat(rng.choice([-1.0, 1.0], 3), 4).astype(np.float32) for _ in range(40)]
    frames = [np.round(20 * row[:, None] * np.array([[1, 2, -1]]) + 60).astype(np.int8) for row in levels]

    def others(chosen):
        return {"levels": torch.stack([torch.from_numpy(levels[index])[:, None] for index in chosen])}

    items = FlowItems(frames, others, scale=0.1)
    objective = flow_objective(Levels(prediction), items, items, lambda folder: None, batch_frames=120, drop=0.0)
    settings = TrainingConfig(steps=250, learning_rates=(1e-2,), warmup_steps=10, average_decay=0.9, evaluate_every=250)
    train(objective, settings, tmp_path, log=lambda _: None)
    network = objective.network.eval()
    batch = items.batch([0, 1], 0)
    with torch.no_grad():
        given = network.batch_conditions(batch)
        drawn = sample_frames(network.flow, [12, 12], given, SamplingConfig(steps=8, guidance=0.0), [0, 1])
    error = (drawn * network.deviation + network.mean - batch["frames"]).abs().mean()
    assert float(error) < 0.5  # the levels lie 4, 8 and 4 apart
