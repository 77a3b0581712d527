"""Select training and test recordings without shared speakers or audio."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from speechkit.data.manifest import audio_path
from speechkit.data.records import Utterance


class LeftOut(NamedTuple):
    """A recording of ``train`` or ``test`` that is excluded, with the reason."""

    part: str
    row: Utterance
    reason: str
    detail: str


class HeldOut(NamedTuple):
    """Training recordings in random order, test recordings in manifest order, and excluded recordings."""

    train: list[Utterance]
    test: list[Utterance]
    left_out: list[LeftOut]


def hold_out(
    train: Iterable[Utterance],
    test: Iterable[Utterance],
    train_manifest: Path,
    test_manifest: Path,
    draw: Callable[[Utterance], int],
    *,
    speakers: frozenset[str] = frozenset(),
    min_seconds: float = 0.0,
    max_seconds: float = float("inf"),
    max_train_seconds: float = float("inf"),
) -> HeldOut:
    """Select recordings so that no test speaker and no test audio is in the training set.

    Rows without speakers are separated by audio overlap.

    Args:
        train: rows of ``train_manifest``.
        test: rows of ``test_manifest``.
        train_manifest: manifest that audio paths of ``train`` are relative to.
        test_manifest: likewise for ``test``.
        draw: sort key of a training recording for the random order.
        speakers: test speakers; all if empty.
        min_seconds: shorter recordings are excluded (``too_short``).
        max_seconds: longer recordings are excluded (``too_long``).
        max_train_seconds: maximum training speech (``beyond_limit``).
    """
    left_out: list[LeftOut] = []

    def leave_out(part: str, row: Utterance, reason: str, detail: str) -> None:
        left_out.append(LeftOut(part, row, reason, detail))

    def fitting(part: str, rows: Iterable[Utterance]) -> Iterator[Utterance]:
        for row in rows:
            if row.duration < min_seconds:
                leave_out(part, row, "too_short", f"{row.duration:.2f} s")
            elif row.duration > max_seconds:
                leave_out(part, row, "too_long", f"{row.duration:.1f} s")
            else:
                yield row

    test_rows: list[Utterance] = []
    for row in fitting("test", test):
        if speakers and row.speaker not in speakers:
            leave_out("test", row, "not_asked_for", f"speaker {row.speaker}")
        else:
            test_rows.append(row)
    test_speakers = {row.speaker for row in test_rows} - {None}
    test_audio = _Pieces(test_manifest, test_rows)
    train_rows: list[Utterance] = []
    total = 0.0
    for row in sorted(fitting("train", train), key=draw):
        if row.speaker in test_speakers:
            leave_out("train", row, "test_speaker", str(row.speaker))
        elif test_id := test_audio.overlapping(train_manifest, row):
            leave_out("train", row, "test_audio", f"the same audio as test/{test_id}")
        elif total + row.duration > max_train_seconds:
            leave_out("train", row, "beyond_limit", f"max_train_seconds is {max_train_seconds:g}")
        else:
            total += row.duration
            train_rows.append(row)
    return HeldOut(train_rows, test_rows, left_out)


class _Pieces:
    """Interval index of the audio segments in a set of recordings."""

    def __init__(self, manifest: Path, rows: Sequence[Utterance]) -> None:
        pieces: dict[tuple[str, int], list[tuple[float, float, str]]] = {}
        for row in rows:
            pieces.setdefault(_file(manifest, row), []).append((*_span(row), row.id))
        self._pieces = {file: sorted(spans) for file, spans in pieces.items()}
        # Running maximum of the end, over segments sorted by start.
        self._last: dict[tuple[str, int], list[tuple[float, str]]] = {}
        for file, spans in self._pieces.items():
            latest_ends = self._last[file] = []
            for _, end, name in spans:
                latest_ends.append(max(latest_ends[-1], (end, name)) if latest_ends else (end, name))

    def overlapping(self, manifest: Path, row: Utterance) -> str | None:
        """Id of a recording that shares samples with the row, None if there is none."""
        file = _file(manifest, row)
        if file not in self._pieces:
            return None
        begin, end = _span(row)
        starting = bisect_left(self._pieces[file], (end,))
        if not starting:
            return None
        latest_end, name = self._last[file][starting - 1]
        return name if latest_end > begin else None


def _file(manifest: Path, row: Utterance) -> tuple[str, int]:
    return os.path.realpath(audio_path(manifest, row)), row.channel


def _span(row: Utterance) -> tuple[float, float]:
    """Start and end in seconds, on sample boundaries, so that adjacent segments do not overlap."""
    begin, rate = row.offset_samples, max(row.sample_rate, 1)
    return begin / rate, (begin + row.num_samples) / rate
