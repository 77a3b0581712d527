"""Classification of raw waveforms: a second of speech, sample by sample, of speakers not seen in training.

State spaces process single samples. A GRU and attention process chunks of `FOLD` samples, since 16,000 positions are
too slow for them; the names of these systems say so. A convolutional network has strides.

Source: Gu et al. 2021 (LSSL, section 5), where training and test share speakers and samples are normalised by position;
here test speakers are unseen, and a clip is normalised by its own level.

Notation used for tensor shapes: B clips, S samples, T positions, D width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.lm.synthetic.comparison import state_kilobytes
from speechkit.lm.synthetic.records import Cell, ComparisonConfig, WaveformSystem
from speechkit.metrics.bootstrap import bootstrap_ratio
from speechkit.nn.sequence.gated_recurrent import RecurrentConfig
from speechkit.nn.sequence.lssl import Lssl, LsslConfig
from speechkit.nn.sequence.s4d import S4D, S4DConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import LayerConfig, Stack, StackConfig
from speechkit.runtime import item_seed
from speechkit.training.loop import train_measured
from speechkit.training.objective import Objective, Turn

SAMPLES, FOLD = 16_000, 40
SYSTEMS: dict[WaveformSystem, tuple[LayerConfig | None, int]] = {
    "cnn": (None, 1),
    "gru": (RecurrentConfig(kind="gru"), FOLD),
    "attention": (AttentionConfig(), FOLD),
    "s4d": (S4DConfig(), 1),
    "lssl": (LsslConfig(states=16), 1),
}
"""The layer, used twice, and the number of samples per position."""
SLOW = ("log_step", "log_decay", "frequency", "matrix", "input_matrix")
"""Weights of state spaces that need a smaller learning rate."""


@dataclass(frozen=True)
class Clips:
    """Clips with their classes.

    Attributes:
        waveforms: (N, S) of equal level.
        classes: (N,) class index.
        training: (N,) true for clips of training speakers.
        names: of the classes.
    """

    waveforms: NDArray[np.float32]
    classes: NDArray[np.int64]
    training: NDArray[np.bool_]
    names: list[str]


def clips_of(
    waveforms: Sequence[NDArray[np.float32]],
    texts: Sequence[str],
    speakers: Sequence[str],
    test_share: float,
    seed: int,
) -> Clips:
    """Clips cropped or padded to a second around their middle, with randomly drawn test speakers.

    Raises:
        UserError: if there are fewer than two speakers or classes.
    """
    names, people = sorted(set(texts)), sorted(set(speakers), key=lambda name: item_seed(seed, name))
    if len(people) < 2 or len(names) < 2:
        raise UserError(f"the clips have {len(people)} speakers and {len(names)} texts; give at least two of each")
    test_speakers = set(people[: max(1, min(len(people) - 1, round(test_share * len(people))))])
    table = np.zeros((len(waveforms), SAMPLES), np.float32)
    for row, waveform in zip(table, waveforms, strict=True):
        cut = waveform[max(0, (len(waveform) - SAMPLES) // 2) :][:SAMPLES]
        begin = (SAMPLES - len(cut)) // 2
        row[begin : begin + len(cut)] = cut / max(1e-4, float(np.sqrt(np.mean(np.square(cut))))) if len(cut) else 0
    number = {name: index for index, name in enumerate(names)}
    return Clips(
        table,
        np.array([number[text] for text in texts]),
        np.array([speaker not in test_speakers for speaker in speakers]),
        names,
    )


class WaveformClassifier(nn.Module):
    """Classifier from waveforms (B, S) to logits (B, K): layers over positions and mean pooling."""

    def __init__(self, system: WaveformSystem, width: int, classes: int):
        super().__init__()
        layer, self.fold = SYSTEMS[system]
        self.stack = None
        self.input_proj: nn.Module = nn.Linear(self.fold, width)
        if layer is None:
            self.input_proj = nn.Sequential(
                nn.Conv1d(1, width, 80, 16), nn.GELU(), nn.GroupNorm(1, width),
                nn.Conv1d(width, width, 5, 4), nn.GELU(), nn.GroupNorm(1, width),
                nn.Conv1d(width, width, 5, 2), nn.GELU(), nn.GroupNorm(1, width),
            )  # fmt: skip
        else:
            self.stack = Stack(StackConfig(layers=(layer,) * 2, width=width, feed_width=2 * width))
        self.head = nn.Linear(width, classes)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, S) -> (B, K); samples after the last full position are left out."""
        if self.stack is None:
            hidden: Tensor = self.input_proj(waveforms[:, None]).transpose(1, 2)
        else:
            whole = waveforms.shape[1] // self.fold * self.fold
            hidden = self.stack(self.input_proj(waveforms[:, :whole].view(len(waveforms), -1, self.fold)))
        logits: Tensor = self.head(hidden.mean(1))
        return logits

    def set_rate(self, rate: float) -> None:
        """Set the step of state spaces to ``rate`` times that of training."""
        for module in self.modules():
            if isinstance(module, (S4D, Lssl)):
                module.rate = rate


