"""Load unit networks of either kind from a folder or hub id."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec

from speechkit.errors import UserError
from speechkit.lm.unit_model import UnitModel
from speechkit.lm.warm_model import KEY, WarmModel
from speechkit.nn.checkpoints import CONFIG, checkpoint_folder, readable

UnitNetwork: TypeAlias = UnitModel | WarmModel
WHAT = ("a unit language model", "config.json and model.safetensors")


def load_unit_network(name: str | Path) -> UnitNetwork:
    """Load a unit model written by speechkit, with its own layers or a text model's, for inference.

    Raises:
        UserError: if there is no model, or it is damaged.
    """
    folder = checkpoint_folder(name)
    with readable(name, WHAT):
        if not (folder / CONFIG).is_file():
            raise UserError(f"{name}: has no {CONFIG}; give the folder of a unit language model")
        raw = msgspec.json.decode((folder / CONFIG).read_bytes(), type=dict[str, msgspec.Raw])
        if msgspec.json.decode(raw.get("model_type", b"null")) == "speechkit-unit-lm":
            return UnitModel.from_pretrained(name)
        if KEY not in raw:
            raise UserError(
                f"{name}: is not a unit language model; start one from it with speechkit lm train --from {name}"
            )
    return WarmModel.from_pretrained(name)


def with_random_weights(network: UnitNetwork, seed: int) -> UnitNetwork:
    """An untrained model of the same architecture, with random weights."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(network, UnitModel):
            untrained: UnitNetwork = UnitModel(network.config)
        else:
            untrained = WarmModel(type(network.decoder)(network.decoder.config), network.spec, "random weights")
    return untrained.to(next(network.parameters()).device).eval()
