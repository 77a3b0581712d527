"""Training batches of invariant quantizers, and their loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechkit.training.buckets import LengthBuckets
from speechkit.units.deduplication import deduplicate
from speechkit.units.invariant.config import InvariantConfig

Read = Callable[[str], NDArray[np.floating[Any]]]
NO_UNIT = -100
FRAME_SHARE = 0.5
"""Share of the steps of a round in which the weight of the framewise loss falls from 1: CTC alone predicts only blanks
for hundreds of steps."""


class Batches:
    """Batches as a function of their number: one version of each item in every pass, another in the next.

    Args:
        versions: for each item, the name and frames of each version that may be taken.
        targets: for each teacher and item, the unit of each clean frame.
        read: features (T, D) by name.
        config: of training.
        epochs: passes over the items.
        seed: of all draws.
    """

    def __init__(
        self,
        versions: Sequence[Sequence[tuple[str, int]]],
        targets: Sequence[Sequence[NDArray[np.int32]]],
        read: Read,
        config: InvariantConfig,
        epochs: int,
        seed: int,
    ) -> None:
        self._versions, self._targets, self._read, self._config, self._seed = versions, targets, read, config, seed
        longest = [max(frames for _, frames in each) for each in versions]
        self._buckets = LengthBuckets(longest, config.batch_frames, seed)
        self.steps = 0
        while self._buckets.epoch_of(self.steps) < epochs:
            self.steps += 1

    def frame_weight(self, number: int) -> float:
        """Weight of the framewise loss in batch ``number``."""
        left = max(0.0, 1.0 - number / (FRAME_SHARE * self.steps))
        return self._config.frame_weight + (1.0 - self._config.frame_weight) * left

    def _version(self, item: int, epoch: int) -> str:
        """Name of the version of an item in a pass: all versions in a drawn order, then all in another."""
        versions = self._versions[item]
        cycle, position = divmod(epoch, len(versions))
        order = np.random.default_rng([self._seed, item, cycle]).permutation(len(versions))
        name, _ = versions[int(order[position])]
        return name

    def __call__(self, number: int) -> dict[str, Any]:
        """Features (B, T, D) and frames (B,) of a batch, and three lists with one entry per teacher.

        ``targets``: deduplicated units of all items, concatenated; ``counts``: how many each item has (B,);
        ``aligned``: the target of each frame (B, T).
        """
        items, epoch = self._buckets[number], self._buckets.epoch_of(number)
        features = [torch.from_numpy(np.array(self._read(self._version(item, epoch)), np.float32)) for item in items]
        batch: dict[str, Any] = {
            "features": pad_sequence(features, batch_first=True),
            "frames": torch.tensor([len(each) for each in features]),
            "frame_weight": torch.tensor(self.frame_weight(number)),
            "targets": [],
            "counts": [],
            "aligned": [],
        }
        for of_teacher in self._targets:
            units = [of_teacher[item].astype(np.int64) for item in items]
            runs = [torch.from_numpy(deduplicate(each)[0].astype(np.int64)) for each in units]
            batch["targets"].append(torch.cat(runs))
            batch["counts"].append(torch.tensor([len(run) for run in runs]))
            # A change of speed moves frames evenly.
            stretched = [
                torch.from_numpy(each[(2 * np.arange(len(frames)) + 1) * len(each) // (2 * len(frames))])
                for each, frames in zip(units, features, strict=True)
            ]
            batch["aligned"].append(pad_sequence(stretched, batch_first=True, padding_value=NO_UNIT))
        return batch


def invariant_loss(model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of CTC per target and framewise cross-entropy, each the mean over all classifiers."""
    weight = batch["frame_weight"]
    scores: list[Tensor] = model(batch["features"], batch["frames"])
    log_probs = [each.float().log_softmax(-1) for each in scores]  # each (B, T, K + 1)
    frames = torch.stack(
        [
            nn.functional.nll_loss(each.flatten(0, 1), aligned.flatten(), ignore_index=NO_UNIT)
            for each, aligned in zip(log_probs, batch["aligned"], strict=True)
        ]
    ).mean()
    if float(weight) == 1.0:  # CTC would take most of the time of small networks, for nothing
        return frames, {"frames": float(frames.detach())}
    ctc = torch.stack(
        [
            nn.functional.ctc_loss(each.transpose(0, 1), targets, batch["frames"], counts, blank=each.shape[-1] - 1)
            for each, targets, counts in zip(log_probs, batch["targets"], batch["counts"], strict=True)
        ]
    ).mean()
    return (1 - weight) * ctc + weight * frames, {"ctc": float(ctc.detach()), "frames": float(frames.detach())}
