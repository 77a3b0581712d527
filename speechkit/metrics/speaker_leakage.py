"""Recognition of separated tracks: errors on the speaker's words, and words leaked from others."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rapidfuzz.distance import LCSseq

from speechkit.metrics.error_rates import Counts, Normalizing, word_errors
from speechkit.text import get_normalizer


class TrackWords(msgspec.Struct, frozen=True):
    """The words of one track.

    Attributes:
        counts: errors against its speaker's text.
        leaked: recognised words that are not its speaker's but another's.
        others: words of the other speakers, an upper bound of leaks.
        heard: the normalised text of the track.
    """

    counts: Counts
    leaked: int
    others: int
    heard: str

    @property
    def leaked_share(self) -> float | None:
        """Share of the others' words that leaked; None if they have none."""
        return self.leaked / self.others if self.others else None


def track_words(
    own: str, others: Sequence[str], recognised: str, normalizer: str | Normalizing = "simple"
) -> TrackWords:
    """Count errors and leaked words of a track with the recognised text ``recognised``.

    Words correct for the track's own speaker are removed first. Of the inserted or substituted words, those that
    occur in order in the text of another speaker count as leaked, each once. Short frequent words may match by chance:
    compare with the same count for the clean source.
    """
    normalize = get_normalizer(normalizer) if isinstance(normalizer, str) else normalizer
    result = word_errors([own], [recognised], normalizer=normalize).utterances[0]
    wrong: list[str] = []
    for operation in result.operations:
        if operation.kind in ("insert", "substitute"):
            wrong += result.hypothesis[operation.hypothesis_begin : operation.hypothesis_end]
    leaked = total = 0
    for text in others:
        words = normalize(text).split()
        total += len(words)
        taken = {
            index
            for part in LCSseq.opcodes(words, wrong)
            if part.tag == "equal"
            for index in range(part.dest_start, part.dest_end)
        }
        leaked += len(taken)
        wrong = [word for index, word in enumerate(wrong) if index not in taken]
    return TrackWords(result.counts, leaked, total, " ".join(result.hypothesis))
