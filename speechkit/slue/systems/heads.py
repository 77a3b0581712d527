"""What stands on an encoder's layers: a weighted sum, and classes, symbols or the span of an answer of it.

Notation used for tensor shapes: B utterances or questions, L layers, T frames of 20 ms, U frames of 80 ms, V of the
question, D width of the encoder, W width of the head, F fields, C classes, P parts of classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.encoders.layers import LayerWeights
from speechkit.nn.masks import length_mask
from speechkit.nn.recurrent import both_directions
from speechkit.slue.systems.system_spec import Pooling

UNSEEN = -100
"""The class of a development example that no training example has."""
SPAN_FRAME_SECONDS = 0.08
Losses = tuple[Tensor, dict[str, float]]


class FrameMix(nn.Module):
    """Layers, each standardised by the training frames' statistics, in one learned weighted sum (Yang et al. 2021)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: int, dim: int):
        super().__init__()
        self.weights = LayerWeights(layers)
        self.register_buffer("mean", torch.zeros(layers, 1, dim))
        self.register_buffer("deviation", torch.ones(layers, 1, dim))

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, T, D) -> (B, T, D)."""
        # One pass over the layers: the weights take in the deviations, and the means are taken off their sum.
        scales = self.weights.logits.softmax(0)[:, None] / self.deviation[:, 0]  # (L, D)
        return torch.einsum("bltd,ld->btd", states, scales) - (scales * self.mean[:, 0]).sum(0)


class Context(nn.Module):
    """Two convolutions that halve the frames each: one every 80 ms, which hears 260 ms around it."""

    def __init__(self, dim: int, width: int, dropout: float):
        super().__init__()
        self.first = nn.Conv1d(dim, width, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D), (B,) -> (B, U, W) and coarser frames (B,); what lies behind an end changes nothing."""
        x = x.transpose(1, 2)
        for convolution in (self.first, self.second):
            x = F.gelu(convolution(self.dropout(x * length_mask(frames, x.shape[2])[:, None])))
            frames = (frames + 1) // 2
        return self.norm(x.transpose(1, 2)), frames


