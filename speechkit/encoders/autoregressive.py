"""Autoregressive predictive coding: recurrent layers over log-mel frames that foretell the frames to come.

Source: Chung et al. 2019. It needs no masks and no clusters, and sees only what lies behind: it can follow a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from speechkit.encoders.encoder import Encoder, Float, checked
from speechkit.encoders.signal_features import SignalEncoder
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.hashing import digest_file


class AutoregressiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that rebuilds the network; ``ahead`` is how many frames of 20 ms it foretells."""

    model_type: Literal["speechkit-autoregressive"] = "speechkit-autoregressive"
    bands: int = 80
    width: int = 512
    layers: int = 3
    ahead: int = 2


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
        """Write `config.json` and `model.safetensors` into ``folder``."""
        from safetensors.torch import save

        from speechkit.io.atomic import write_bytes

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(folder / "model.safetensors", save(weights))
        write_bytes(folder / "config.json", msgspec.json.format(msgspec.json.encode(self.config), indent=2) + b"\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> AutoregressiveModel:
        """Read a folder that `save_pretrained` wrote.

        Raises:
            UserError: if a file is missing or damaged, or the weights are not those of the configuration.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            model = cls(msgspec.json.decode((folder / "config.json").read_bytes(), type=AutoregressiveConfig))
            weights = load_file(folder / "model.safetensors")
            model.load_state_dict({name: value.float() for name, value in weights.items()})
        except (OSError, ValueError, RuntimeError, msgspec.DecodeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: holds no whole encoder ({reason}); copy or train it again") from error
        return model.eval()


def is_autoregressive(folder: Path) -> bool:
    """Whether a folder holds one of these models rather than a checkpoint of transformers."""
    config = folder / "config.json"
    return config.is_file() and b'"speechkit-autoregressive"' in config.read_bytes()[:65_536]


class AutoregressiveEncoder(Encoder):
    """An `AutoregressiveModel` behind the interface of all encoders; layer 0 are the log-mel frames."""

    def __init__(self, folder: str | Path, layer: int | None, layer_weights: Sequence[float] | None, device: str):
        self._model = AutoregressiveModel.from_pretrained(folder).to(device)
        self._mel = SignalEncoder("log-mel")
        self._device = device
        config = self._model.config
        self.num_layers = config.layers if layer is None else layer
        if layer_weights is not None:
            raise ConfigError(f"{folder}: its layers differ in width; choose one of them instead of layer_weights")
        if not 0 <= self.num_layers <= config.layers:
            raise ConfigError(f"{folder}: has layers 0 to {config.layers}, not {layer}")
        self.spec = EncoderSpec(
            model=f"autoregressive {Path(folder).name}",
            weights=digest_file(Path(folder) / "model.safetensors"),
            layer=str(self.num_layers),
            normalization=self._mel.spec.normalization,
            dim=config.width if self.num_layers else config.bands,
        )

    def encode_batch(self, waveforms: Sequence[Float]) -> list[Float]:
        """See `Encoder`; one item after the other, since a recurrence gains nothing from padding."""
        return [self._states(waveform)[self.num_layers] for waveform in checked(waveforms)]

    def encode_layers(self, waveform: Float) -> Float:
        """See `Encoder`; layer 0 are the log-mel frames with zeros behind them, up to the width of the other layers.

        Of a network that is narrower than its log-mel frames, layer 0 are their lower bands.
        """
        mel, *states = self._states(checked([waveform])[0])[: self.num_layers + 1]
        if not states:
            return mel[None]
        width = states[0].shape[1]
        first = np.pad(mel[:, :width], ((0, 0), (0, max(0, width - mel.shape[1]))))
        return np.stack([first, *states])

    def _states(self, waveform: Float) -> list[Float]:
        mel = self._mel.encode(waveform)
        if not len(mel):
            width = self._model.config.width
            return [mel, *(np.zeros((0, width), np.float32) for _ in self._model.layers)]
        with torch.inference_mode():
            states = self._model(torch.from_numpy(mel)[None].to(self._device))
        return [mel, *(np.asarray(state[0].float().cpu().numpy(), np.float32) for state in states)]
