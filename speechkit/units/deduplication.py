"""Run-length encoding of units, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

Integers = NDArray[np.integer[Any]]


def deduplicate(units: Integers) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Run-length encoding of frame-level units (T,): the unit of each run (N,) and its length in frames (N,)."""
    frames = np.asarray(units, np.int32)
    if not len(frames):
        return frames, frames.copy()
    begins = np.concatenate([[0], np.flatnonzero(np.diff(frames)) + 1])
    return frames[begins], np.diff(np.concatenate([begins, [len(frames)]])).astype(np.int32)


def repeat(units: Integers, durations: Integers) -> NDArray[np.int32]:
    """Frame-level units (T,) from runs and their durations (N,).

    Raises:
        UserError: if the numbers of units and durations differ, or a duration is below 1.
    """
    check_runs(units, durations)
    return np.repeat(np.asarray(units, np.int32), durations)


def check_runs(units: Sequence[int] | Integers, durations: Sequence[int] | Integers) -> None:
    """Validate a run-length encoding.

    Raises:
        UserError: if the numbers of units and durations differ, or a duration is below 1.
    """
    if len(units) != len(durations):
        raise UserError(f"{len(units)} units but {len(durations)} durations; give one duration per unit")
    if len(durations) and int(min(durations)) < 1:
        raise UserError(f"a duration is {int(min(durations))} frames; durations must be at least 1")
