"""Run-length encoding of units, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

Whole = NDArray[np.integer[Any]]


def deduplicate(units: Whole) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The unit of each run (N,) and its length in frames (N,), of the units of all frames (T,)."""
    frames = np.asarray(units, np.int32)
    if not len(frames):
        return frames, frames.copy()
    begins = np.concatenate([[0], np.flatnonzero(np.diff(frames)) + 1])
    return frames[begins], np.diff(np.concatenate([begins, [len(frames)]])).astype(np.int32)


def repeat(units: Whole, durations: Whole) -> NDArray[np.int32]:
    """The units of all frames (T,), from runs and their durations (N,).

    Raises:
        UserError: if there are not as many durations as units, or one is below 1.
    """
    check_runs(units, durations)
    return np.repeat(np.asarray(units, np.int32), durations)


def check_runs(units: Sequence[int] | Whole, durations: Sequence[int] | Whole) -> None:
    """Check a run-length encoding.

    Raises:
        UserError: if there are not as many durations as units, or one is below 1.
    """
    if len(units) != len(durations):
        raise UserError(f"{len(units)} units have {len(durations)} durations; give one each")
    if len(durations) and int(min(durations)) < 1:
        raise UserError(f"a duration is {int(min(durations))} frames; a run lasts at least one")
