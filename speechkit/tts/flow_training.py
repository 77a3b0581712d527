"""Training objective and batches of flow-matching models of frames.

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
    """A network that generates frames by a flow, conditioned by its own inputs."""

    flow: FlowTransformer
    mean: Tensor
    deviation: Tensor

    def batch_conditions(self, batch: dict[str, Tensor]) -> Conditions:
        """Conditions of a batch."""


class FlowItems:
    """Training items: their frames, and functions that supply the conditions of a batch.

    Args:
        frames: (T, D) of each item.
        others: maps item indices to named tensors.
        prompts: maps item indices and the batch number to speaker prompts; see `speaker_prompts`.
        scale: factor applied to the stored frames.
    """

    def __init__(
        self,
        frames: Sequence[NDArray[Any]],
        others: Callable[[Sequence[int]], dict[str, Tensor]],
        prompts: Callable[[Sequence[int], int], Tensor] | None = None,
        scale: float = 1.0,
    ) -> None:
        if not frames:
            raise UserError("no item is left to train on; give recordings that the earlier stages do not drop")
        self._frames, self._others, self._prompts, self._scale = frames, others, prompts, scale
        self.lengths = [len(rows) for rows in frames]

    def batch(self, chosen: Sequence[int], number: int) -> dict[str, Tensor]:
        """``frames`` (B, T, D), ``lengths`` (B,), ``prompts`` (B, S) if any, and the tensors of ``others``."""
        rows = [self._scale * torch.from_numpy(np.asarray(self._frames[index], np.float32)) for index in chosen]
        return {
            "frames": nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "lengths": torch.tensor([len(row) for row in rows]),
            **self._others(chosen),
            **({} if self._prompts is None else {"prompts": self._prompts(chosen, number)}),
        }

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (D,) over all frames, the deviation at least 0.01."""
        count = sum(self.lengths)
        total = np.sum([rows.sum(0, dtype=np.float64) for rows in self._frames], 0)
        squares = np.sum([np.square(rows, dtype=np.float64).sum(0) for rows in self._frames], 0)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        scaled = [torch.from_numpy(self._scale * values).float() for values in (mean, deviation)]
        return scaled[0], scaled[1].clamp_min(0.01)


def flow_objective(
    network: Any,
    training: FlowItems,
    held_out: FlowItems | None,
    save: Callable[[Path], None],
    *,
    batch_frames: int,
    drop: float = 0.1,
    seed: int = 0,
) -> Objective:
    """Flow-matching objective.

    Args:
        network: a module that is a `FlowNetwork`; its mean and deviation are set to those of the frames.
        training: training items.
        held_out: items on which the loss is evaluated.
        save: writes the trained model into a folder.
        batch_frames: upper limit of frames per batch, padding included.
        drop: share of items trained without condition, for classifier-free guidance.
        seed: seeds the order of the batches.
    """
    mean, deviation = training.statistics()
    network.mean.copy_(mean)
    network.deviation.copy_(deviation)
    buckets = LengthBuckets(training.lengths, batch_frames, seed)

    def loss(network: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        data = (batch["frames"] - network.mean) / network.deviation
        share = drop if network.training else 0.0
        return flow_loss(network.flow, data, batch["lengths"], network.batch_conditions(batch), share), {}

    evaluated = []
    if held_out is not None:
        held_out_buckets = LengthBuckets(held_out.lengths, batch_frames)
        first = held_out_buckets.epoch_of(0)
        numbers = [number for number in range(len(held_out.lengths)) if held_out_buckets.epoch_of(number) == first]
        evaluated = [held_out.batch(held_out_buckets[number], number) for number in numbers[:8]]
    return Objective(
        network,
        [Turn(loss, [list(network.parameters())])],
        lambda number: training.batch(buckets[number], number),
        mean_losses(loss, evaluated),
        save=save,
    )


def speaker_prompts(
    rows: Sequence[Utterance], manifest: Path, sample_rate: int, seconds: float, seed: int
) -> Callable[[Sequence[int], int], Tensor]:
    """A function from item indices and a batch number to crops (B, S) of other recordings of the same speakers.

    A speaker's only recording is its own prompt. Recordings shorter than a crop are repeated.

    Raises:
        UserError: if a row names no speaker.
    """
    by_speaker: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.speaker is None:
            raise UserError(f"{manifest}: {row.id} has no speaker; give every row one, or train without speakers")
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
