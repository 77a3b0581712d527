"""The first and last words of a sentence that CTC alignment placed, and speech inside it that is not in its text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.hypothesis import Emissions
from speechkit.asr.refinement import Refined, refine, refine_all
from speechkit.errors import AlignmentError
from speechkit.mining.config import RefinementConfig

UNHEARD_SCORE = -6.0
"""Mean log-probability per frame below which a word was not spoken: read words stay above -5, others are about -12."""
HEARD_SCORE = -3.0
"""The same, above which a word counts as found in the second search."""
PAUSE_SECONDS, SECONDS_A_TOKEN = 0.3, 0.15
"""How far from the rest of its sentence a word is looked for once more."""


def settled_edges(refined: Refined, owners: NDArray[np.int64], hop_seconds: float) -> tuple[int, int]:
    """Tokens ``first`` to ``last`` (half-open) without those at the edges that a pause tears off.

    Dirt that the scan put before or behind a sentence ("be.i") is a token too, and its only place is in the speech
    beyond the pause. Up to four tokens are given up where a pause stands inside a written word, or where those beyond
    a longer pause are one short word with a low score.
    """
    count = len(owners)
    first, last = 0, count
    frames, scores = refined.token_frames, refined.token_scores
    for edge in range(1, min(5, count // 2)):
        pause = (frames[edge, 0] - frames[edge - 1, 1]) * hop_seconds
        if _torn_off(pause, owners[edge - 1], owners[edge], float(scores[:edge].mean())):
            first = edge
        pause = (frames[count - edge, 0] - frames[count - edge - 1, 1]) * hop_seconds
        if _torn_off(pause, owners[count - edge - 1], owners[count - edge], float(scores[count - edge :].mean())):
            last = count - edge
    while first < last - 1 and owners[first] < 0:
        first += 1
    while last > first + 1 and owners[last - 1] < 0:
        last -= 1
    return first, last


def _torn_off(pause_seconds: float, before: int, after: int, score: float) -> bool:
    inside_word = before == after and before >= 0
    return pause_seconds > 0.3 if inside_word else pause_seconds > 0.4 and score < -1.0


def cut_tokens(refined: Refined, first: int, last: int) -> Refined:
    """The same alignment without the tokens outside ``first`` to ``last``; the scores stay those of the whole."""
    frames = refined.token_frames[first:last]
    if not len(frames):
        return refined
    return dataclasses.replace(
        refined,
        start_frame=int(frames[0, 0]),
        end_frame=int(frames[-1, 1]),
        token_frames=frames,
        token_scores=refined.token_scores[first:last],
    )


def searched_again(
    first_result: Refined,
    first: int,
    last: int,
    owners: NDArray[np.int64],
    tokens: NDArray[np.int64],
    emissions: Emissions,
    config: RefinementConfig,
) -> tuple[Refined, int, int]:
    """Search again for edge words separated by a pause, next to the rest; keeps the first result if that fails."""
    hop = emissions.hop_seconds
    low = int(first_result.token_frames[0, 0] - config.window_seconds / hop)
    high = int(first_result.token_frames[-1, 1] + config.window_seconds / hop)
    if first:
        low = int(first_result.token_frames[first, 0] - (PAUSE_SECONDS + SECONDS_A_TOKEN * first) / hop)
    if last < len(owners):
        high = int(
            first_result.token_frames[last - 1, 1] + (PAUSE_SECONDS + SECONDS_A_TOKEN * (len(owners) - last)) / hop
        )
    again = refine_all(emissions.log_probs, [tokens], [(low, high)], emissions.blank, star_penalty=config.star_penalty)[
        0
    ]
    if isinstance(again, AlignmentError):
        return first_result, first, last
    edges = settled_edges(again, owners, hop)
    outer = np.concatenate([again.token_scores[:first], again.token_scores[last:]])
    if edges == (0, len(owners)) and outer.mean() > HEARD_SCORE:
        return again, 0, len(owners)
    return first_result, first, last


def with_gaps(
    refined: Refined,
    tokens: NDArray[np.int64],
    owners: NDArray[np.int64],
    emissions: Emissions,
    config: RefinementConfig,
) -> Refined:
    """The same stretch with room before every word for speech that is not in the text, so that no word takes it."""
    begins = np.flatnonzero((owners[1:] != owners[:-1]) & (owners[1:] >= 0)) + 1
    part = emissions.log_probs[refined.start_frame : refined.end_frame]
    again = refine(part, tokens, emissions.blank, star_penalty=config.star_penalty, star_before=begins)
    return dataclasses.replace(
        refined,
        start_frame=again.start_frame + refined.start_frame,
        end_frame=again.end_frame + refined.start_frame,
        token_frames=again.token_frames + refined.start_frame,
        token_scores=again.token_scores,
    )


def lost_words(owners: NDArray[np.int64], first: int, last: int, written: Sequence[str]) -> dict[str, int]:
    """Written words at both edges that have no time left, as fields of `SentenceMatch`."""
    timed = owners[first:last][owners[first:last] >= 0]
    if not len(timed):
        return {}
    before = {int(n) for n in owners[:first] if 0 <= n < timed.min()}
    after = {int(n) for n in owners[last:] if timed.max() < n < len(written)}
    if not before and not after:
        return {}
    longest = max(sum(map(str.isalnum, written[n])) for n in before | after)
    return {
        "lost_before": int(timed.min()) if before else 0,
        "lost_after": len(written) - 1 - int(timed.max()) if after else 0,
        "lost_characters": longest,
    }
