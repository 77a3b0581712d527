"""How models of frames learn by flow matching, whatever their condition.

Notation used for tensor shapes: B batch, T frames, D width of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.data.audio import read_waveform
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.training import LengthBuckets, Objective, Turn
from speechkit.training.objective import mean_losses
from speechkit.tts.flow_transformer import Conditions, FlowTransformer, flow_loss


class FlowNetwork(Protocol):
    """A network whose frames are made by a flow under its own conditions."""

    flow: FlowTransformer
    mean: Tensor
    deviation: Tensor

    def batch_conditions(self, batch: dict[str, Tensor]) -> Conditions:
        """Conditions of a batch."""


class FlowItems:
    """What is learnt from: frames of each item, and a function of items that gives the rest of a batch.

    Args:
        frames: (T, D) of each item.
        others: item numbers to named tensors.
        prompts: item numbers, and the batch's own number, to crops of their speakers; see `speaker_prompts`.
        scale: factor of stored frames.
    """

    def __init__(
        self,
        frames: Sequence[NDArray[Any]],
        others: Callable[[Sequence[int]], dict[str, Tensor]],
        prompts: Callable[[Sequence[int], int], Tensor] | None = None,
        scale: float = 1.0,
    ) -> None:
        if not frames:
            raise UserError("no item is left to learn from; give recordings that the earlier stages keep")
        self._frames, self._others, self._prompts, self._scale = frames, others, prompts, scale
        self.lengths = [len(rows) for rows in frames]

    def batch(self, chosen: Sequence[int], number: int) -> dict[str, Tensor]:
        """``frames`` (B, T, D), ``lengths`` (B,), ``prompts`` (B, S) where there are any, and what ``others`` gives."""
        rows = [self._scale * torch.from_numpy(np.asarray(self._frames[index], np.float32)) for index in chosen]
        return {
            "frames": nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "lengths": torch.tensor([len(row) for row in rows]),
            **self._others(chosen),
            **({} if self._prompts is None else {"prompts": self._prompts(chosen, number)}),
        }

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (D,) of all frames; a deviation is at least 0.01."""
        count = sum(self.lengths)
        total = np.sum([rows.sum(0, dtype=np.float64) for rows in self._frames], 0)
        squares = np.sum([np.square(rows, dtype=np.float64).sum(0) for rows in self._frames], 0)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        scaled = [torch.from_numpy(self._scale * each).float() for each in (mean, deviation)]
        return scaled[0], scaled[1].clamp_min(0.01)


def flow_objective(
    network: Any,
    training: FlowItems,
    judged: FlowItems | None,
    save: Callable[[Path], None],
    *,
    batch_frames: int,
    drop: float = 0.1,
    seed: int = 0,
) -> Objective:
    """Learn the frames of items.

    Args:
        network: a `FlowNetwork` that is a module; its mean and deviation are set to those of the frames.
        training: what it learns from.
        judged: what the loss is looked at with.
        save: writes the trained model into a folder.
        batch_frames: longest item times items of a batch.
        drop: share of items without condition, which guidance needs.
        seed: of the batches.
    """
    mean, deviation = training.statistics()
    network.mean.copy_(mean)
    network.deviation.copy_(deviation)
    buckets = LengthBuckets(training.lengths, batch_frames, seed)

    def loss(network: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        data = (batch["frames"] - network.mean) / network.deviation
        share = drop if network.training else 0.0
        return flow_loss(network.flow, data, batch["lengths"], network.batch_conditions(batch), share), {}

    looked_at = []
    if judged is not None:
        held_out = LengthBuckets(judged.lengths, batch_frames)
        last = held_out.epoch_of(0)
        numbers = [number for number in range(len(judged.lengths)) if held_out.epoch_of(number) == last]
        looked_at = [judged.batch(held_out[number], number) for number in numbers[:8]]
    return Objective(
        network,
        [Turn(loss, [list(network.parameters())])],
        lambda number: training.batch(buckets[number], number),
        mean_losses(loss, looked_at),
        save=save,
    )


def speaker_prompts(
    rows: Sequence[Utterance], manifest: Path, sample_rate: int, seconds: float, seed: int
) -> Callable[[Sequence[int], int], Tensor]:
    """A function of items, and the batch's number, to crops (B, S) of other recordings of the same speakers.

    Who has one recording alone is prompted by a crop of that. Shorter ones are repeated.

    Raises:
        UserError: if a row names no speaker.
    """
    by_speaker: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.speaker is None:
            raise UserError(f"{manifest}: {row.id} names no speaker; give every row one, or train without speakers")
        by_speaker.setdefault(row.speaker, []).append(index)
    samples = round(seconds * sample_rate)

    def prompts(chosen: Sequence[int], number: int) -> Tensor:
        rng = np.random.default_rng([seed, number])
        crops = []
        for index in chosen:
            others = [other for other in by_speaker[str(rows[index].speaker)] if other != index] or [index]
            row = rows[others[int(rng.integers(len(others)))]]
            waveform = read_waveform(row, manifest, sample_rate=sample_rate)
            waveform = np.tile(waveform, -(-samples // max(1, len(waveform))))
            begin = int(rng.integers(len(waveform) - samples + 1))
            crops.append(torch.from_numpy(waveform[begin : begin + samples]))
        return torch.stack(crops)

    return prompts
