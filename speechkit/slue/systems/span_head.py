"""Where the answer to a spoken question lies in a spoken passage.

Notation used for tensor shapes: B questions, U frames of 80 ms of the passage, V of the question, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.slue.systems.heads import Context, FrameMix, Losses, inside
from speechkit.slue.systems.recurrent import both_directions

SPAN_FRAME_SECONDS = 0.08


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
        alike = likeness(x, q, inside(question_frames, q.shape[1]))
        x, q = both_directions(self.passage, x, frames), both_directions(self.question, q, question_frames)
        heard, _ = self.attention(x, q, q, key_padding_mask=~inside(question_frames, q.shape[1]), need_weights=False)
        joined = both_directions(self.both, self.dropout(torch.cat([x, heard, x * heard, alike], dim=-1)), frames)
        scores: Tensor = self.output(self.dropout(joined))
        return scores.masked_fill(~inside(frames, x.shape[1])[..., None], -math.inf)

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
