"""Task heads on a weighted sum of encoder layers: classification, CTC, and answer spans.

Notation used for tensor shapes: B utterances or questions, L layers, T frames of 20 ms, U frames of 80 ms, V frames of
80 ms of the question, D width of the encoder, W width of the head, F fields, C classes, P class components.
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
"""Target of a class without training examples; ignored by the loss."""
SPAN_FRAME_SECONDS = 0.08
Losses = tuple[Tensor, dict[str, float]]


class FrameMix(nn.Module):
    """Learned weighted sum of layers, each standardised with training statistics (Yang et al. 2021)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: int, dim: int):
        super().__init__()
        self.weights = LayerWeights(layers)
        self.register_buffer("mean", torch.zeros(layers, 1, dim))
        self.register_buffer("deviation", torch.ones(layers, 1, dim))

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, T, D) -> (B, T, D)."""
        # Standardisation is folded into the weights and an offset: one pass over the layers.
        scales = self.weights.logits.softmax(0)[:, None] / self.deviation[:, 0]  # (L, D)
        return torch.einsum("bltd,ld->btd", states, scales) - (scales * self.mean[:, 0]).sum(0)


class Subsampling(nn.Module):
    """Two convolutions of stride 2: frames every 80 ms with a receptive field of 260 ms."""

    def __init__(self, dim: int, width: int, dropout: float):
        super().__init__()
        self.first = nn.Conv1d(dim, width, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D), (B,) -> (B, U, W) and subsampled lengths (B,); padding does not affect the result."""
        x = x.transpose(1, 2)
        for convolution in (self.first, self.second):
            x = F.gelu(convolution(self.dropout(x * length_mask(frames, x.shape[2])[:, None])))
            frames = (frames + 1) // 2
        return self.norm(x.transpose(1, 2)), frames


class ClassHead(nn.Module):
    """One class per field, or with ``multi_label`` any number of classes of a single field.

    The score of a class is the sum over its components: the class itself and each of its words, so that "a bit of soy
    milk" and "soy milk" share parameters.

    ``pooling``: ``mean`` of the frames; ``attention`` with one learned query per field; ``peak``, log-mean-exp over
    frames of the component scores.
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
        self.context = Subsampling(dim, width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.queries = nn.Linear(width, len(self.labels)) if pooling == "attention" else None
        compositions = [composition(names) for names in self.labels.values()]
        self.parts = nn.ModuleList(nn.Linear(width, table.shape[1]) for table in compositions)
        for number, table in enumerate(compositions):
            self.register_buffer(f"composition{number}", table, persistent=False)
        self.bias = nn.ParameterList(torch.zeros(len(names)) for names in self.labels.values())

    def logits(self, states: Tensor, frames: Tensor) -> list[Tensor]:
        """(B, L, T, D), (B,) -> one (B, C) per field."""
        x, frames = self.context(self.mix(states), frames)  # (B, U, W)
        real = length_mask(frames, x.shape[1])
        field_logits = []
        for number, part in enumerate(self.parts):
            if self.pooling == "peak":
                scores = part(self.dropout(x)).masked_fill(~real[..., None], -math.inf)  # (B, U, P)
                component_scores = scores.logsumexp(1) - frames.clamp(min=1).log()[:, None]
            else:
                if self.queries is not None:
                    weights = self.queries(x)[..., number].masked_fill(~real, -math.inf).softmax(1)
                else:
                    weights = real / real.sum(1, keepdim=True)
                component_scores = part(self.dropout((weights[..., None] * x).sum(1)))
            field_logits.append(component_scores @ getattr(self, f"composition{number}").T + self.bias[number])
        return field_logits

    def loss(self, states: Tensor, frames: Tensor, batch: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy averaged over fields; ``batch["targets"]`` is (B, F), or multi-hot (B, C).

        Targets `UNSEEN` do not contribute to the loss and count as errors.
        """
        logits = self.logits(states, frames)
        targets = batch["targets"]
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits[0], targets.float()), {}
        losses = [
            F.cross_entropy(scores, targets[:, number], reduction="sum", ignore_index=UNSEEN)
            / (targets[:, number] != UNSEEN).sum().clamp(min=1)
            for number, scores in enumerate(logits)
        ]
        correct = torch.stack([scores.argmax(1) == targets[:, number] for number, scores in enumerate(logits)])
        values = {"field_accuracy": float(correct.float().mean()), "exact": float(correct.all(0).float().mean())}
        return torch.stack(losses).mean(), values


