"""Claims about networks in folders: they come back as they were, and what is no whole network is refused."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
import torch
from torch import nn

from speechkit.errors import UserError
from speechkit.nn.pretrained import Pretrained


class LineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model_type: Literal["line"] = "line"
    width: int = 2


class Line(Pretrained):
    config_type = LineConfig

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.width, 1)
        self.register_buffer("steps", torch.tensor([3]))


@pytest.mark.parametrize("half", [False, True])
def test_a_network_comes_back_as_it_was(tmp_path, half):
    network = Line(LineConfig(width=3))
    network.save_pretrained(tmp_path / "line", half)
    again = Line.from_pretrained(tmp_path / "line")
    assert again.config == network.config
    assert again.linear.weight.dtype == torch.float32
    assert again.steps.tolist() == [3]
    expected = network.linear.weight.half().float() if half else network.linear.weight
    assert torch.equal(again.linear.weight, expected)
    assert not again.training


@pytest.mark.parametrize("damage", ["no config", "no weights", "cut weights", "other kind", "other width"])
def test_what_is_no_whole_network_is_refused(tmp_path, damage):
    Line(LineConfig()).save_pretrained(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    if damage == "no config":
        config.unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-3])
    elif damage == "other kind":
        config.write_text('{"model_type": "curve"}')
    else:
        config.write_text('{"model_type": "line", "width": 9}')
    with pytest.raises(UserError, match="no whole Line"):
        Line.from_pretrained(tmp_path)
