"""Autoregressive predictive coding: predict the frame some steps ahead. Chung et al. 2019."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.encoders.families.autoregressive import AutoregressiveModel
from speechkit.encoders.families.signal_features import SignalFeatures
from speechkit.nn.masks import length_mask


class GenerativeObjective:
    """Mean absolute error of log-mel frames ``ahead`` of what the network has seen (equation 1).

    Args:
        network: the model; it predicts the ``clean`` waveforms of a batch from its ``inputs``, which may be augmented.
    """

    def __init__(self, network: AutoregressiveModel):
        self.network = network
        self._mel = SignalFeatures("log-mel")

    def groups(self) -> list[list[nn.Parameter]]:
        """All in one."""
        return [list(self.network.parameters())]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """``seen`` and ``wanted`` (B, T, M) log-mel frames, ``lengths`` (B,) in samples."""
        made: dict[str, list[Tensor]] = {"seen": [], "wanted": []}
        for row, length in enumerate(batch["lengths"].tolist()):
            for name, source in (("seen", "inputs"), ("wanted", "clean")):
                made[name].append(torch.from_numpy(self._mel.frames(batch[source][row, :length].numpy())))
        pad = nn.utils.rnn.pad_sequence
        return {name: pad(items, batch_first=True) for name, items in made.items()} | {"lengths": batch["lengths"]}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Over all frames that lie ``ahead`` of another; beside it, the error of repeating what was last seen.

        A network that has learnt something lies below ``repeating``.
        """
        ahead = self.network.config.ahead
        predicted = self.network.predict(model(batch["seen"])[-1])[:, :-ahead]
        inside = length_mask(self._mel.frame_lengths(batch["lengths"]), batch["wanted"].shape[1])[:, ahead:]
        wanted = batch["wanted"][:, ahead:]
        loss = (predicted - wanted)[inside].abs().mean()
        repeating = (batch["seen"][:, :-ahead] - wanted)[inside].abs().mean()
        return loss, {"repeating": float(repeating)}

    def save(self, folder: Path, half: bool = False) -> None:
        """The network with its prediction."""
        network = self.network.cpu().eval()
        (network.half() if half else network).save_pretrained(folder)
