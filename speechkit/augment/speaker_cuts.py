"""Single-speaker recordings for mixtures, by speaker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from speechkit.data.audio import read_waveform
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.arrays import Float

LONGEST_KEPT_SECONDS = 60
"""Cuts up to this length are decoded whole and kept; of longer ones only the piece is read."""


class Cuts(Protocol):
    """Single-speaker recordings."""

    sample_rate: int
    speakers: Sequence[str]

    def choose(self, speaker: int, generator: np.random.Generator) -> int:
        """One of a speaker's cuts."""

    def samples(self, cut: int) -> int:
        """Its length."""

    def piece(self, cut: int, begin: int, samples: int) -> Float:
        """Some of its samples."""

    def name(self, cut: int) -> str:
        """Its id."""


class ManifestCuts:
    """The cuts of a manifest by speaker, at one sample rate, with a bounded cache.

    Args:
        rows: of the manifest, each with a speaker.
        manifest: to which audio paths are relative.
        sample_rate: in hertz.
        memory_bytes: size of the cache.

    Raises:
        UserError: if there is no row, or one without a speaker.
    """

    def __init__(self, rows: Sequence[Utterance], manifest: Path, sample_rate: int, memory_bytes: int = 1 << 30):
        by_speaker: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            if not row.speaker:
                raise UserError(f"{manifest}: {row.id!r} has no speaker; mixtures need different speakers")
            by_speaker.setdefault(row.speaker, []).append(index)
        if not rows:
            raise UserError(f"{manifest}: has no rows; give single-speaker recordings")
        self.sample_rate = sample_rate
        self.speakers: Sequence[str] = sorted(by_speaker)
        self._rows, self._manifest = rows, manifest
        self._indices = [np.array(by_speaker[speaker]) for speaker in self.speakers]
        # A speaker's cuts are drawn in proportion to their length, so that all speech is equally likely.
        self._ends = [np.cumsum([self.samples(cut) for cut in indices]) for indices in self._indices]
        self._kept: OrderedDict[int, Float] = OrderedDict()
        self._free = memory_bytes

    def choose(self, speaker: int, generator: np.random.Generator) -> int:
        """Draw one of a speaker's cuts in proportion to their lengths."""
        ends = self._ends[speaker]
        return int(self._indices[speaker][np.searchsorted(ends, generator.integers(ends[-1]), side="right")])

    def samples(self, cut: int) -> int:
        """Length at ``sample_rate``, at least 1."""
        row = self._rows[cut]
        return max(1, row.num_samples * self.sample_rate // row.sample_rate)

    def name(self, cut: int) -> str:
        """Id of a cut."""
        return self._rows[cut].id

    def piece(self, cut: int, begin: int, samples: int) -> Float:
        """Samples ``begin`` to ``begin + samples`` of a cut, or to its end.

        Raises:
            AudioError: if it cannot be read.
        """
        row = self._rows[cut]
        if row.duration > LONGEST_KEPT_SECONDS:
            ratio = row.sample_rate / self.sample_rate
            read = read_waveform(
                row,
                self._manifest,
                begin=int(begin * ratio),
                num_samples=int((samples + 1) * ratio) + 1,
                sample_rate=self.sample_rate,
            )
            return read[:samples]
        if cut in self._kept:
            self._kept.move_to_end(cut)
        else:
            self._kept[cut] = read_waveform(row, self._manifest, sample_rate=self.sample_rate)
            self._free -= self._kept[cut].nbytes
            while self._free < 0 and len(self._kept) > 1:
                self._free += self._kept.popitem(last=False)[1].nbytes
        return self._kept[cut][begin : begin + samples]
