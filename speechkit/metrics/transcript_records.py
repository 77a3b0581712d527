"""Transcripts with the fields for breakdowns and players."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

Role = Literal["reference", "hypothesis"]


NO_GROUPS: Mapping[str, str] = MappingProxyType({})


class Audio(msgspec.Struct, frozen=True, gc=False):
    """Audio of an utterance: the path as given, and seconds from the start of that recording.

    ``channel`` counts from 0; None is the mean of all.
    """

    path: str
    offset: float = 0.0
    duration: float | None = None
    channel: int | None = None


class Transcript(msgspec.Struct, frozen=True, gc=False):
    """The text of one id. ``recording`` is the call or file it was cut from, ``groups`` its other short fields.

    ``seconds`` is the recognition time, if a hypothesis has one.
    """

    id: str
    text: str | None = None
    speaker: str | None = None
    recording: str | None = None
    audio: Audio | None = None
    groups: Mapping[str, str] = NO_GROUPS
    seconds: float | None = None


class TimedWord(msgspec.Struct, frozen=True):
    """A word of a ctm file, seconds from the start of the recording."""

    word: str
    start: float
    duration: float
