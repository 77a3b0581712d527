"""Autoregressive predictive coding: predict the log-mel frame a fixed number of steps ahead. Chung et al. 2019."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.encoders.families.autoregressive import AutoregressiveModel
from speechkit.encoders.families.signal_features import SignalFeatures
from speechkit.nn.masks import length_mask


class GenerativeObjective:
    """Mean absolute error of log-mel frames predicted ``ahead`` frames in advance (equation 1).

    Args:
        network: the model; it predicts the ``clean`` waveforms of a batch from its ``inputs``, which may be augmented.
    """

    def __init__(self, network: AutoregressiveModel):
        self.network = network
        self._mel = SignalFeatures("log-mel")

    def groups(self) -> list[list[nn.Parameter]]:
        """All parameters in one group."""
        return [list(self.network.parameters())]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """Log-mel frames ``inputs`` and ``targets`` (B, T, M), and ``lengths`` (B,) in samples."""
        frames: dict[str, list[Tensor]] = {"inputs": [], "targets": []}
        for row, length in enumerate(batch["lengths"].tolist()):
            for name, source in (("inputs", "inputs"), ("targets", "clean")):
                frames[name].append(torch.from_numpy(self._mel.frames(batch[source][row, :length].numpy())))
        pad = nn.utils.rnn.pad_sequence
        return {name: pad(items, batch_first=True) for name, items in frames.items()} | {"lengths": batch["lengths"]}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Mean error over predictable frames, and ``repeating``, the error of repeating the last input frame.

        A useful network is below ``repeating``.
        """
        ahead = self.network.config.ahead
        predicted = self.network.predict(model(batch["inputs"])[-1])[:, :-ahead]
        inside = length_mask(self._mel.frame_lengths(batch["lengths"]), batch["targets"].shape[1])[:, ahead:]
        targets = batch["targets"][:, ahead:]
        loss = (predicted - targets)[inside].abs().mean()
        repeating = (batch["inputs"][:, :-ahead] - targets)[inside].abs().mean()
        return loss, {"repeating": float(repeating)}

    def save(self, folder: Path, half: bool = False) -> None:
        """Save the network with its prediction layer."""
        network = self.network.cpu().eval()
        (network.half() if half else network).save_pretrained(folder)
