"""Results of recognition: characters with times and, for CTC, emissions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Emissions:
    """Frame-wise log-probabilities of a CTC model.

    ``log_probs`` (T, V) float16 natural logarithms; frame ``t`` covers ``[t, t + 1) * hop_seconds``.
    ``vocabulary`` has V symbols: the blank at ``blank``, the word separator is a space.
    """

    log_probs: NDArray[np.float16]
    hop_seconds: float
    vocabulary: tuple[str, ...]
    blank: int


@dataclass(frozen=True)
class Hypothesis:
    """Recognised characters of one recording, in time order.

    ``text[i]`` is spoken from ``starts[i]`` to ``ends[i]`` seconds (float64, shape ``(len(text),)``, from the start
    of the recording); spaces separate words and have the time of the gap. ``scores[i]`` is the recogniser's own
    log-probability of the character, 0 if it has none.
    """

    text: str
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    scores: NDArray[np.float32]
    emissions: Emissions | None = None

    def between(self, start: float, end: float) -> Hypothesis:
        """The words whose middle lies between two times in seconds; emissions stay those of the whole."""
        kept: list[int] = []
        for word in re.finditer(r"\S+", self.text):
            first, last = word.span()
            if start <= (self.starts[first] + self.ends[last - 1]) / 2 < end:
                kept += range(first - bool(kept), last)  # with the space before it
        text = "".join(self.text[index] for index in kept)
        return replace(self, text=text, starts=self.starts[kept], ends=self.ends[kept], scores=self.scores[kept])


@dataclass(frozen=True)
class RecognizerSpec:
    """Identity of a recogniser, for fingerprints."""

    name: str
    model: str
    weights_hash: str
    lang: str


class Recognizer(Protocol):
    """Interface of recognisers."""

    @property
    def spec(self) -> RecognizerSpec:
        """Identity of the recogniser."""

    def recognize(
        self,
        path: str,
        speech: list[tuple[int, int]] | None = None,
        *,
        channel: int | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> Hypothesis:
        """Recognise one recording.

        Args:
            path: the audio file, read in blocks.
            speech: regions to recognise as (start, end) in 16 kHz samples; the whole recording when absent.
            channel: from 0; None: the mean of all.
            advance: called with the seconds of audio processed since the last call.
        """
