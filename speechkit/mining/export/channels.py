"""The channel of each sentence that was mined from the mean of several: a manifest names one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.io.decoding import decode
from speechkit.mining.input_stages import input_file

if TYPE_CHECKING:
    from speechkit.pipeline import Context

LOUDER = 2.0
"""Times the power of the first channel that another one must have to be named in its place (3 dB)."""


class LoudestChannel:
    """Names in each row the channel in which its sentence is loudest; rows of one channel stay as they are.

    Args:
        context: of the export stage.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._averaged = {
            recording.id: recording.audio_filepath
            for recording in context.read("recordings")
            if recording.channels > 1 and recording.channel is None
        }
        self._chosen: dict[str, int] = {}

    def of_rows(self, rows: Iterable[Utterance]) -> Iterator[Utterance]:
        """The rows of the run, with audio paths as in its recordings."""
        for row in rows:
            recording = str((row.custom or {}).get("recording", ""))
            if recording not in self._averaged:
                yield row
                continue
            if row.id not in self._chosen:
                path = input_file(self._context.config.audio, self._averaged[recording])
                try:
                    self._chosen[row.id] = loudest_channel(path, row)
                except AudioError as error:
                    self._context.log(f"{row.id}: the channel of its speech is unknown: {error}")
                    self._chosen[row.id] = row.channel
            yield msgspec.structs.replace(row, channel=self._chosen[row.id])


def loudest_channel(path: Path, row: Utterance) -> int:
    """The channel, from 0, with the most power in a cut; the first one unless another has twice its power.

    Raises:
        AudioError: if the cut cannot be read.
    """
    power: np.ndarray | float = 0.0
    for block in decode(path, row.offset_samples, row.num_samples):
        power = power + np.square(block, dtype=np.float64).sum(axis=0)
    powers = np.atleast_1d(power)
    best = int(np.argmax(powers))
    return best if powers[best] >= LOUDER * powers[0] and powers[best] > 0 else 0
