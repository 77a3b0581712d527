"""Recordings that sound alike, as a stand-in for speakers where a corpus names none.

The long-term spectrum of the loud frames shows the voice, that of the quiet ones the microphone and the room. This is
no speaker recognition: it keeps what is alike in one fold, so that a test recording's voice and microphone are rarely
met in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import UserError

BANDS = 40
LOUD, QUIET = 0.8, 0.1


def sound_print(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two long-term log spectra (2 * BANDS,) of a waveform (S,) at 16 kHz: of its loud and its quiet frames."""
    padded = np.pad(waveform, (0, max(0, 512 - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::320]
    power = np.abs(np.fft.rfft(frames * np.hanning(512), axis=1)) ** 2
    # Bands that widen with frequency, as hearing does.
    edges = np.unique(np.round(256 * (np.geomspace(1, 33, BANDS + 1) - 1) / 32).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-10)
    level = bands.mean(axis=1)
    loud = bands[level >= np.quantile(level, LOUD)].mean(axis=0)
    quiet = bands[level <= np.quantile(level, QUIET)].mean(axis=0)
    return np.asarray(np.concatenate([loud - loud.mean(), quiet - loud.mean()]), np.float32)


def group_recordings(
    rows: Sequence[Utterance], manifest: Path, most: int, progress: Callable[[int, int], None]
) -> tuple[list[str], str]:
    """The speaker of each recording, or where some have none its group of at most ``most``; and a line that says so.

    ``progress`` is told how many recordings were listened to, of how many.
    """
    from speechkit.slue.systems.batches import waveform_of

    speakers = [row.speaker for row in rows if row.speaker]
    if len(speakers) == len(rows):
        return speakers, f"{len(rows)} recordings of {len(set(speakers))} speakers"
    prints = []
    for row in rows:
        prints.append(sound_print(waveform_of(row, manifest)))
        progress(len(prints), len(rows))
    groups = [f"sound{number}" for number in sound_groups(np.stack(prints), most)]
    return groups, f"{len(rows)} recordings without speakers in {len(set(groups))} groups that sound alike"


def sound_groups(prints: NDArray[np.float32], groups: int) -> list[int]:
    """The group of each print, by Ward's clustering; groups are numbered by their first member."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(prints) <= groups:
        return list(range(len(prints)))
    scaled = (prints - prints.mean(axis=0)) / np.maximum(prints.std(axis=0), 1e-6)
    found = fcluster(linkage(scaled, "ward"), groups, "maxclust").tolist()
    order: dict[int, int] = {}
    return [order.setdefault(number, len(order)) for number in found]


def folds_of_groups(groups: Sequence[str], folds: int) -> list[int]:
    """The fold of each recording: groups, the largest first, go to the fold that has least so far.

    Raises:
        UserError: if there are fewer groups than folds.
    """
    sizes = dict.fromkeys(sorted(set(groups)), 0)
    if len(sizes) < folds:
        raise UserError(f"{len(sizes)} groups cannot make {folds} folds; give fewer folds")
    for name in groups:
        sizes[name] += 1
    filled = [0] * folds
    fold: dict[str, int] = {}
    for name in sorted(sizes, key=lambda each: (-sizes[each], each)):
        fold[name] = int(np.argmin(filled))
        filled[fold[name]] += sizes[name]
    return [fold[name] for name in groups]
