"""Segments of speech as vectors, in the order in which they were said. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float


class SegmentVector(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A segment between pauses; its mean frame (D,) is stored as the array ``vector``.

    Attributes:
        id: of the segment.
        recording: id of its recording.
        part: train, dev or test.
        speaker: its speaker, or the recording's id where unknown.
        start: in the recording, seconds.
        seconds: duration.
        frames: number averaged.
        encoder: encoder of the frames.
        features: location of the vector; written by the runner.
    """

    id: str
    recording: str
    part: str
    speaker: str
    start: float
    seconds: float
    frames: int
    encoder: EncoderSpec
    features: str | None = None


@dataclass(frozen=True)
class Document:
    """Consecutive segments of one speaker.

    Attributes:
        name: of a recording, or the common beginning of the ids of several.
        speaker: the speaker.
        vectors: (T, D) mean frame of each segment.
        seconds: (T,) duration of each segment.
    """

    name: str
    speaker: str
    vectors: Float
    seconds: Float


def documents(rows: Iterable[tuple[SegmentVector, Float]], pattern: str = "") -> list[Document]:
    """Segments with their vectors (D,) as documents, by name.

    Args:
        rows: segments of one part, with their vectors.
        pattern: a regular expression; recordings of one speaker whose ids begin with the same match are one document,
            in the order of their ids. Empty: each recording is one.

    Raises:
        ConfigError: if the pattern is not a valid regular expression.
        UserError: if it does not match the beginning of an id.
    """
    try:
        matcher = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"document: {pattern!r} is not a valid regular expression ({error}); correct it") from error
    grouped: dict[tuple[str, str], list[tuple[SegmentVector, Float]]] = {}
    for row, vector in rows:
        match = matcher.match(row.recording)
        if pattern and not (match and match.group()):
            raise UserError(f"{row.recording}: its id does not begin with {pattern!r}; change document")
        name = match.group() if pattern and match else row.recording
        grouped.setdefault((row.speaker, name), []).append((row, vector))
    result = []
    for (speaker, name), members in sorted(grouped.items()):
        ordered = sorted(members, key=lambda member: (member[0].recording, member[0].start))
        vectors = np.stack([vector for _, vector in ordered]).astype(np.float32)
        result.append(Document(name, speaker, vectors, np.array([row.seconds for row, _ in ordered], np.float32)))
    return result


class DocumentBatches:
    """Endless batches of documents; batch ``number`` is the same on every machine and after every resume.

    Each epoch shuffles all windows of at most ``context`` concepts. The start of a document's first window is random,
    so that window boundaries differ between epochs.

    Args:
        concepts: (T, D) of each document; documents of one concept are left out.
        context: maximum number of concepts in a row.
        rows: rows per batch.
        seed: of all randomness.

    Raises:
        UserError: if no document has two concepts.
    """

    def __init__(self, concepts: Sequence[Float], context: int, rows: int, seed: int = 0):
        self._concepts = [document for document in concepts if len(document) > 1]
        if not self._concepts:
            raise UserError(
                "no training document has two segments; give longer recordings, cut at shorter pauses "
                "(segments.min_silence_seconds), or join recordings (document)"
            )
        self._context, self._rows, self._seed = context, rows, seed
        self._firsts = [0]
        self._epoch: tuple[int, list[list[tuple[int, int]]]] | None = None

    def __getitem__(self, number: int) -> tuple[Float, np.ndarray]:
        """Padded concepts (B, T, D) of batch ``number``, and lengths (B,)."""
        while self._firsts[-1] <= number:
            self._firsts.append(self._firsts[-1] + len(self._batches(len(self._firsts) - 1)))
        epoch = next(e for e in range(len(self._firsts) - 2, -1, -1) if self._firsts[e] <= number)
        chosen = self._batches(epoch)[number - self._firsts[epoch]]
        rows = [self._concepts[index][max(0, begin) : begin + self._context] for index, begin in chosen]
        lengths = np.array([len(row) for row in rows], np.int64)
        padded = np.zeros((len(rows), int(lengths.max()), rows[0].shape[1]), np.float32)
        for index, row in enumerate(rows):
            padded[index, : len(row)] = row
        return padded, lengths

    def batches(self, epoch: int) -> int:
        """Number of batches in an epoch."""
        return len(self._batches(epoch))

    def _batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            windows = []
            for index, rows in enumerate(self._concepts):
                before = int(generator.integers(self._context)) if len(rows) > self._context else 0
                windows += [
                    (index, begin)
                    for begin in range(-before, len(rows), self._context)
                    if min(begin + self._context, len(rows)) - max(0, begin) > 1
                ]
            ordered = [windows[index] for index in generator.permutation(len(windows))]
            self._epoch = epoch, [ordered[first : first + self._rows] for first in range(0, len(ordered), self._rows)]
        return self._epoch[1]
