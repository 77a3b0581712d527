"""Claims about segments in seconds and in frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.syllables.segments import HOP_SECONDS, Segment, in_frames, speech_runs
from tests.syllables.references import run_lengths


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=8))
def test_frames_come_back_from_their_seconds(steps: list[tuple[int, int]]) -> None:
    boundaries, end = [], 0
    for pause, length in steps:
        boundaries.append((end + pause, end + pause + length))
        end += pause + length
    expected = np.array(boundaries, np.int64).reshape(-1, 2)
    seconds = [Segment(start * HOP_SECONDS, stop * HOP_SECONDS) for start, stop in boundaries]
    np.testing.assert_array_equal(in_frames(seconds), expected)


def test_a_segment_shorter_than_a_frame_keeps_one_and_moves_the_next() -> None:
    segments = [Segment(0.1, 0.104), Segment(0.104, 0.2), Segment(0.195, 0.3)]  # the last by less than half a frame
    assert in_frames(segments).tolist() == [[5, 6], [6, 10], [10, 15]]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Segment(0.15, 0.3), r"0\.150 to 0\.300 s begins before the previous one ends, at 0\.200 s"),
        (Segment(0.05, 0.3), "runs backwards"),
        (Segment(0.3, 0.25), "runs backwards"),
    ],
)
def test_segments_that_overlap_or_run_backwards_are_refused(second: Segment, message: str) -> None:
    with pytest.raises(UserError, match=message):
        in_frames([Segment(0.1, 0.2), second])


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 6))
def test_short_silences_belong_to_the_speech_around_them(speech: list[bool], shortest: int) -> None:
    norms = np.array(speech, np.float64)
    filled = list(speech)
    first = speech.index(True) if True in speech else len(speech)
    last = len(speech) - 1 - speech[::-1].index(True) if True in speech else -1
    for begin, end in run_lengths([not loud for loud in speech]):
        if first < begin and end <= last and end - begin < shortest:
            filled[begin:end] = [True] * (end - begin)
    assert speech_runs(norms, 0.5, shortest).tolist() == [list(run) for run in run_lengths(filled)]
