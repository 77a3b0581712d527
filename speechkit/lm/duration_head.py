"""Duration of a unit as a distribution over all positive numbers of frames.

Durations 1 to K - 1 have a probability each; durations of K and more share one, split by a geometric distribution with
a learned rate. So every duration has a probability, and the bits are a valid code length.

Notation used for tensor shapes: … any, D width, K bins.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn


class DurationHead(nn.Module):
    """Distribution of a unit's duration given the hidden vector after that unit and the previous duration.

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
        """(…, D) and the previous duration (…,), 0 for none -> (…, K); the last bin is K frames and more."""
        inner = F.silu(self.inner(self.norm(hidden + self.before(before.clamp(0, self.bins)))))
        return F.log_softmax(self.out(inner).float(), -1)

    def nats(self, hidden: Tensor, before: Tensor, durations: Tensor) -> Tensor:
        """Negative log-likelihood (…,) in nats of durations (…,), each at least 1."""
        logp = self.log_probabilities(hidden, before)
        bins = durations.clamp(max=self.bins) - 1
        beyond = (durations - self.bins).clamp_min(0)
        geometric = F.logsigmoid(self.tail) * beyond + F.logsigmoid(-self.tail)
        tail = torch.where(durations >= self.bins, geometric, torch.zeros_like(geometric))
        return -logp.gather(-1, bins[..., None])[..., 0] - tail

    @torch.no_grad()
    def sample(self, hidden: Tensor, generator: np.random.Generator, before: int = 0) -> list[int]:
        """Sample durations of consecutive units: (T, D) -> T; ``before`` is the duration of the unit preceding them."""
        drawn: list[int] = []
        for row in hidden:
            last = torch.tensor(drawn[-1] if drawn else before, device=row.device)
            chances = self.log_probabilities(row, last).double().exp().cpu().numpy().cumsum()
            duration = 1 + int(np.searchsorted(chances, generator.random() * chances[-1], side="right"))
            if duration == self.bins:
                # NumPy's geometric variable counts trials up to and including the first success.
                duration += int(generator.geometric(float(torch.sigmoid(-self.tail.double())))) - 1
            drawn.append(duration)
        return drawn
