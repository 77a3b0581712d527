"""Claims about the running average of weights: it follows what learns, and what stays stays bit for bit."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from speechkit.training.averaging import AveragedWeights


def test_what_does_not_learn_stays_out_of_the_average():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-0.0, 0.5]))  # an average of zeros below 0 is a zero above
    average = AveragedWeights(model, 0.5)
    assert {name.partition(".")[0] for name in average.weights} == {"1", "2"}
    assert "1.running_mean" in average.weights
    with torch.no_grad():
        model[2].bias.fill_(4.0)
    average.update(model, 1)  # the first weights count for nothing
    with torch.no_grad():
        model[2].bias.fill_(8.0)
    average.update(model, 1_000)
    with average.applied(model):
        assert model[2].bias.item() == 6.0
        assert torch.signbit(model[0].bias).tolist() == [True, False]
    assert model[2].bias.item() == 8.0


def test_the_averages_of_torch_change_the_sign_of_zeros_that_stay():
    """Why `AveragedWeights` is not `torch.optim.swa_utils.AveragedModel`, which also copies all that stays."""
    model = nn.Linear(2, 1)
    model.requires_grad_(False)
    model.bias.fill_(-0.0)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(2):
        theirs.update_parameters(model)
    assert not torch.signbit(theirs.module.bias).any()
    average = AveragedWeights(model, 0.5)
    for step in (1, 2):
        average.update(model, step)
    with average.applied(model):
        assert torch.signbit(model.bias).all()
