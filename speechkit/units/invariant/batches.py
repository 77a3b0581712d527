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


class Batches:
    """Batches as a function of their number: one version of each item in every pass, another in the next.

    Args:
        versions: of each item, the name and frames of each version that may be taken.
        targets: of each teacher, then each item, the unit of each clean frame.
        read: features (T, D) by name.
        config: how.
        epochs: passes over the items.
        seed: of all drawings.
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
        """The share of the frames' loss in that of a batch."""
        fading = self._config.frame_share * self.steps
        left = max(0.0, 1.0 - number / fading) if fading else 0.0
        return self._config.frame_weight + (1.0 - self._config.frame_weight) * left

    def _version(self, item: int, epoch: int) -> str:
        """The name of what a pass takes of an item: all versions in a drawn order, then all in another."""
        versions = self._versions[item]
        again, place = divmod(epoch, len(versions))
        order = np.random.default_rng([self._seed, item, again]).permutation(len(versions))
        name, _ = versions[int(order[place])]
        return name

    def __call__(self, number: int) -> dict[str, Any]:
        """Features (B, T, D) and frames (B,) of a batch, and lists with something of each teacher.

        In them: targets in a row, how many each item has (B,), and the target of each frame (B, T).
        """
        generator = np.random.default_rng([self._seed, number])
        items, epoch = self._buckets[number], self._buckets.epoch_of(number)
        features = []
        for item in items:
            name = self._version(item, epoch)
            frames = np.array(self._read(name), np.float32)
            for _ in range(self._config.time_masks):
                width = int(generator.integers(0, self._config.mask_frames + 1))
                begin = int(generator.integers(0, max(1, len(frames) - width)))
                frames[begin : begin + width] = frames.mean(axis=0)
            features.append(torch.from_numpy(frames))
        batch: dict[str, Any] = {
            "features": pad_sequence(features, batch_first=True),
            "frames": torch.tensor([len(each) for each in features]),
            "frame_weight": torch.tensor(self.frame_weight(number)),
            "targets": [],
            "counts": [],
            "aligned": [],
        }
        for said in self._targets:
            units = [said[item].astype(np.int64) for item in items]
            runs = [torch.from_numpy(deduplicate(each)[0].astype(np.int64)) for each in units]
            batch["targets"].append(torch.cat(runs))
            batch["counts"].append(torch.tensor([len(run) for run in runs]))
            stretched = [
                torch.from_numpy(each[(2 * np.arange(len(frames)) + 1) * len(each) // (2 * len(frames))])
                for each, frames in zip(units, features, strict=True)
            ]
            batch["aligned"].append(pad_sequence(stretched, batch_first=True, padding_value=NO_UNIT))
        return batch


def invariant_loss(model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
    """CTC of each item by its number of targets, and the cross-entropy of the frames' units, means over all sizes."""
    weight = batch["frame_weight"]
    scores: list[Tensor] = model(batch["features"], batch["frames"])
    log_probs = [found.float().log_softmax(-1) for found in scores]  # each (B, T, K + 1)
    frames = torch.stack(
        [
            nn.functional.nll_loss(found.flatten(0, 1), aligned.flatten(), ignore_index=NO_UNIT)
            for found, aligned in zip(log_probs, batch["aligned"], strict=True)
        ]
    ).mean()
    if float(weight) == 1.0:  # CTC would take most of the time of small networks, for nothing
        return frames, {"frames": float(frames.detach())}
    ctc = torch.stack(
        [
            nn.functional.ctc_loss(found.transpose(0, 1), targets, batch["frames"], counts, blank=found.shape[-1] - 1)
            for found, targets, counts in zip(log_probs, batch["targets"], batch["counts"], strict=True)
        ]
    ).mean()
    return (1 - weight) * ctc + weight * frames, {"ctc": float(ctc.detach()), "frames": float(frames.detach())}
