"""Batches of waveform crops by number: randomness depends only on the seed and the number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.data import Utterance
from speechkit.data.audio import read_waveform
from speechkit.encoders.model import standardised
from speechkit.training import LengthBuckets

SAMPLE_RATE = 16_000
Augment = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]


class WaveformBatches:
    """Micro-batches of crops.

    Args:
        utterances: rows of a manifest, each at least one frame long.
        manifest: the file they were read from; audio paths are relative to it.
        batch_seconds: limit of items times the longest of them.
        crop_seconds: longer items are cropped randomly to this length.
        seed: of order, crops and augmentation.
        augment: augmentation from (waveform, generator) to the encoder's input of the same length; None: the clean
            waveform.
        first_item: number of the first row in ``items``.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        manifest: Path,
        batch_seconds: float,
        crop_seconds: float,
        seed: int,
        augment: Augment | None = None,
        first_item: int = 0,
    ):
        self._utterances = utterances
        self._manifest = manifest
        self._crop = crop_seconds
        self._seed = seed
        self._augment = augment
        self._first_item = first_item
        self._buckets = LengthBuckets([min(row.duration, crop_seconds) for row in utterances], batch_seconds, seed)

    def __call__(self, number: int) -> dict[str, Tensor]:
        """``inputs`` and ``clean`` (B, S) zero-padded, ``lengths`` (B,) in samples, ``items`` (B,), ``begins`` (B,).

        ``inputs`` are standardised; ``clean`` are as read; ``begins`` are the samples at 16 kHz where the crops begin.
        """
        generator = np.random.default_rng([self._seed, number])
        items = self._buckets[number]
        clean, inputs, begins = [], [], []
        for index in items:
            begin, waveform = self._crop_of(self._utterances[index], generator)
            augmented = waveform if self._augment is None else self._augment(waveform, generator)
            clean.append(torch.from_numpy(waveform))
            inputs.append(torch.from_numpy(standardised(augmented)))
            begins.append(begin)
        return {
            "inputs": nn.utils.rnn.pad_sequence(inputs, batch_first=True),
            "clean": nn.utils.rnn.pad_sequence(clean, batch_first=True),
            "lengths": torch.tensor([len(waveform) for waveform in clean]),
            "items": torch.tensor(items) + self._first_item,
            "begins": torch.tensor(begins),
        }

    def _crop_of(self, row: Utterance, generator: np.random.Generator) -> tuple[int, NDArray[np.float32]]:
        """A piece that begins on the 20 ms grid of the whole item, read without the rest of the file."""
        hop = SAMPLE_RATE // 50
        frames = max(0, int((row.duration - self._crop) * 50))
        begin = int(generator.integers(frames + 1)) / 50
        first, count = round(begin * row.sample_rate), round(self._crop * row.sample_rate)
        waveform = read_waveform(row, self._manifest, begin=first, num_samples=count)
        return round(begin * 50) * hop, waveform
