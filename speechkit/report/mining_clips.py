"""Audio clips of a mining page: listed pairs first, then sentences of the plots, up to the size limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from speechkit.errors import AudioError, UserError
from speechkit.io.paths import inside
from speechkit.mining.records import Outcome
from speechkit.report.mining_data import MiningReport, View
from speechkit.report.player import clip_block, encode_clip, read_clip, wave_outline
from speechkit.runtime import available_cpus

FRAME_BYTES = 140_000  # style, script, plots and tables
CARD_BYTES = 13_000  # a listed pair: its evidence and its waveform, drawn twice
WORD_BYTES = 80


def view_bytes(view: View) -> int:
    """Approximate size in bytes of one alignment on the page, without audio."""
    text = sum(len(outcome.text.encode()) for outcome in view.outcomes)
    return 700 * len(view.outcomes) + 3 * text + 40 * len(view.path) + 10_000


def _frame_bytes(data: MiningReport) -> int:
    return FRAME_BYTES + CARD_BYTES * (len(data.best) + len(data.worst) + len(data.borderline))


def affordable(data: MiningReport, max_megabytes: float) -> MiningReport:
    """Limit the views so that a third of the page is left for audio; at least one view is kept."""
    room = (max_megabytes * 1e6 - _frame_bytes(data)) * 2 / 3
    shown: list[View] = []
    for view in data.views:
        room -= view_bytes(view)
        if room < 0 and shown:
            break
        shown.append(view)
    return msgspec.structs.replace(data, views=shown)


class Segment(NamedTuple):
    """A segment of a recording: times in seconds, and the number of words shown with times."""

    recording: str
    sentence: str
    start: float
    end: float
    words: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Identity of the clip; each is cut only once."""
        return self.recording, self.sentence


class Clips:
    """Audio clips embedded in the page, up to its size limit, of which ``reserved`` bytes are not for audio."""

    def __init__(self, data: MiningReport, max_megabytes: float, reserved: int = 0) -> None:
        self.root = Path(data.audio_root)
        self.recordings = {row.recording.id: row.recording for row in data.views}
        self.recordings |= {recording.id: recording for recording in data.recordings}
        self.left = int(max_megabytes * 1e6) - sum(map(view_bytes, data.views)) - _frame_bytes(data) - reserved
        self.names: dict[tuple[str, str], str] = {}  # by recording and sentence
        self.outlines: dict[str, str] = {}
        self.blocks: list[Markup] = []
        self.failures: dict[str, str] = {}

    def add(self, outcome: Outcome) -> str | None:
        """Add a sentence; returns the name of its audio block, None if there is no space or no audio."""
        segment = _segment(outcome)
        if segment is None:
            return None
        known = self.names.get(segment.key)
        return known or self._keep(segment, self._made(segment))

    def path(self, recording: str) -> Path:
        """Audio path of a recording.

        Raises:
            UserError: if it is outside the recordings' folder.
        """
        return self.root if self.root.is_file() else inside(self.root, self.recordings[recording].audio_filepath)

    def _made(self, segment: Segment) -> tuple[bytes, str] | None:
        """Encoded audio and waveform outline; thread-safe."""
        if segment.recording in self.failures or self.left <= 0:
            return None
        waveform = self._waveform(segment)
        return None if waveform is None else (encode_clip(waveform), wave_outline(waveform))

    def _keep(self, segment: Segment, made: tuple[bytes, str] | None) -> str | None:
        if made is None or self.left <= 0 or segment.key in self.names:
            return None
        encoded, outline = made
        # Base64 encodes three bytes as four characters; the words with their times are stored with each clip.
        size = len(encoded) * 4 // 3 + 80 + WORD_BYTES * segment.words
        if size > self.left:
            # Full: finding a shorter one would require encoding all the rest.
            self.left = 0
            return None
        self.left -= size
        name = f"clip-{len(self.names) + 1}"
        self.names[segment.key] = name
        self.outlines[name] = outline
        self.blocks.append(clip_block(name, encoded))
        return name

    def _waveform(self, segment: Segment) -> NDArray[np.float32] | None:
        try:
            channel = self.recordings[segment.recording].channel
            return read_clip(self.path(segment.recording), segment.start, segment.end, channel=channel)
        except (AudioError, UserError, KeyError) as error:
            self.failures[segment.recording] = str(error)
            return None

    def fill(self, segments: Iterable[Segment]) -> None:
        """Add clips in order until the space is used up."""
        fresh = (segment for segment in segments if segment.key not in self.names)
        cpus = available_cpus()
        with ThreadPoolExecutor(cpus) as pool:
            # Clips are accepted in order, so the page does not depend on the number of threads.
            started = ((segment, pool.submit(self._made, segment)) for segment in fresh)
            pending = deque(islice(started, 2 * cpus))
            while pending and self.left > 0:
                segment, making = pending.popleft()
                self._keep(segment, making.result())
                pending.extend(islice(started, 1))


def _segment(outcome: Outcome) -> Segment | None:
    match = outcome.match
    if match is None:
        return None
    return Segment(match.recording, outcome.sentence, match.start, match.end, len(match.words))


def plot_segments(data: MiningReport) -> Iterator[Segment]:
    """Sentences of the plots, round-robin, so that every plot has audio."""
    queues = [[segment for outcome in view.outcomes if (segment := _segment(outcome))] for view in data.views]
    return (segment for turn in zip_longest(*queues) for segment in turn if segment is not None)


def listed_segments(data: MiningReport) -> Iterator[Segment]:
    """Listed sentences that were located in the audio."""
    for row in data.sentence_rows:
        if row.recording:
            yield Segment(row.recording, row.sentence, row.start, row.start + row.seconds)
