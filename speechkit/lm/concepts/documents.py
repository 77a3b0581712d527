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
    """A segment between pauses; the mean of its frames, (D,), lies beside it as the array ``vector``.

    Attributes:
        id: of the segment.
        recording: that it was cut from, by its own id.
        part: train, dev or test.
        speaker: whose it is; the recording where nobody is named.
        start: in the recording, seconds.
        seconds: of it.
        frames: that the mean is of.
        encoder: whose frames.
        features: where the vector lies; written by the runner.
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
    """What one speaker says in a row.

    Attributes:
        name: of a recording, or of those that follow one another.
        speaker: who.
        vectors: (T, D) means of frames, one a segment.
        seconds: (T,) of each.
    """

    name: str
    speaker: str
    vectors: Float
    seconds: Float


def documents(rows: Iterable[tuple[SegmentVector, Float]], pattern: str = "") -> list[Document]:
    """Segments with their vectors (D,) as documents, by name.

    Args:
        rows: of one part.
        pattern: a regular expression; recordings of one speaker whose ids begin with the same match are one document,
            in the order of their ids. Empty: each recording is one.

    Raises:
        ConfigError: if the pattern cannot be read.
        UserError: if it does not match an id, naming it.
    """
    try:
        matcher = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"document is {pattern!r}, no regular expression: {error}") from error
    grouped: dict[tuple[str, str], list[tuple[SegmentVector, Float]]] = {}
    for row, vector in rows:
        found = matcher.match(row.recording)
        if pattern and not (found and found.group()):
            raise UserError(f"{row.recording}: its id does not begin with {pattern!r}; change document")
        name = found.group() if pattern and found else row.recording
        grouped.setdefault((row.speaker, name), []).append((row, vector))
    made = []
    for (speaker, name), members in sorted(grouped.items()):
        ordered = sorted(members, key=lambda member: (member[0].recording, member[0].start))
        vectors = np.stack([vector for _, vector in ordered]).astype(np.float32)
        made.append(Document(name, speaker, vectors, np.array([row.seconds for row, _ in ordered], np.float32)))
    return made


class DocumentBatches:
    """Endless batches of documents; batch ``number`` is the same on every machine and after every resume.

    Each epoch takes all windows of at most ``context`` concepts in another order; where a document's first window
    begins is drawn, so that borders move.

    Args:
        concepts: (T, D) of each document; those of one concept teach nothing and are left out.
        context: most concepts of a row.
        rows: of a batch.
        seed: everything random follows from it.

    Raises:
        UserError: if no document has two concepts.
    """

    def __init__(self, concepts: Sequence[Float], context: int, rows: int, seed: int = 0):
        self._concepts = [each for each in concepts if len(each) > 1]
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
        for place, row in enumerate(rows):
            padded[place, : len(row)] = row
        return padded, lengths

    def batches(self, epoch: int) -> int:
        """Batches of an epoch."""
        return len(self._batches(epoch))

    def _batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            cuts = []
            for index, rows in enumerate(self._concepts):
                before = int(generator.integers(self._context)) if len(rows) > self._context else 0
                cuts += [
                    (index, begin)
                    for begin in range(-before, len(rows), self._context)
                    if min(begin + self._context, len(rows)) - max(0, begin) > 1
                ]
            ordered = [cuts[place] for place in generator.permutation(len(cuts))]
            self._epoch = epoch, [ordered[place : place + self._rows] for place in range(0, len(ordered), self._rows)]
        return self._epoch[1]
