"""Load unit networks of either kind: from a folder or hub id, or the one inside the package."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec

from speechkit.errors import UserError
from speechkit.lm.unit_model import UnitModel
from speechkit.lm.warm_model import KEY, WarmModel
from speechkit.nn.checkpoints import CONFIG, checkpoint_folder, packaged_folder, readable

UnitNetwork: TypeAlias = UnitModel | WarmModel
WHAT = ("a unit language model", "config.json and model.safetensors")
MODELS = Path(__file__).parent / "models"
EMBEDDED = "embedded-100"
"""The model in the package, named like the codebook of its units."""


def load_unit_network(name: str | Path) -> UnitNetwork:
    """Load a unit model written by speechkit, with its own layers or a text model's, for inference.

    Args:
        name: ``embedded-100`` for the model in the package; else a folder or hub id.

    Raises:
        UserError: if there is no model, or it is damaged.
    """
    folder = network_folder(name)
    with readable(name, WHAT):
        if not (folder / CONFIG).is_file():
            raise UserError(f"{name}: has no {CONFIG}; give the folder of a unit language model")
        raw = msgspec.json.decode((folder / CONFIG).read_bytes(), type=dict[str, msgspec.Raw])
        if msgspec.json.decode(raw.get("model_type", b"null")) == "speechkit-unit-lm":
            return UnitModel.from_pretrained(folder)
        if KEY not in raw:
            raise UserError(
                f"{name}: is not a unit language model; start one from it with speechkit lm train --from {name}"
            )
    return WarmModel.from_pretrained(name)


def network_folder(name: str | Path) -> Path:
    """Folder of a unit model: by its name in the package, a folder, or a hub id, which is downloaded.

    Raises:
        UserError: if there is none, or the package lacks its weights.
    """
    if str(name) != EMBEDDED or Path(name).is_dir():
        return checkpoint_folder(name)
    return packaged_folder(MODELS / EMBEDDED, "unit model")


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
