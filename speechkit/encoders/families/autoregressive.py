"""Autoregressive predictive coding: recurrent layers that predict future log-mel frames.

Source: Chung et al. 2019. It needs no masks or clusters and is causal, so that it can process a stream.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import torch
from torch import Tensor, nn

from speechkit.encoders.families import register
from speechkit.encoders.families.signal_features import SignalFeatures
from speechkit.encoders.model import ALL, SpeechEncoder, item_states, unpadded
from speechkit.io.hashing import digest_file
from speechkit.nn.checkpoints import read_network, write_network


class AutoregressiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration; ``ahead`` is the prediction distance in frames of 20 ms."""

    model_type: Literal["speechkit-autoregressive"] = "speechkit-autoregressive"
    bands: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 80
    width: Annotated[int, msgspec.Meta(ge=1, le=16384)] = 512
    layers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 3
    ahead: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2


class AutoregressiveModel(nn.Module):
    """Gated recurrent layers with residual connections, and a linear prediction of the frame ``ahead`` of each.

    Notation used for tensor shapes: B batch, T frames of 20 ms, M mel bands, D width.
    """

    def __init__(self, config: AutoregressiveConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            nn.GRU(config.width if index else config.bands, config.width, batch_first=True)
            for index in range(config.layers)
        )
        self.predict = nn.Linear(config.width, config.bands)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """(B, T, M) to the output (B, T, D) of every layer."""
        states: list[Tensor] = []
        x = frames
        for layer in self.layers:
            y, _ = layer(x)
            x = y if not states else x + y
            states.append(x)
        return states

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``."""
        write_network(folder, self.config, self)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> AutoregressiveModel:
        """Read what `save_pretrained` wrote, from a folder or hub id.

        Raises:
            UserError: see `speechkit.nn.checkpoints.read_network`.
        """
        return read_network(folder, AutoregressiveConfig, cls, "an encoder")


class AutoregressiveEncoder(SpeechEncoder):
    """An `AutoregressiveModel` behind the interface of all encoders; layer 0 are the log-mel frames."""

    def __init__(self, model: AutoregressiveModel, name: str, weights: str):
        mel = SignalFeatures("log-mel")
        config = model.config
        spec = msgspec.structs.replace(
            mel.spec, model=f"autoregressive {name}", weights=weights, layer=str(config.layers), dim=config.width
        )
        super().__init__(spec, [config.bands, *[config.width] * config.layers])
        self.model, self._mel = model, mel

    def forward(self, waveforms: Tensor, lengths: Tensor, layers: slice = ALL) -> tuple[list[Tensor], Tensor]:
        """See `SpeechEncoder`; items one by one, since padding does not speed up recurrences."""
        items = []
        with torch.autocast(self.device.type, enabled=False):
            for waveform in unpadded(waveforms, lengths):
                mel = torch.from_numpy(self._mel.frames(waveform)).to(self.device)
                items.append([mel, *(state[0] for state in self.model(mel[None]))][layers])
        return item_states(items, self.device)

    def truncate(self, layer: int) -> None:
        """See `SpeechEncoder`."""
        super().truncate(layer)
        self.model.layers = self.model.layers[:layer]


@register("speechkit-autoregressive")
def load(name: str, layer: int | None, compat: bool) -> SpeechEncoder:
    """Load a folder written by `AutoregressiveModel.save_pretrained`; see `speechkit.encoders.families.Load`."""
    folder = Path(name)
    model = AutoregressiveModel.from_pretrained(folder)
    return AutoregressiveEncoder(model, folder.name, digest_file(folder / "model.safetensors"))
