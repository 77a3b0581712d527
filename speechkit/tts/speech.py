"""Synthesised speech with its tokens, and the concatenation of sentences."""

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
        rate: sample rate in hertz.
        tokens: the spoken symbols.
        durations: samples per token; empty if the model does not align tokens.
        notes: what was left out of the text, and why.
    """

    waveform: Float
    rate: int
    tokens: tuple[str, ...] = ()
    durations: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.waveform) / self.rate


def join_speech(parts: Sequence[Speech], pause_seconds: float) -> Speech:
    """Concatenate parts with silence between them; a pause counts to the token before it.

    Raises:
        ValueError: if there are no parts, or their rates differ.
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
