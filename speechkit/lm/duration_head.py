"""How long a unit lasts, as a distribution over all whole numbers of frames.

Durations from 1 to K - 1 have a probability each; the rest, K and more, shares one by a geometric law whose rate is
learnt. So every duration has a probability, and bits of durations are those of a code.

Notation used for tensor shapes: … any, D width, K bins.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn


class DurationHead(nn.Module):
    """The law of a unit's duration, from what the model thinks behind that unit and from the duration before it.

    Args:
        width: D.
        bins: K, at least 2.
    """

    def __init__(self, width: int, bins: int):
        super().__init__()
        self.bins = bins
        self.before = nn.Embedding(bins + 1, width)
        self.norm = nn.RMSNorm(width)
        self.inner = nn.Linear(width, width)
        self.out = nn.Linear(width, bins)
        self.tail = nn.Parameter(torch.zeros(()))
        """Log-odds that a duration of K or more lasts a frame longer."""

    def log_probabilities(self, hidden: Tensor, before: Tensor) -> Tensor:
        """(…, D) and the duration before (…,), 0 for none -> (…, K), the last of K frames and more."""
        inner = F.silu(self.inner(self.norm(hidden + self.before(before.clamp(0, self.bins)))))
        return F.log_softmax(self.out(inner).float(), -1)

    def nats(self, hidden: Tensor, before: Tensor, durations: Tensor) -> Tensor:
        """What durations (…,), each at least 1, cost: (…,)."""
        logp = self.log_probabilities(hidden, before)
        bins = durations.clamp(max=self.bins) - 1
        beyond = (durations - self.bins).clamp_min(0)
        geometric = F.logsigmoid(self.tail) * beyond + F.logsigmoid(-self.tail)
        tail = torch.where(durations >= self.bins, geometric, torch.zeros_like(geometric))
        return -logp.gather(-1, bins[..., None])[..., 0] - tail

    @torch.no_grad()
    def sample(self, hidden: Tensor, generator: np.random.Generator, before: int = 0) -> list[int]:
        """Durations of units that follow one another: (T, D) -> T; ``before`` is that of the unit before them."""
        drawn: list[int] = []
        for row in hidden:
            last = torch.tensor(drawn[-1] if drawn else before, device=row.device)
            chances = self.log_probabilities(row, last).double().exp().cpu().numpy().cumsum()
            duration = 1 + int(np.searchsorted(chances, generator.random() * chances[-1], side="right"))
            if duration == self.bins:
                # numpy counts trials up to the first that stops.
                duration += int(generator.geometric(float(torch.sigmoid(-self.tail.double())))) - 1
            drawn.append(duration)
        return drawn
