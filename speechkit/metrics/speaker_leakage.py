"""What a recogniser hears in a separated track: errors of its own speaker's words, and words of the others."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rapidfuzz.distance import LCSseq

from speechkit.metrics.error_rates import Counts, Normalizing, word_errors
from speechkit.text import get_normalizer


class TrackWords(msgspec.Struct, frozen=True):
    """The words of one track.

    Attributes:
        counts: its errors against what its own speaker said.
        leaked: words heard in it that are not its speaker's, in the place where they were heard, and are another's.
        others: words that the other speakers said: the most that could leak.
        heard: the normalised text of the track.
    """

    counts: Counts
    leaked: int
    others: int
    heard: str

    @property
    def leaked_share(self) -> float | None:
        """Share of the others' words that leaked; None where they said nothing."""
        return self.leaked / self.others if self.others else None


def track_words(own: str, others: Sequence[str], heard: str, normalizer: str | Normalizing = "simple") -> TrackWords:
    """Count errors and leaked words of a track in which ``heard`` was recognised.

    What is right for the track's own speaker is set aside first. Of the words that are left, inserted or substituted,
    those count as leaked that stand, in their order, in what one of the others said; each of these leaks once.
    A short frequent word may stand there by chance: the same count for the clean source says how many do.
    """
    normalize = get_normalizer(normalizer) if isinstance(normalizer, str) else normalizer
    result = word_errors([own], [heard], normalizer=normalize).utterances[0]
    wrong: list[str] = []
    for operation in result.operations:
        if operation.kind in ("insert", "substitute"):
            wrong += result.hypothesis[operation.hypothesis_begin : operation.hypothesis_end]
    leaked = total = 0
    for text in others:
        said = normalize(text).split()
        total += len(said)
        taken = {
            place
            for part in LCSseq.opcodes(said, wrong)
            if part.tag == "equal"
            for place in range(part.dest_start, part.dest_end)
        }
        leaked += len(taken)
        wrong = [word for place, word in enumerate(wrong) if place not in taken]
    return TrackWords(result.counts, leaked, total, " ".join(result.hypothesis))
