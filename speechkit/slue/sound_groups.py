"""Acoustic clusters of recordings, a substitute for speaker labels in corpora without them.

The long-term spectrum of loud frames characterises the voice, that of quiet frames the microphone and the room. This is
not speaker recognition: it keeps similar recordings in one fold, so that the voice and microphone of a test recording
are rarely in the training data.
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


def acoustic_profile(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Long-term log spectra (2 * BANDS,) of the loud and the quiet frames of a waveform (S,) at 16 kHz."""
    padded = np.pad(waveform, (0, max(0, 512 - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::320]
    power = np.abs(np.fft.rfft(frames * np.hanning(512), axis=1)) ** 2
    # Bandwidths grow with frequency, as on an auditory scale.
    edges = np.unique(np.round(256 * (np.geomspace(1, 33, BANDS + 1) - 1) / 32).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-10)
    level = bands.mean(axis=1)
    loud = bands[level >= np.quantile(level, LOUD)].mean(axis=0)
    quiet = bands[level <= np.quantile(level, QUIET)].mean(axis=0)
    return np.asarray(np.concatenate([loud - loud.mean(), quiet - loud.mean()]), np.float32)


def group_recordings(
    rows: Sequence[Utterance], manifest: Path, max_groups: int, progress: Callable[[int, int], None]
) -> tuple[list[str], str]:
    """Group of each recording, with a one-line description: its speaker, or a cluster if a speaker is unknown.

    There are at most ``max_groups`` clusters. ``progress`` receives the numbers of processed and of all recordings.
    """
    from speechkit.slue.systems.batches import waveform_of

    speakers = [row.speaker for row in rows if row.speaker]
    if len(speakers) == len(rows):
        return speakers, f"{len(rows)} recordings of {len(set(speakers))} speakers"
    profiles = []
    for row in rows:
        profiles.append(acoustic_profile(waveform_of(row, manifest)))
        progress(len(profiles), len(rows))
    groups = [f"sound{number}" for number in cluster_profiles(np.stack(profiles), max_groups)]
    return groups, f"{len(rows)} recordings without speakers in {len(set(groups))} acoustic clusters"


def cluster_profiles(profiles: NDArray[np.float32], groups: int) -> list[int]:
    """Cluster of each profile by Ward's method, numbered in order of first occurrence."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(profiles) <= groups:
        return list(range(len(profiles)))
    scaled = (profiles - profiles.mean(axis=0)) / np.maximum(profiles.std(axis=0), 1e-6)
    clusters = fcluster(linkage(scaled, "ward"), groups, "maxclust").tolist()
    order: dict[int, int] = {}
    return [order.setdefault(number, len(order)) for number in clusters]


def folds_of_groups(groups: Sequence[str], folds: int) -> list[int]:
    """Fold of each recording: whole groups, largest first, are assigned to the smallest fold.

    Raises:
        UserError: if there are fewer groups than folds.
    """
    sizes = dict.fromkeys(sorted(set(groups)), 0)
    if len(sizes) < folds:
        raise UserError(f"{len(sizes)} groups are too few for {folds} folds; use fewer folds")
    for name in groups:
        sizes[name] += 1
    filled = [0] * folds
    fold: dict[str, int] = {}
    for name in sorted(sizes, key=lambda group: (-sizes[group], group)):
        fold[name] = int(np.argmin(filled))
        filled[fold[name]] += sizes[name]
    return [fold[name] for name in groups]
