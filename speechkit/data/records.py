"""The manifest record: one utterance per line, a superset of NeMo's fields."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec

from speechkit.io.paths import safe_id

Seconds = Annotated[float, msgspec.Meta(ge=-1e10, le=1e10)]
"""Three hundred years; larger floats cannot represent single samples."""
SampleRate = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
"""In hertz."""
Channel = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


def seconds(samples: int, sample_rate: int) -> float:
    """Convert samples to seconds; the single place for this conversion."""
    return samples / sample_rate


class AlignmentItem(msgspec.Struct, frozen=True, array_like=True):
    """One aligned symbol: ``[symbol, start, duration, score]``, in seconds from the start of the cut."""

    symbol: str
    start: float
    duration: float
    score: float | None = None


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Origin of a text: characters ``begin`` to ``end`` of the document's text, on a 1-based page."""

    document: str
    begin: int
    end: int
    page: int | None = None


class Utterance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A cut of a recording with its metadata.

    ``offset`` and ``duration`` are in seconds, as in NeMo; they are exact multiples of ``1 / sample_rate``, so that
    `offset_samples` and `num_samples` recover the integers exactly. Use `from_samples` to create one.
    ``audio_filepath`` is relative to the manifest. ``alignment`` maps a tier ("word", "char", "phone") to its items.
    """

    id: str
    audio_filepath: str
    duration: Seconds
    sample_rate: SampleRate
    offset: Seconds = 0.0
    channel: Channel = 0
    text: str | None = None
    speaker: str | None = None
    lang: str | None = None
    alignment: dict[str, list[AlignmentItem]] | None = None
    units: list[int] | None = None
    features: str | None = None
    score: float | None = None
    source: Source | None = None
    custom: dict[str, Any] | None = None

    @property
    def offset_samples(self) -> int:
        """First sample of the cut, at the file's native rate."""
        return round(self.offset * self.sample_rate)

    @property
    def num_samples(self) -> int:
        """Length of the cut in samples, at the file's native rate."""
        return round(self.duration * self.sample_rate)

    @classmethod
    def from_samples(cls, *, offset_samples: int = 0, num_samples: int, sample_rate: int, **fields: Any) -> Utterance:
        """Create an utterance from sample counts."""
        return cls(
            offset=seconds(offset_samples, sample_rate),
            duration=seconds(num_samples, sample_rate),
            sample_rate=sample_rate,
            **fields,
        )


def recording_of(utterance: Utterance) -> str:
    """Id of the recording: ``custom["recording"]`` if given, otherwise the audio path without suffix.

    Clips of a recording store its id in ``custom``, so that they can be grouped.
    """
    named = (utterance.custom or {}).get("recording")
    if isinstance(named, str) and named:
        return safe_id(named)
    path = PurePosixPath(utterance.audio_filepath)
    return safe_id(str(path.with_suffix("") if path.name else path))
