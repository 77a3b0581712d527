"""Spoken audio with what was spoken, and its sentences put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechkit.errors import UserError
from speechkit.io.arrays import Float


class UnspeakableError(UserError):
    """A sentence that holds nothing a voice can speak."""


@dataclass(frozen=True)
class Speech:
    """A synthesised waveform.

    Attributes:
        waveform: (samples,) in [-1, 1].
        rate: samples a second.
        tokens: the symbols that were spoken.
        durations: of each token in samples, as many as tokens; none where the model aligns no tokens.
        notes: what was left out and why.
    """

    waveform: Float
    rate: int
    tokens: tuple[str, ...] = ()
    durations: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.waveform) / self.rate


def join_speech(parts: Sequence[Speech], pause_seconds: float) -> Speech:
    """The parts one after another with silence between them; a pause belongs to the token before it.

    Raises:
        ValueError: if there are none, or their rates differ.
    """
    rates = {part.rate for part in parts}
    if len(rates) != 1:
        raise ValueError(f"speech of rates {sorted(rates)} cannot be joined")
    rate = rates.pop()
    pause = round(pause_seconds * rate)
    waveforms: list[Float] = []
    tokens: list[str] = []
    durations: list[int] = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        waveforms += [part.waveform] if last else [part.waveform, np.zeros(pause, np.float32)]
        tokens += part.tokens
        durations += part.durations
        if part.durations and not last:
            durations[-1] += pause
    notes = tuple(note for part in parts for note in part.notes)
    return Speech(np.concatenate(waveforms), rate, tuple(tokens), tuple(durations), notes)
