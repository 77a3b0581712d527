"""Sylber's self-segmentation distillation: frame-level regression to the teacher's segment means, zero in silence.

Stage 1 takes segments from any segmenter; in stage 2 the trained student is the teacher, whose frames are segmented
during training with a threshold drawn for each batch.

Source: Cho et al. 2025 (Sylber), section 3; written from the paper.

Notation used for tensor shapes: B items, S samples, T frames of 20 ms, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.augment.mixing import NO_MIXING, MixingConfig, mix
from speechkit.encoders.model import standardised
from speechkit.io.arrays import Float
from speechkit.nn.masks import length_mask
from speechkit.syllables.segments import Segmenter
from speechkit.syllables.syllable_encoder import SyllableEncoder

SILENCE = -1
"""Label of frames outside of segments."""
Spans = NDArray[np.int64]


def frame_labels(spans: Spans, begin: int, frames: int) -> NDArray[np.int64]:
    """Segment index of each frame from ``begin`` on, `SILENCE` between segments: spans (n, 2) to (frames,)."""
    labels = np.full(frames, SILENCE, np.int64)
    for number, (start, end) in enumerate(spans):
        low, high = max(int(start) - begin, 0), min(int(end) - begin, frames)
        if low < high:
            labels[low:high] = number
    return labels


def segment_targets(features: Tensor, labels: Tensor) -> Tensor:
    """Segment mean of each frame, zero in silence: (B, T, D) and (B, T) to (B, T, D)."""
    rows, frames, width = features.shape
    most = int(labels.max()) + 1 if labels.numel() else 0
    if most <= 0:
        return torch.zeros_like(features)
    inside = labels != SILENCE
    # Segments are numbered across items; the last row collects silence and is zeroed.
    offset = torch.arange(rows, device=labels.device)[:, None] * most
    flat = torch.where(inside, labels + offset, rows * most).reshape(-1)
    sums = features.new_zeros(rows * most + 1, width).index_add_(0, flat, features.reshape(-1, width))
    counts = features.new_zeros(rows * most + 1).index_add_(0, flat, features.new_ones(len(flat)))
    means = sums / counts.clamp_min(1)[:, None]
    means[-1] = 0
    return means[flat].reshape(rows, frames, width)


class SelfSegmentation:
    """The training objective, for `speechkit.training.train`.

    Args:
        student: the encoder to train.
        teacher: the frozen encoder of the targets.
        stored: precomputed spans of each item.
        online: from a batch's merge threshold to a segmenter of the teacher's frames.
        speech: from a waveform at 16 kHz to runs (n, 2) of speech frames; frames outside are set to zero for
            ``online``'s segmenter, which needs a norm threshold above 0. For teachers whose norms do not separate
            silence.
        merge_range: range of the merge threshold, drawn uniformly for each batch.
        mixing: augmentation of the student's input.
        noises: recorded noise, each (samples,) at 16 kHz.
        seed: of mixing and thresholds.
    """

    def __init__(
        self,
        student: SyllableEncoder,
        teacher: SyllableEncoder,
        *,
        stored: Callable[[int], Spans] | None = None,
        online: Callable[[float], Segmenter] | None = None,
        speech: Callable[[Float], Spans] | None = None,
        merge_range: tuple[float, float] = (0.8, 0.9),
        mixing: MixingConfig = NO_MIXING,
        noises: Sequence[Float] = (),
        seed: int = 0,
    ) -> None:
        if (stored is None) == (online is None):
            raise ValueError("give either the segments of stage 1 or the segmenter of stage 2")
        self.network = student
        # In a list, not a submodule: it is not trained, averaged or saved.
        self._teacher = [teacher.eval().requires_grad_(False)]
        self._stored, self._online, self._speech = stored, online, speech
        self._merge_range, self._mixing, self._noises, self._seed = merge_range, mixing, noises, seed

    def groups(self) -> list[list[nn.Parameter]]:
        """All trainable parameters, in one group."""
        return [[value for value in self.network.parameters() if value.requires_grad]]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """Add the student's augmented input, and labels or a merge threshold, to a clean batch of `WaveformBatches`."""
        generator = np.random.default_rng([self._seed, 5, number])
        lengths = batch["lengths"].tolist()
        clean = [row[:length].numpy() for row, length in zip(batch["clean"], lengths, strict=True)]
        mixed = [torch.from_numpy(standardised(item)) for item in mix(clean, self._mixing, generator, self._noises)]
        ready = {
            "teacher_inputs": batch["inputs"],
            "inputs": nn.utils.rnn.pad_sequence(mixed, batch_first=True),
            "lengths": batch["lengths"],
        }
        if self._stored is None:
            ready["merge"] = torch.tensor(generator.uniform(*self._merge_range), dtype=torch.float64)
        hop = self.network.encoder.hop
        frames = [length // hop for length in lengths]
        if self._speech is not None:
            runs = [frame_labels(self._speech(item), 0, count) for item, count in zip(clean, frames, strict=True)]
            ready["speech"] = _stacked(runs, max(frames)) != SILENCE
        if self._stored is None:
            return ready
        labels = [
            frame_labels(self._stored(item), begin // hop, count)
            for item, begin, count in zip(batch["items"].tolist(), batch["begins"].tolist(), frames, strict=True)
        ]
        return {**ready, "labels": _stacked(labels, max(frames))}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error to the targets over all non-padding frames, silence included, and dimensions."""
        lengths = batch["lengths"]
        teacher = self._teacher[0].to(lengths.device)
        with torch.no_grad():
            features = teacher(batch["teacher_inputs"], lengths).float()
            labels = batch["labels"] if "labels" in batch else self._segment(features, batch)
            targets = segment_targets(features, labels)
        frames = self.network.encoder.frame_lengths(lengths)
        real = length_mask(frames, features.shape[1])
        outputs = model(batch["inputs"], lengths)[real].float()
        loss = (outputs - targets[real]).square().mean()
        speech = labels[real] != SILENCE
        norms = outputs.detach().norm(dim=-1)
        segments = sum(len(row.unique()) - int((row == SILENCE).any()) for row in labels)
        return loss, {
            "speech_share": float(speech.float().mean()),
            "segments_per_second": segments * self.network.encoder.spec.frame_rate / max(int(real.sum()), 1),
            "norm_speech": float(norms[speech].mean()) if speech.any() else 0.0,
            "norm_silence": float(norms[~speech].mean()) if (~speech).any() else 0.0,
        }

    def _segment(self, features: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Labels (B, T) of the teacher's frames (B, T, D) by the online segmenter."""
        assert self._online is not None
        segmenter = self._online(float(batch["merge"]))
        frames = self.network.encoder.frame_lengths(batch["lengths"]).tolist()
        masked = features if "speech" not in batch else features * batch["speech"][..., None]
        items = masked.cpu().numpy()
        labels = [
            frame_labels(segmenter.segment(item[:count]), 0, count) for item, count in zip(items, frames, strict=True)
        ]
        return _stacked(labels, features.shape[1]).to(features.device)

    def save(self, folder: Path) -> None:
        """Save the student for `load_encoder` and transformers."""
        self.network.save(folder)


def _stacked(labels: Sequence[NDArray[np.int64]], frames: int) -> Tensor:
    stacked = np.full((len(labels), frames), SILENCE, np.int64)
    for row, item in enumerate(labels):
        stacked[row, : len(item)] = item
    return torch.from_numpy(stacked)
