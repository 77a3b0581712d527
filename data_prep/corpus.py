"""Interface of a corpus module: the items it yields, and the reasons for leaving a clip out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from speechkit.data.mixtures import Mixture

LeftOutReason = Literal[
    "audio_missing",  # the transcript refers to audio that does not exist
    "audio_empty",  # the file has no samples
    "audio_unreadable",  # truncated, corrupt or not audio
    "length_differs",  # the audio length differs from the corpus's, or a source's from its mixture's
    "rate_differs",  # a source has another sample rate than its mixture
    "transcript_missing",  # audio without transcript
    "transcript_empty",  # the transcript is empty
    "transcript_unreadable",  # not UTF-8, or longer than any sentence
    "transcripts_disagree",  # two transcripts of one clip differ
    "bad_line",  # a table line that is not in the published format
    "duplicate_id",  # a second utterance with the same id
    "outside_folder",  # a path outside the corpus folder
    "segment_outside_audio",  # times outside the recording
    "marked_ignore",  # the corpus marks the segment as not to be used
    "no_words",  # the text has only markers such as <unk>
]


@dataclass(frozen=True)
class Clip:
    """An utterance as described by the corpus; the driver checks the audio and determines its length.

    ``start_seconds`` and ``end_seconds`` are None if the clip is the whole file. ``expected_samples`` is the length
    stated by the corpus, if any. ``text`` None means that the corpus has no transcripts at all. ``mixture`` describes
    the components of a mixture, with absolute paths: each file is checked against the mixture's.
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
    """An item of the corpus that is not in the manifest; ``detail`` names the file and, in a table, the line."""

    id: str
    reason: LeftOutReason
    detail: str


Item = Clip | LeftOut


@dataclass(frozen=True)
class Request:
    """The user's request, as passed to a corpus module.

    ``source`` is the corpus folder as downloaded, ``unpacked`` the folder to unpack archives to. ``notes`` counts
    remarks that do not exclude a clip.
    """

    source: Path
    unpacked: Path
    lang: str | None = None
    speaker: str | None = None
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Corpus:
    """A corpus: its name, origin, and reader functions.

    ``splits`` lists the splits present in the folder, in the published order, and raises `UserError` if the folder
    does not have the corpus's layout. ``read`` yields the items of one split, sorted or in the order of a published
    table, with at most one table and no audio in memory.
    """

    name: str
    title: str
    licence: str
    homepage: str
    citation: str
    splits: Callable[[Request], list[str]]
    read: Callable[[Request, str], Iterator[Item]]
