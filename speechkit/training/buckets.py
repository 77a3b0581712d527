"""Batches of items of similar length, as a function of the batch number, for exact resume."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np


class LengthBuckets:
    """Endless batches of item indices; batch ``number`` is the same on every machine and after every resume.

    Each epoch visits every item once, in batches whose padded size stays within a limit. Lengths are jittered before
    sorting, so that batches differ from epoch to epoch.

    Args:
        lengths: length of each item, positive, in any unit.
        batch_length: limit of items times longest item; a longer item becomes a batch of one.
        seed: random seed.
        jitter: standard deviation of the logarithm of the factor on lengths.

    Raises:
        ValueError: if there is no item or a length is not positive.
    """

    def __init__(self, lengths: Sequence[float], batch_length: float, seed: int = 0, jitter: float = 0.1):
        self._lengths = np.asarray(lengths, np.float64)
        if not len(self._lengths) or not (self._lengths > 0).all():
            raise ValueError(f"{len(self._lengths)} items; give at least one, with positive lengths")
        self._batch_length = batch_length
        self._seed = seed
        self._jitter = jitter
        self._first_numbers = [0]  # number of the first batch of each epoch
        self._epoch: tuple[int, list[list[int]]] | None = None

    def epoch_of(self, number: int) -> int:
        """The epoch, from 0, that batch ``number`` belongs to."""
        while self._first_numbers[-1] <= number:
            batches = self._batches(len(self._first_numbers) - 1)
            self._first_numbers.append(self._first_numbers[-1] + len(batches))
        return bisect_right(self._first_numbers, number) - 1

    def __getitem__(self, number: int) -> list[int]:
        """Item indices of batch ``number``."""
        epoch = self.epoch_of(number)
        return self._batches(epoch)[number - self._first_numbers[epoch]]

    def _batches(self, epoch: int) -> list[list[int]]:
        if self._epoch is not None and self._epoch[0] == epoch:
            return self._epoch[1]
        generator = np.random.default_rng([self._seed, epoch])
        jittered = self._lengths * np.exp(self._jitter * generator.standard_normal(len(self._lengths)))
        batches: list[list[int]] = []
        longest = 0.0
        for index in np.argsort(jittered, kind="stable").tolist():
            longest = max(longest, self._lengths[index])
            if not batches or longest * (len(batches[-1]) + 1) > self._batch_length:
                batches.append([])
                longest = self._lengths[index]
            batches[-1].append(index)
        shuffled = [batches[place] for place in generator.permutation(len(batches))]
        self._epoch = epoch, shuffled
        return shuffled
