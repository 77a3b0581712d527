"""The audio of a mining page: the listed pairs first, then the sentences of the plots, until the page is full."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, zip_longest
from pathlib import Path

import msgspec
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from speechkit.errors import AudioError, UserError
from speechkit.io.paths import inside
from speechkit.mining.records import Outcome, SentenceMatch
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


class Clips:
    """The audio that goes into the page, until its size is used up."""

    def __init__(self, data: MiningReport, max_megabytes: float) -> None:
        self.root = Path(data.audio_root)
        self.files = {row.recording.id: row.recording.audio_filepath for row in data.views}
        self.files |= data.audio_files
        self.left = int(max_megabytes * 1e6) - sum(map(view_bytes, data.views)) - _frame_bytes(data)
        self.names: dict[tuple[str, str], str] = {}  # by recording and sentence
        self.outlines: dict[str, str] = {}
        self.blocks: list[Markup] = []
        self.failures: dict[str, str] = {}

    def add(self, outcome: Outcome) -> str | None:
        """The name of the sentence's audio block, or None where there is no room or no audio."""
        match = outcome.match
        if match is None:
            return None
        known = self.names.get((match.recording, outcome.sentence))
        return known or self._keep(outcome, match, self._made(match))

    def _made(self, match: SentenceMatch) -> tuple[bytes, str] | None:
        """The encoded audio and its outline; several threads may do this at once."""
        if match.recording in self.failures or self.left <= 0:
            return None
        waveform = self._waveform(match.recording, match.start, match.end)
        return None if waveform is None else (encode_clip(waveform), wave_outline(waveform))

    def _keep(self, outcome: Outcome, match: SentenceMatch, made: tuple[bytes, str] | None) -> str | None:
        if made is None or self.left <= 0 or (match.recording, outcome.sentence) in self.names:
            return None
        encoded, outline = made
        # Base64 makes three bytes four characters; the words stand beside each clip with their times.
        size = len(encoded) * 4 // 3 + 80 + WORD_BYTES * len(match.words)
        if size > self.left:
            # Full: to look for a shorter one would mean to encode all the rest.
            self.left = 0
            return None
        self.left -= size
        name = f"clip-{len(self.names) + 1}"
        self.names[match.recording, outcome.sentence] = name
        self.outlines[name] = outline
        self.blocks.append(clip_block(name, encoded))
        return name

    def _waveform(self, recording: str, start: float, end: float) -> NDArray[np.float32] | None:
        try:
            path = self.root if self.root.is_file() else inside(self.root, self.files[recording])
            return read_clip(path, start, end)
        except (AudioError, UserError, KeyError) as error:
            self.failures[recording] = str(error)
            return None

    def fill(self, data: MiningReport) -> None:
        """Spend what is left on the plots, one sentence of each in turn, so that none is silent."""
        queues = [[outcome for outcome in view.outcomes if outcome.match] for view in data.views]
        turns = (outcome for turn in zip_longest(*queues) for outcome in turn if outcome is not None)
        wanted = ((outcome, outcome.match) for outcome in turns if outcome.match is not None)
        fresh = ((o, match) for o, match in wanted if (match.recording, o.sentence) not in self.names)
        cpus = available_cpus()
        with ThreadPoolExecutor(cpus) as pool:
            # The page decides in order what it keeps, so it is the same with any number of threads.
            started = ((o, match, pool.submit(self._made, match)) for o, match in fresh)
            pending = deque(islice(started, 2 * cpus))
            while pending and self.left > 0:
                outcome, match, making = pending.popleft()
                self._keep(outcome, match, making.result())
                pending.extend(islice(started, 1))
