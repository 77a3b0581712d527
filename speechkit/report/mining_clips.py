"""The audio of a mining page: the listed pairs first, then the sentences of the plots, until the page is full."""

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
    """About how much of the page one alignment takes without its audio."""
    text = sum(len(outcome.text.encode()) for outcome in view.outcomes)
    return 700 * len(view.outcomes) + 3 * text + 40 * len(view.path) + 10_000


def _frame_bytes(data: MiningReport) -> int:
    return FRAME_BYTES + CARD_BYTES * (len(data.best) + len(data.worst) + len(data.borderline))


def affordable(data: MiningReport, max_megabytes: float) -> MiningReport:
    """The same data with the first views that leave a third of the page to audio; one view stays in any case."""
    room = (max_megabytes * 1e6 - _frame_bytes(data)) * 2 / 3
    shown: list[View] = []
    for view in data.views:
        room -= view_bytes(view)
        if room < 0 and shown:
            break
        shown.append(view)
    return msgspec.structs.replace(data, views=shown)


class Place(NamedTuple):
    """A stretch to cut out: seconds in the recording, and how many words stand beside it with their times."""

    recording: str
    sentence: str
    start: float
    end: float
    words: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What is cut once only."""
        return self.recording, self.sentence


class Clips:
    """The audio that goes into the page, until its size is used up; ``reserved`` bytes are not for audio."""

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
        """The name of the sentence's audio block, or None where there is no room or no audio."""
        place = _place(outcome)
        if place is None:
            return None
        known = self.names.get(place.key)
        return known or self._keep(place, self._made(place))

    def path(self, recording: str) -> Path:
        """Where the audio of a recording lies.

        Raises:
            UserError: if that is outside of the recordings' folder.
        """
        return self.root if self.root.is_file() else inside(self.root, self.recordings[recording].audio_filepath)

    def _made(self, place: Place) -> tuple[bytes, str] | None:
        """The encoded audio and its outline; several threads may do this at once."""
        if place.recording in self.failures or self.left <= 0:
            return None
        waveform = self._waveform(place)
        return None if waveform is None else (encode_clip(waveform), wave_outline(waveform))

    def _keep(self, place: Place, made: tuple[bytes, str] | None) -> str | None:
        if made is None or self.left <= 0 or place.key in self.names:
            return None
        encoded, outline = made
        # Base64 makes three bytes four characters; the words stand beside each clip with their times.
        size = len(encoded) * 4 // 3 + 80 + WORD_BYTES * place.words
        if size > self.left:
            # Full: to look for a shorter one would mean to encode all the rest.
            self.left = 0
            return None
        self.left -= size
        name = f"clip-{len(self.names) + 1}"
        self.names[place.key] = name
        self.outlines[name] = outline
        self.blocks.append(clip_block(name, encoded))
        return name

    def _waveform(self, place: Place) -> NDArray[np.float32] | None:
        try:
            channel = self.recordings[place.recording].channel
            return read_clip(self.path(place.recording), place.start, place.end, channel=channel)
        except (AudioError, UserError, KeyError) as error:
            self.failures[place.recording] = str(error)
            return None

    def fill(self, places: Iterable[Place]) -> None:
        """Spend what is left on these in turn."""
        fresh = (place for place in places if place.key not in self.names)
        cpus = available_cpus()
        with ThreadPoolExecutor(cpus) as pool:
            # The page decides in order what it keeps, so it is the same with any number of threads.
            started = ((place, pool.submit(self._made, place)) for place in fresh)
            pending = deque(islice(started, 2 * cpus))
            while pending and self.left > 0:
                place, making = pending.popleft()
                self._keep(place, making.result())
                pending.extend(islice(started, 1))


def _place(outcome: Outcome) -> Place | None:
    match = outcome.match
    if match is None:
        return None
    return Place(match.recording, outcome.sentence, match.start, match.end, len(match.words))


def plot_places(data: MiningReport) -> Iterator[Place]:
    """The sentences of the plots, one of each in turn, so that none is silent."""
    queues = [[place for outcome in view.outcomes if (place := _place(outcome))] for view in data.views]
    return (place for turn in zip_longest(*queues) for place in turn if place is not None)


def listed_places(data: MiningReport) -> Iterator[Place]:
    """The sentences of the list that have a place in the audio."""
    for row in data.sentence_rows:
        if row.recording:
            yield Place(row.recording, row.sentence, row.start, row.start + row.seconds)