class ClassHead(nn.Module):
    """One class in each field, or with ``multi_label`` any number of classes in the only field.

    A class is scored by the sum of its parts: the class itself and each of its words, so that "a bit of soy milk" and
    "soy milk" learn from one another.

    ``pooling``: ``mean`` of the frames; ``attention``, one learned query a field; ``peak``, every part of a class is
    looked for in every frame, and the frames where it is heard count most (log-mean-exp).
    """

    def __init__(
        self,
        layers: int,
        dim: int,
        labels: Mapping[str, Sequence[str]],
        *,
        multi_label: bool = False,
        pooling: Pooling = "attention",
        width: int = 256,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.labels = {field: list(names) for field, names in labels.items()}
        self.multi_label = multi_label
        self.pooling = pooling
        self.mix = FrameMix(layers, dim)
        self.context = Context(dim, width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.queries = nn.Linear(width, len(self.labels)) if pooling == "attention" else None
        compositions = [composition(names) for names in self.labels.values()]
        self.parts = nn.ModuleList(nn.Linear(width, table.shape[1]) for table in compositions)
        for number, table in enumerate(compositions):
            self.register_buffer(f"composition{number}", table, persistent=False)
        self.bias = nn.ParameterList(torch.zeros(len(names)) for names in self.labels.values())

    def logits(self, states: Tensor, frames: Tensor) -> list[Tensor]:
        """(B, L, T, D), (B,) -> one (B, C) a field."""
        x, frames = self.context(self.mix(states), frames)  # (B, U, W)
        real = length_mask(frames, x.shape[1])
        answers = []
        for number, part in enumerate(self.parts):
            if self.pooling == "peak":
                scores = part(self.dropout(x)).masked_fill(~real[..., None], -math.inf)  # (B, U, P)
                found = scores.logsumexp(1) - frames.clamp(min=1).log()[:, None]
            else:
                if self.queries is not None:
                    weights = self.queries(x)[..., number].masked_fill(~real, -math.inf).softmax(1)
                else:
                    weights = real / real.sum(1, keepdim=True)
                found = part(self.dropout((weights[..., None] * x).sum(1)))
            answers.append(found @ getattr(self, f"composition{number}").T + self.bias[number])
        return answers

    def loss(self, states: Tensor, frames: Tensor, batch: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy, the mean over fields; ``batch["targets"]`` is (B, F), or (B, C) of 0 and 1.

        A target of `UNSEEN` costs nothing and is never right.
        """
        logits = self.logits(states, frames)
        targets = batch["targets"]
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits[0], targets.float()), {}
        losses = [
            F.cross_entropy(each, targets[:, number], reduction="sum", ignore_index=UNSEEN)
            / (targets[:, number] != UNSEEN).sum().clamp(min=1)
            for number, each in enumerate(logits)
        ]
        right = torch.stack([each.argmax(1) == targets[:, number] for number, each in enumerate(logits)])
        values = {"field_accuracy": float(right.float().mean()), "exact": float(right.all(0).float().mean())}
        return torch.stack(losses).mean(), values


def composition(names: Sequence[str]) -> Tensor:
    """Which parts make a class (C, P): itself, then each word of any class, weighted so that a class has norm 1."""
    words = sorted({word for name in names for word in name.split()})
    table = torch.zeros(len(names), len(names) + len(words))
    for row, name in enumerate(names):
        table[row, row] = 1.0
        for word in name.split():
            table[row, len(names) + words.index(word)] = 1.0
    normal: Tensor = table / table.norm(dim=1, keepdim=True)
    return normal


class CtcHead(nn.Module):
    """Symbols of every frame: a layer of recurrent cells over the sum where ``width`` is above 0, a linear map else."""

    def __init__(self, layers: int, dim: int, symbols: int, *, width: int = 256, dropout: float = 0.1):
        super().__init__()
        self.mix = FrameMix(layers, dim)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.LSTM(dim, width, batch_first=True, bidirectional=True) if width else None
        self.output = nn.Linear(2 * width if width else dim, symbols)

    def log_probs(self, states: Tensor, frames: Tensor) -> Tensor:
        """(B, L, T, D), (B,) -> (B, T, symbols)."""
        x = self.dropout(self.mix(states))
        if self.recurrent is not None:
            x = both_directions(self.recurrent, x, frames)
        logits: Tensor = self.output(self.dropout(x))
        return logits.float().log_softmax(-1)

    def loss(self, states: Tensor, frames: Tensor, batch: Mapping[str, Tensor]) -> Losses:
        """CTC a symbol; an utterance with too few frames for its symbols counts nothing."""
        summed = F.ctc_loss(
            self.log_probs(states, frames).transpose(0, 1),
            batch["targets"],
            frames,
            batch["target_lengths"],
            reduction="sum",
            zero_infinity=True,
        )
        return summed / batch["target_lengths"].sum().clamp(min=1), {}


class SpanHead(nn.Module):
    """Each frame of the passage attends to the question; from both come the scores of a begin and of an end.

    Source: the idea of bidirectional attention flow (Seo et al. 2017) over speech frames, as in Lin et al. 2022 (DUAL).
    """

    def __init__(self, layers: int, dim: int, *, width: int = 256, dropout: float = 0.1):
        super().__init__()
        self.mix = FrameMix(layers, dim)
        self.context = Context(dim, width, dropout)
        self.question = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.passage = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(width, 4, dropout=dropout, batch_first=True)
        self.both = nn.LSTM(3 * width + 2, width // 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, 2)

    def logits(self, states: Tensor, frames: Tensor, question: Tensor, question_frames: Tensor) -> Tensor:
        """Scores of begin and end (B, U, 2), minus infinity behind a passage's end."""
        x, frames = self.context(self.mix(states), frames)
        q, question_frames = self.context(self.mix(question), question_frames)
        asked = length_mask(question_frames, q.shape[1])
        alike = likeness(x, q, asked)
        x, q = both_directions(self.passage, x, frames), both_directions(self.question, q, question_frames)
        heard, _ = self.attention(x, q, q, key_padding_mask=~asked, need_weights=False)
        joined = both_directions(self.both, self.dropout(torch.cat([x, heard, x * heard, alike], dim=-1)), frames)
        scores: Tensor = self.output(self.dropout(joined))
        return scores.masked_fill(~length_mask(frames, x.shape[1])[..., None], -math.inf)

    def loss(self, states: Tensor, frames: Tensor, batch: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy of begin and end; ``batch["targets"]`` (B, 2) in frames of 80 ms."""
        scores = self.logits(states, frames, batch["question_states"], batch["question_frames"])
        targets = batch["targets"].clamp(max=scores.shape[1] - 1)
        loss = F.cross_entropy(scores[..., 0], targets[:, 0]) + F.cross_entropy(scores[..., 1], targets[:, 1])
        return loss / 2, {}


def likeness(x: Tensor, q: Tensor, real: Tensor) -> Tensor:
    """How like the question each frame sounds: the largest and the mean cosine, (B, U, W), (B, V, W) -> (B, U, 2)."""
    cosines = F.normalize(x, dim=-1) @ F.normalize(q, dim=-1).transpose(1, 2)
    largest = cosines.masked_fill(~real[:, None], -1.0).amax(-1)
    mean = (cosines * real[:, None]).sum(-1) / real.sum(1, keepdim=True).clamp(min=1)
    return torch.stack([largest, mean], dim=-1)


def best_span(scores: Tensor, longest_frames: int) -> tuple[int, int]:
    """First and last frame of the likeliest span of (U, 2), no longer than ``longest_frames``."""
    both = scores[:, 0, None] + scores[None, :, 1]
    allowed = torch.ones_like(both, dtype=torch.bool).triu().tril(longest_frames - 1)
    place = int(both.masked_fill(~allowed, -math.inf).argmax())
    return divmod(place, len(scores))