def composition(names: Sequence[str]) -> Tensor:
    """Unit-norm component weights (C, P) of each class: the class itself, then each word of any class."""
    words = sorted({word for name in names for word in name.split()})
    table = torch.zeros(len(names), len(names) + len(words))
    for row, name in enumerate(names):
        table[row, row] = 1.0
        for word in name.split():
            table[row, len(names) + words.index(word)] = 1.0
    normal: Tensor = table / table.norm(dim=1, keepdim=True)
    return normal


class CtcHead(nn.Module):
    """CTC symbols: a bidirectional LSTM over the weighted sum if ``width`` is above 0, else a linear layer."""

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
        """CTC loss per symbol; an utterance with too few frames for its symbols contributes 0."""
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
    """Scores of answer begin and end per passage frame, from attention of the passage to the question.

    Source: bidirectional attention flow (Seo et al. 2017), applied to speech frames as in Lin et al. 2022 (DUAL).
    """

    def __init__(self, layers: int, dim: int, *, width: int = 256, dropout: float = 0.1):
        super().__init__()
        self.mix = FrameMix(layers, dim)
        self.context = Subsampling(dim, width, dropout)
        self.question = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.passage = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(width, 4, dropout=dropout, batch_first=True)
        self.both = nn.LSTM(3 * width + 2, width // 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, 2)

    def logits(self, states: Tensor, frames: Tensor, question: Tensor, question_frames: Tensor) -> Tensor:
        """Scores of begin and end (B, U, 2), minus infinity after a passage's end."""
        x, frames = self.context(self.mix(states), frames)
        q, question_frames = self.context(self.mix(question), question_frames)
        question_mask = length_mask(question_frames, q.shape[1])
        similarity = question_similarity(x, q, question_mask)
        x, q = both_directions(self.passage, x, frames), both_directions(self.question, q, question_frames)
        attended, _ = self.attention(x, q, q, key_padding_mask=~question_mask, need_weights=False)
        features = self.dropout(torch.cat([x, attended, x * attended, similarity], dim=-1))
        scores: Tensor = self.output(self.dropout(both_directions(self.both, features, frames)))
        return scores.masked_fill(~length_mask(frames, x.shape[1])[..., None], -math.inf)

    def loss(self, states: Tensor, frames: Tensor, batch: Mapping[str, Tensor]) -> Losses:
        """Mean cross-entropy of begin and end; ``batch["targets"]`` (B, 2) in frames of 80 ms."""
        scores = self.logits(states, frames, batch["question_states"], batch["question_frames"])
        targets = batch["targets"].clamp(max=scores.shape[1] - 1)
        loss = F.cross_entropy(scores[..., 0], targets[:, 0]) + F.cross_entropy(scores[..., 1], targets[:, 1])
        return loss / 2, {}


def question_similarity(x: Tensor, q: Tensor, real: Tensor) -> Tensor:
    """Maximum and mean cosine of each frame to the question's frames, (B, U, W), (B, V, W) -> (B, U, 2)."""
    cosines = F.normalize(x, dim=-1) @ F.normalize(q, dim=-1).transpose(1, 2)
    largest = cosines.masked_fill(~real[:, None], -1.0).amax(-1)
    mean = (cosines * real[:, None]).sum(-1) / real.sum(1, keepdim=True).clamp(min=1)
    return torch.stack([largest, mean], dim=-1)


def best_span(scores: Tensor, longest_frames: int) -> tuple[int, int]:
    """First and last frame of the best span of at most ``longest_frames``, from begin and end scores (U, 2)."""
    span_scores = scores[:, 0, None] + scores[None, :, 1]
    allowed = torch.ones_like(span_scores, dtype=torch.bool).triu().tril(longest_frames - 1)
    return divmod(int(span_scores.masked_fill(~allowed, -math.inf).argmax()), len(scores))