def _loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Mean loss of a clip in nats."""
    return F.cross_entropy(network(batch[0]), batch[1]), {}


def waveforms_cell(
    system: WaveformSystem,
    config: ComparisonConfig,
    clips: Clips,
    folder: Path,
    seed: int,
    device: str,
    should_stop: Callable[[], bool],
) -> Cell | None:
    """Train a system on clips and evaluate it at both rates; None if stopped before the end."""
    torch.manual_seed(seed)
    model = WaveformClassifier(system, config.width, len(clips.names))
    train_clips = np.flatnonzero(clips.training)

    def batch(number: int) -> tuple[Tensor, Tensor]:
        drawn = np.random.default_rng([seed, 2, number]).integers(len(train_clips), size=config.waveform_rows)
        chosen = train_clips[drawn]
        return torch.from_numpy(clips.waveforms[chosen]), torch.from_numpy(clips.classes[chosen])

    named = list(model.named_parameters())
    groups = [[weight for name, weight in named if name.rpartition(".")[2] in SLOW]]
    groups.append([weight for name, weight in named if name.rpartition(".")[2] not in SLOW])
    settings = config.waveform_training
    objective = Objective(model, [Turn(_loss, groups)], batch)
    complete, seconds = train_measured(objective, settings, folder, should_stop=should_stop, device=device)
    if not complete:
        return None
    test_clips = np.flatnonzero(~clips.training)
    ones = np.ones(len(test_clips))
    right = _correct(model, clips, test_clips, config.waveform_rows, 1)
    model.set_rate(2.0)
    half = _correct(model, clips, test_clips, config.waveform_rows, 2)
    fold = model.fold
    return Cell(
        task="waveforms",
        system=system if fold == 1 else f"{system}, pieces of {fold}",
        accuracy=float(right.mean()),
        accuracy_interval=bootstrap_ratio(right, ones),
        half_rate=float(half.mean()),
        half_rate_interval=bootstrap_ratio(half, ones),
        parameters=sum(weight.numel() for weight in model.parameters()),
        step_seconds=seconds,
        steps=settings.steps,
        state_kilobytes=None if model.stack is None else state_kilobytes(model.stack),
    )


@torch.no_grad()
def _correct(
    model: WaveformClassifier, clips: Clips, indices: NDArray[np.int64], batch_size: int, stride: int
) -> NDArray[np.float64]:
    """(N,) 1 where the likeliest class is the clip's, given every ``stride``-th sample."""
    model.eval()
    where = model.head.weight.device
    correct = []
    for begin in range(0, len(indices), batch_size):
        batch = indices[begin : begin + batch_size]
        logits = model(torch.from_numpy(clips.waveforms[batch, ::stride].copy()).to(where))
        correct.append((logits.argmax(1).cpu().numpy() == clips.classes[batch]).astype(np.float64))
    return np.concatenate(correct)
