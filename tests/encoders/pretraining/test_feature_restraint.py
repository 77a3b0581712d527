"""How convolutions are held back while all above them learns."""

import pytest
import torch
from transformers import Wav2Vec2Model

from speechkit.encoders.pretraining.predictive import PredictiveObjective
from speechkit.encoders.pretraining.sizes import sized_config
from speechkit.errors import ConfigError


def objective(**settings):
    torch.manual_seed(0)
    return PredictiveObjective(Wav2Vec2Model(sized_config("tiny")).eval(), 4, lambda item: None, 0, **settings)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "inputs": 0.1 * torch.randn(2, 6_400, generator=generator),
        "lengths": torch.tensor([6_400, 3_200]),
        "mask": torch.arange(20)[None].repeat(2, 1) % 10 < 4,
        "targets": torch.arange(20)[None].repeat(2, 1) % 4,
    }


def gradients(objective, batch):
    loss, values = objective.loss(objective.network, batch)
    loss.backward()
    found = {name: weight.grad for name, weight in objective.network.named_parameters() if weight.grad is not None}
    return values, found


def test_gradients_of_the_convolutions_are_scaled_and_no_others(batch):
    _, whole = gradients(objective(feature_gradient=1.0, feature_penalty=0.0), batch)
    _, held = gradients(objective(feature_gradient=0.1, feature_penalty=0.0), batch)
    assert whole.keys() == held.keys()
    for name in whole:
        share = 0.1 if "feature_extractor" in name else 1.0
        torch.testing.assert_close(held[name], share * whole[name], rtol=1e-3, atol=1e-6)


def test_the_penalty_is_the_mean_square_over_real_frames_alone(batch):
    held = objective(feature_gradient=0.5, feature_penalty=2.0)
    loss, values = held.loss(held.network, batch)
    sizes = []
    for waveform, length in zip(batch["inputs"], batch["lengths"].tolist(), strict=True):
        alone = torch.nn.functional.pad(waveform[None, :length], (40, 40))
        with torch.no_grad():
            sizes.append(held.network.encoder.network.feature_extractor(alone)[0].square().mean(dim=0)[: length // 320])
    expected = float(torch.cat(sizes).mean())
    # The row behind the short one's end is not silent: what lies there must not count.
    assert values["features"] == pytest.approx(expected, rel=0.05)
    free = objective(feature_gradient=0.5, feature_penalty=0.0)
    without, nothing = free.loss(free.network, batch)
    assert nothing["features"] == 0.0
    assert float(loss.detach() - without.detach()) == pytest.approx(2.0 * values["features"], rel=1e-4)


@pytest.mark.parametrize("settings", [{"feature_gradient": 0.0}, {"feature_gradient": 1.5}, {"feature_penalty": -1.0}])
def test_what_is_out_of_range_is_named(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        objective(**settings)
