"""Documents that were not read in their paired recordings, and recordings that read none of their documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from speechkit.mining.records import SentenceMatch

LIKELY = 0.5
STRAY_SHARE = 0.01
"""Of a side's places, this share (and one in any case) is found likely in a text that has nothing to do with it."""


def unread(
    names: Collection[str], side: str, matches: Iterable[SentenceMatch], kept: Iterable[SentenceMatch]
) -> list[str]:
    """The documents or recordings among ``names`` without a kept sentence, and with hardly a likely one.

    Args:
        names: those that were paired.
        side: "document" or "recording", the field of a match that names it.
        matches: every place that was found, with its probability.
        kept: those that are kept.
    """
    right = {getattr(match, side) for match in kept}
    located: Counter[str] = Counter()
    likely: Counter[str] = Counter()
    for match in matches:
        located[getattr(match, side)] += 1
        likely[getattr(match, side)] += (match.probability or 0.0) >= LIKELY
    return sorted(name for name in names if name not in right and likely[name] <= max(1, STRAY_SHARE * located[name]))
