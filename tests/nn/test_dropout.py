"""Dropout by shared random bits."""

import pytest
import torch

from speechkit.nn.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_elements_go_by_chance_and_the_mean_stays(share, dtype):
    ones = torch.ones(3, 101, 331, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    made = Dropout(share)(ones)
    dropped = made == 0
    assert made.dtype == dtype
    assert dropped.float().mean().item() == pytest.approx(share, abs=0.005)
    for axis in range(3):  # no stripes: neighbours are independent
        first, second = (
            dropped.narrow(axis, 0, dropped.shape[axis] - 1),
            dropped.narrow(axis, 1, dropped.shape[axis] - 1),
        )
        assert (first & second).float().mean().item() == pytest.approx(share**2, abs=0.01)
    assert made.float().mean().item() == pytest.approx(1, abs=0.05)
    made.sum().backward()
    assert torch.equal(ones.grad, made.detach())


def test_a_seed_gives_the_same_and_evaluation_changes_nothing():
    layer, x = Dropout(0.3), torch.randn(2, 7)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert Dropout(0.3)(x[:0]).shape == (0, 7)
