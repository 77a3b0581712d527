"""Separators learn, are looked at, and go on where they stopped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from speechkit.augment.speakers import DynamicMixtures, SpeakerMixing
from speechkit.separation.config import SeparationLoss
from speechkit.separation.model import Separator, new_separator, separator_config
from speechkit.separation.training import ValidationMixture, separation_training, validate
from speechkit.training import TrainingConfig, train

RATE = 8000
SMALL = {"filters": 48, "width": 16, "blocks": 1, "query_key": 8, "rotary": 4, "group": 32, "memory": 8, "kernel": 64}
MIXING = SpeakerMixing(seconds=(0.25, 0.25), speed=0.0, together=1.0)


class Hums:
    """Two speakers whose voices share no frequency."""

    sample_rate = RATE
    speakers = ("low", "high")

    def choose(self, speaker: int, generator: np.random.Generator) -> int:
        return speaker

    def samples(self, cut: int) -> int:
        return RATE

    def name(self, cut: int) -> str:
        return self.speakers[cut]

    def piece(self, cut: int, begin: int, samples: int) -> np.ndarray:
        time = np.arange(begin, min(begin + samples, RATE)) / RATE
        frequencies = (150, 300, 450) if cut == 0 else (1200, 1500, 2100)
        return sum(0.1 * np.sin(2 * np.pi * hertz * time) for hertz in frequencies).astype(np.float32)


def separator() -> Separator:
    torch.manual_seed(0)
    return new_separator(separator_config("mossformer2-tiny", **SMALL))


def judged(count: int = 3) -> list[ValidationMixture]:
    drawn = DynamicMixtures(Hums(), MIXING, count, seed=99)[0]
    return [
        ValidationMixture(mixture, sources[[bool(source.any()) for source in sources]])
        for mixture, sources in zip(drawn.mixtures, drawn.sources, strict=True)
    ]


def run(folder, steps: int = 6, stop_at: int | None = None) -> Separator:
    network = separator()
    objective = separation_training(network, DynamicMixtures(Hums(), MIXING, 2), SeparationLoss(), judged())
    done = []

    def should_stop() -> bool:
        done.append(None)
        return stop_at is not None and len(done) == stop_at

    config = TrainingConfig(
        steps=steps, learning_rates=(3e-3,), warmup_steps=1, evaluate_every=3, save_every=2, log_every=2
    )
    train(objective, config, folder, should_stop=should_stop, log=lambda line: None)
    return network


def test_a_stopped_training_goes_on_to_the_same_bytes(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=4)
    resumed = run(tmp_path / "parts")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "parts/metrics.jsonl").read_bytes()


def test_tensorboard_has_the_sounds_of_every_look(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    objective = separation_training(separator(), DynamicMixtures(Hums(), MIXING, 2), SeparationLoss(), judged())
    config = TrainingConfig(steps=2, learning_rates=(1e-3,), evaluate_every=1)
    train(objective, config, tmp_path, tensorboard=tmp_path / "tensorboard", log=lambda line: None)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["audio"] == ["mixture", "track_1", "track_2"]
    assert [event.step for event in events.Audio("track_1")] == [1, 2]


@pytest.mark.slow
def test_two_hums_are_taken_apart(tmp_path):
    network = separator()
    before = validate(network, judged())["dev_si_sdr_improvement"]
    objective = separation_training(network, DynamicMixtures(Hums(), MIXING, 4), SeparationLoss(), judged())
    config = TrainingConfig(steps=60, learning_rates=(1e-2,), warmup_steps=5, average_decay=0.9, evaluate_every=60)
    train(objective, config, tmp_path, log=lambda line: None)
    after = validate(network.eval(), judged())["dev_si_sdr_improvement"]
    assert after > max(before, 0) + 5


def test_a_perfect_separator_is_judged_so():
    class Perfect(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.anything = torch.nn.Parameter(torch.zeros(1))

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            spectrum = torch.fft.rfft(mixture)
            low = torch.arange(spectrum.shape[-1]) * RATE / mixture.shape[-1] < 800
            tracks = torch.stack([spectrum * ~low, spectrum * low], 1)
            return torch.fft.irfft(tracks, n=mixture.shape[-1])

    drawn = DynamicMixtures(Hums(), SpeakerMixing(seconds=(0.25, 0.25), speed=0.0, counts=(0.5, 0.5)), 12, seed=1)[0]
    items = [
        ValidationMixture(mixture, sources[[bool(source.any()) for source in sources]])
        for mixture, sources in zip(drawn.mixtures, drawn.sources, strict=True)
    ]
    found = validate(Perfect(), items)
    assert found["dev_si_sdr_improvement"] > 15
    assert found["dev_lone_si_sdr"] > 15
    assert found["dev_empty_db"] < -15


def test_nothing_is_judged_that_is_not_there():
    only_pairs = [item for item in judged(8) if len(item.sources) == 2]
    found = validate(separator().eval(), only_pairs)
    assert set(found) == {"dev_si_sdr_improvement"}
    assert math.isfinite(found["dev_si_sdr_improvement"])
    objective = separation_training(separator(), DynamicMixtures(Hums(), MIXING, 2), SeparationLoss())
    assert objective.evaluate is None
    assert objective.early_stopping is None


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_batch_has_a_finite_loss_and_gradient_under_bfloat16(weight):
    network = separator()
    objective = separation_training(network, DynamicMixtures(Hums(), MIXING, 2), SeparationLoss(spectral_weight=weight))
    with torch.autocast("cpu", torch.bfloat16):
        loss, values = objective.turns[0].loss(network, objective.batch(0))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters() if parameter.grad is not None)
    assert set(values) == ({"si-sdr", "spectral"} if weight else {"si-sdr"})
