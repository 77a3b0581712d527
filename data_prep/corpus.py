"""What a corpus module is: what it may yield, and the one sentence that a clip is left out with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from speechkit.data.mixtures import Mixture

LeftOutReason = Literal[
    "audio_missing",  # the transcript names audio that is not there
    "audio_empty",  # the file holds no samples
    "audio_unreadable",  # truncated, damaged or not audio
    "length_differs",  # the audio is not as long as the corpus says, or a source as its mixture
    "rate_differs",  # a source has another sample rate than its mixture
    "transcript_missing",  # audio that no transcript names
    "transcript_empty",  # the transcript has no text
    "transcript_unreadable",  # not UTF-8, or longer than any sentence
    "transcripts_disagree",  # two transcripts of one clip say different things
    "bad_line",  # a line of a table that does not have the published form
    "duplicate_id",  # a second utterance with an id that was taken
    "outside_folder",  # a path that leaves the corpus folder
    "segment_outside_audio",  # times that the recording does not have
    "marked_ignore",  # the corpus says that the stretch is not to be used
    "no_words",  # the text holds nothing but markers such as <unk>
]


@dataclass(frozen=True)
class Clip:
    """An utterance as the corpus claims it; the driver checks the audio and gives it its length.

    ``start_seconds`` and ``end_seconds`` are None where the clip is the whole file. ``expected_samples`` is the length
    that the corpus states, where it does. ``text`` None means that the corpus has no transcript for any clip.
    ``mixture`` says what a mixture was made of, its paths absolute: each file is checked against the mixture's.
    """

    id: str
    audio: Path
    text: str | None
    speaker: str | None = None
    lang: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    expected_samples: int | None = None
    channel: int = 0
    custom: dict[str, Any] | None = None
    mixture: Mixture | None = None


class LeftOut(msgspec.Struct, frozen=True):
    """What the corpus holds and the manifest does not; ``detail`` names the file and, in a table, the line."""

    id: str
    reason: LeftOutReason
    detail: str


Item = Clip | LeftOut


@dataclass(frozen=True)
class Request:
    """What the user asked for, as a corpus module sees it.

    ``source`` is the folder of the corpus as downloaded, ``unpacked`` where archives may be unpacked to. ``notes``
    counts remarks that are no reason to leave a clip out.
    """

    source: Path
    unpacked: Path
    lang: str | None = None
    speaker: str | None = None
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Corpus:
    """A corpus: what it is called, where it comes from, and how it is read.

    ``splits`` names the splits that the folder holds, in the published order, and raises `UserError` when the folder
    does not have the corpus's layout. ``read`` yields the items of one split, sorted or in the order of a published
    table, never holding the audio and never more than one table in memory.
    """

    name: str
    title: str
    licence: str
    homepage: str
    citation: str
    splits: Callable[[Request], list[str]]
    read: Callable[[Request, str], Iterator[Item]]
