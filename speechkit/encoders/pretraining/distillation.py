"""Distillation: a wav2vec 2.0-shaped student learns a teacher's layer states from augmented recordings.

The student is initialised with the teacher's transformer layers, which have the same shape; it has to learn a
convolutional front end in place of log-mel features, and robustness to noise. Source for the layer-wise regression:
Chang et al. 2022 (DistilHuBERT); for clean targets of noisy inputs: Chen et al. 2022 (WavLM), equation 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.layers import capture_outputs
from speechkit.encoders.pretraining.teacher import WhisperTeacher
from speechkit.nn.masks import length_mask


def take_over_layers(student: Any, encoder: Any) -> None:
    """Copy the transformer layers of a ``WhisperEncoder`` into a ``Wav2Vec2Model`` of the same width.

    Raises:
        ValueError: if the shapes differ, by torch's own message.
    """
    for ours, theirs in zip(student.encoder.layers, encoder.layers, strict=True):
        pairs = [(getattr(ours.attention, f"{n}_proj"), getattr(theirs.self_attn, f"{n}_proj")) for n in "qv"]
        pairs += [
            (ours.attention.out_proj, theirs.self_attn.out_proj),
            (ours.layer_norm, theirs.self_attn_layer_norm),
            (ours.feed_forward.intermediate_dense, theirs.fc1),
            (ours.feed_forward.output_dense, theirs.fc2),
            (ours.final_layer_norm, theirs.final_layer_norm),
        ]
        for target, source in pairs:
            target.load_state_dict(source.state_dict())
        with torch.no_grad():
            ours.attention.k_proj.weight.copy_(theirs.self_attn.k_proj.weight)
            ours.attention.k_proj.bias.zero_()
    student.encoder.layer_norm.load_state_dict(encoder.layer_norm.state_dict())


class Distillation(nn.Module):
    """A student, and the mean and deviation of every dimension of the teacher's states.

    Whisper's states have a few dimensions that are hundreds of times larger than the rest; standardisation gives all
    dimensions the same weight.
    """

    means: Tensor
    deviations: Tensor

    def __init__(self, student: WaveformEncoder, teacher: WhisperTeacher, layers: tuple[int, ...]):
        super().__init__()
        student.spec.require_rates("states of Whisper", 50)
        self.student = student
        self.layers = layers
        states = len(teacher.encoder.layers) + 1
        width = teacher.encoder.config.d_model
        self.register_buffer("means", torch.zeros(states, width))
        self.register_buffer("deviations", torch.ones(states, width))
        # In a list, so that it is neither trained, averaged nor saved.
        self._teacher = [teacher]

    @property
    def teacher(self) -> WhisperTeacher:
        """The teacher; its weights are not part of this module."""
        return self._teacher[0]

    @torch.no_grad()
    def standardise(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Measure mean and deviation of the teacher's states on batches."""
        sums = torch.zeros_like(self.means, dtype=torch.float64)
        squares, count = torch.zeros_like(sums), 0
        for batch in batches:
            frames = self.student.frame_lengths(batch["lengths"])
            for index, state in enumerate(self.teacher(batch["clean"], batch["lengths"])):
                inside = length_mask(frames, state.shape[1])
                kept = state[inside].double()
                sums[index] += kept.sum(0)
                squares[index] += kept.square().sum(0)
            count += int(frames.sum())
        mean = sums / count
        self.means.copy_(mean)
        deviations = (squares / count - mean.square()).clamp_min(0).sqrt()
        # Nearly constant dimensions carry little information; their deviation is floored, so as not to amplify them.
        self.deviations.copy_(deviations.maximum(0.3 * deviations.median(dim=1, keepdim=True).values))

    def forward(self, waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
        """The student's states for comparison with the teacher's: (B, S), samples (B,) to layers + 1 of (B, T, D)."""
        with capture_outputs(self.student.network.feature_projection) as projected:
            states, _ = self.student(waveforms, lengths)
        return [projected[0][0], *states[1:]]


class DistillationObjective:
    """Mean over the chosen layers of the smooth L1 distance to a Whisper encoder's states, in standardised units.

    Args:
        encoder: a transformers ``WhisperEncoder``, from `read_whisper_encoder`.
        student: a ``Wav2Vec2Model`` with layers of the encoder's shape.
        batches: on which the statistics of the teacher's states are measured.
        layers: states to regress; 0 is the input of the first layer.
        take_over: whether to initialise the student with the teacher's layers; false to continue training.
    """

    def __init__(
        self,
        encoder: Any,
        student: Any,
        batches: Iterable[dict[str, Tensor]],
        layers: tuple[int, ...],
        take_over: bool,
    ):
        if take_over:
            take_over_layers(student, encoder)
        self.network: Distillation = Distillation(WaveformEncoder(student), WhisperTeacher(encoder), layers)
        self.network.standardise(batches)

    def groups(self) -> list[list[nn.Parameter]]:
        """The convolutional front end, then the transformer."""
        front: list[nn.Parameter] = []
        transformer: list[nn.Parameter] = []
        for name, value in self.network.named_parameters():
            (
                transformer
                if name.startswith(("student.network.encoder.layers", "student.network.encoder.layer_norm"))
                else front
            ).append(value)
        return [front, transformer]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """The batch unchanged; the teacher is computed within the step."""
        return batch

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Mean smooth L1 loss of the layers over all frames without padding."""
        inner: Any = getattr(model, "module", model)
        targets = inner.teacher.to(batch["clean"].device)(batch["clean"], batch["lengths"])
        states = model(batch["inputs"], batch["lengths"])
        frames = inner.student.frame_lengths(batch["lengths"])
        inside = length_mask(frames, states[0].shape[1])
        losses = {}
        for layer in inner.layers:
            mean, deviation = inner.means[layer], inner.deviations[layer]
            target = (targets[layer][inside].float() - mean) / deviation
            predicted = (states[layer][inside].float() - mean) / deviation
            losses[f"layer_{layer}"] = F.smooth_l1_loss(predicted, target)
        loss = torch.stack(list(losses.values())).mean()
        return loss, {name: float(value.detach()) for name, value in losses.items()}

    def save(self, folder: Path, half: bool = False) -> None:
        """Save the student."""
        self.network.student.save(folder, half)
