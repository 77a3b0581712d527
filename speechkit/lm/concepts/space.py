"""The concept space: vectors with training-speaker directions removed, robustly scaled.

Notation used for tensor shapes: … any, N vectors, D width, K directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float

NORMAL_IQR = 1.349
"""Distance between the quartiles of a normal law of deviation 1."""
Wide = NDArray[np.float64]


class ConceptSpace(nn.Module):
    """From means of encoder frames to concepts, and back to frames' width.

    Speakers differ by their means, which would tell any two of them apart. A speaker who judges has taught nothing, so
    that his own mean is not there to be taken away: what is taken away is the mean over the speakers of training, and
    the directions in which their means lie apart.

    Args:
        width: D.
        directions: K.
    """

    mean: Tensor
    directions: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, width: int, directions: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("directions", torch.zeros(directions, width))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, D) -> concepts (…, D)."""
        return (self._apart(vectors) - self.centre) / self.scale

    def invert(self, concepts: Tensor) -> Tensor:
        """Concepts (…, D) to means of frames of a speaker like the mean of all: (…, D)."""
        return concepts * self.scale + self.centre + self.mean

    def _apart(self, vectors: Tensor) -> Tensor:
        centred = vectors - self.mean
        return centred - (centred @ self.directions.T) @ self.directions

    @torch.no_grad()
    def fit(self, vectors: Float, speakers: Sequence[str]) -> None:
        """Learn from vectors (N, D) of training and their speakers.

        Directions are the main ones of the scatter between speakers: of their means, each weighing as much as it has
        vectors, since a mean of few is mostly chance.

        Raises:
            UserError: if there are not more speakers than directions, or a vector is not finite.
            ConfigError: if no dimension would be left.
        """
        rows = np.asarray(vectors, np.float64)
        if not np.isfinite(rows).all():
            wrong = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            raise UserError(f"vector {wrong} of training holds NaN or infinity; encode its segment again")
        means, counts = speaker_means(rows, speakers)
        mean = means.mean(0)
        wanted = len(self.directions)
        if wanted >= len(self.mean):
            raise ConfigError(f"speaker_directions is {wanted}, and vectors have {len(self.mean)}; give fewer")
        if wanted:
            if len(means) <= wanted:
                raise UserError(
                    f"{len(means)} training speakers cannot show {wanted} directions in which speakers differ; give "
                    f"more speakers, or set speaker_directions to {len(means) - 1} or less"
                )
            found = np.linalg.svd((means - mean) * np.sqrt(counts)[:, None], full_matrices=False)[2]
            self.directions.copy_(torch.from_numpy(found[:wanted]))
        self.mean.copy_(torch.from_numpy(mean))
        centre, scale = robust_scale(self._apart(torch.from_numpy(rows).to(self.mean)).double().numpy())
        self.centre.copy_(torch.from_numpy(centre))
        self.scale.copy_(torch.from_numpy(scale))


def speaker_means(vectors: Wide, speakers: Sequence[str]) -> tuple[Wide, Wide]:
    """The mean of each speaker's vectors (N, D) in order of appearance: (S, D), and how many they are (S,)."""
    number = {name: place for place, name in enumerate(dict.fromkeys(speakers))}
    index = np.array([number[name] for name in speakers])
    counts = np.bincount(index, minlength=len(number)).astype(np.float64)
    sums = np.zeros((len(number), vectors.shape[1]))
    np.add.at(sums, index, vectors)
    return sums / counts[:, None], counts


def robust_scale(vectors: Wide) -> tuple[Wide, Wide]:
    """Median and deviation (D,) of vectors (N, D), the deviation by the quartiles: heavy tails do not stretch it.

    Quartiles are the 25th and 75th per cent: scikit-learn's `RobustScaler` counts in per cent too, and given
    (.25, .75) it takes the distance of two points near the minimum. A dimension that does not change keeps its scale.
    """
    low, centre, high = np.percentile(vectors, [25, 50, 75], axis=0)
    scale = (high - low) / NORMAL_IQR
    return centre, np.where(scale > 1e-6, scale, 1.0)


def speaker_share(vectors: Wide, speakers: Sequence[str]) -> float:
    """The share of the variance of vectors (N, D) that lies between speakers, from 0 to 1 (eta squared)."""
    means, counts = speaker_means(vectors, speakers)
    centre = vectors.mean(0)
    between = (counts[:, None] * (means - centre) ** 2).sum()
    total = ((vectors - centre) ** 2).sum()
    return float(between / total) if total > 0 else 0.0
