"""The concept space: vectors with training-speaker directions removed, robustly scaled.

Notation used for tensor shapes: N vectors, D width, K directions.
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
"""Interquartile range of the standard normal distribution."""
Wide = NDArray[np.float64]


class ConceptSpace(nn.Module):
    """Maps mean encoder frames to concepts and back.

    The mean vector of a speaker identifies the speaker. It is unknown for test speakers, so instead of each speaker's
    own mean, the mean over the training speakers and the main directions between their means are removed.

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
        return (self._remove_speaker(vectors) - self.centre) / self.scale

    def invert(self, concepts: Tensor) -> Tensor:
        """Concepts (…, D) to mean frames (…, D) of the average training speaker."""
        return concepts * self.scale + self.centre + self.mean

    def _remove_speaker(self, vectors: Tensor) -> Tensor:
        centred = vectors - self.mean
        return centred - (centred @ self.directions.T) @ self.directions

    @torch.no_grad()
    def fit(self, vectors: Float, speakers: Sequence[str]) -> None:
        """Fit on training vectors (N, D) and their speakers.

        The directions are the principal ones of the between-speaker scatter, in which each speaker's mean is weighted
        by the number of its vectors, since a mean over few vectors is noisy.

        Raises:
            UserError: if there are not more speakers than directions, or a vector is not finite.
            ConfigError: if there are not fewer directions than dimensions.
        """
        rows = np.asarray(vectors, np.float64)
        if not np.isfinite(rows).all():
            wrong = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            raise UserError(f"training vector {wrong} contains NaN or infinity; encode its segment again")
        means, counts = speaker_means(rows, speakers)
        mean = means.mean(0)
        count = len(self.directions)
        if count >= len(self.mean):
            raise ConfigError(
                f"speaker_directions is {count} and the vectors have {len(self.mean)} dimensions; give fewer directions"
            )
        if count:
            if len(means) <= count:
                raise UserError(
                    f"{len(means)} training speakers are too few for {count} speaker directions; give more speakers, "
                    f"or set speaker_directions to {len(means) - 1} or less"
                )
            directions = np.linalg.svd((means - mean) * np.sqrt(counts)[:, None], full_matrices=False)[2]
            self.directions.copy_(torch.from_numpy(directions[:count]))
        self.mean.copy_(torch.from_numpy(mean))
        centre, scale = robust_scale(self._remove_speaker(torch.from_numpy(rows).to(self.mean)).double().numpy())
        self.centre.copy_(torch.from_numpy(centre))
        self.scale.copy_(torch.from_numpy(scale))


def speaker_means(vectors: Wide, speakers: Sequence[str]) -> tuple[Wide, Wide]:
    """Mean (S, D) and number (S,) of each speaker's vectors (N, D), in order of first appearance."""
    number = {name: index for index, name in enumerate(dict.fromkeys(speakers))}
    index = np.array([number[name] for name in speakers])
    counts = np.bincount(index, minlength=len(number)).astype(np.float64)
    sums = np.zeros((len(number), vectors.shape[1]))
    np.add.at(sums, index, vectors)
    return sums / counts[:, None], counts


def robust_scale(vectors: Wide) -> tuple[Wide, Wide]:
    """Median and scale (D,) of vectors (N, D); the scale is the interquartile range over that of a normal distribution.

    Quartiles are the 25th and 75th percentiles; scikit-learn's `RobustScaler` also counts in per cent, so that its
    ``quantile_range`` of (.25, .75) would lie near the minimum. A constant dimension gets the scale 1.
    """
    low, centre, high = np.percentile(vectors, [25, 50, 75], axis=0)
    scale = (high - low) / NORMAL_IQR
    return centre, np.where(scale > 1e-6, scale, 1.0)


def speaker_share(vectors: Wide, speakers: Sequence[str]) -> float:
    """Share of the variance of vectors (N, D) that lies between speakers, 0 to 1 (eta squared)."""
    means, counts = speaker_means(vectors, speakers)
    centre = vectors.mean(0)
    between = (counts[:, None] * (means - centre) ** 2).sum()
    total = ((vectors - centre) ** 2).sum()
    return float(between / total) if total > 0 else 0.0
