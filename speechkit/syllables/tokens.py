"""Segments as tokens, with silence tokens, and the token and bit rate of speech.

What a segment's token is, any codebook may say; here are whole numbers. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError, UserError
from speechkit.syllables.segments import HOP_SECONDS, Boundaries


class Token(msgspec.Struct, frozen=True, array_like=True):
    """A token with its frames [start, end)."""

    token: int
    start: int
    end: int


def with_silence(
    labels: Sequence[int] | NDArray[np.integer], boundaries: Boundaries, frames: int, silence: int, longest_gap: int = 7
) -> list[Token]:
    """The tokens of an utterance in order.

    A stretch of more than ``longest_gap`` frames in no segment, at the edges too, is one token ``silence``, however
    long; a shorter one belongs to nothing and is lost.

    Args:
        labels: (n,) of the segments, from 0 on.
        boundaries: (n, 2) frames of the segments.
        frames: of the utterance.
        silence: the number of silence, which no label has.
        longest_gap: frames; -1 makes every gap a token.

    Raises:
        UserError: if the numbers of labels and segments differ, or a label is that of silence.
        ConfigError: if ``longest_gap`` is below -1.

    Source of the rule: Sylber, appendix A.2.3, as ZeroSyl states it (gaps of more than 7 frames).
    """
    if longest_gap < -1:
        raise ConfigError(f"longest_gap is {longest_gap} frames; give -1 or more")
    if len(labels) != len(boundaries):
        raise UserError(f"{len(labels)} labels for {len(boundaries)} segments; label each segment once")
    tokens: list[Token] = []
    place = 0

    def fill(until: int) -> None:
        if until - place > max(longest_gap, 0):
            tokens.append(Token(silence, place, until))

    for label, (start, end) in zip(labels, np.asarray(boundaries, np.int64).reshape(-1, 2).tolist(), strict=True):
        if int(label) == silence or int(label) < 0:
            raise UserError(f"a segment has the token {int(label)}; {silence} is silence, and labels begin at 0")
        fill(start)
        tokens.append(Token(int(label), start, end))
        place = end
    fill(frames)
    return tokens


class TokenRates(msgspec.Struct, frozen=True):
    """Token and bit rates.

    Attributes:
        seconds: of audio, silence included.
        tokens: with silence tokens.
        silence_tokens: of these.
        used: different tokens.
        per_second: tokens a second.
        per_second_of_speech: tokens other than silence by the seconds of the segments.
        entropy: bits a token, from the shares of the tokens.
        bits_per_second: ``per_second`` times ``entropy``.
        conditional_entropy: bits a token when the one before it is known; too low where pairs are seen once.
    """

    seconds: float
    tokens: int
    silence_tokens: int
    used: int
    per_second: float
    per_second_of_speech: float
    entropy: float
    bits_per_second: float
    conditional_entropy: float

    def coding_rate(self, words: float) -> float:
        """Words kept a bit: ``words`` is how many of the utterances' words survive resynthesis, or all for a bound."""
        bits = self.tokens * self.entropy
        return words / bits if bits else 0.0


class TokenRow(msgspec.Struct, frozen=True):
    """The tokens of a test utterance: ``[token, start, end]``, in frames of 20 ms."""

    id: str
    tokens: list[Token]


def token_bounds(tokens: Sequence[Token]) -> list[int]:
    """Frames at which tokens begin, the first one at 0, and the end of the last: none of them leaves a gap."""
    return [0, *(token.start for token in tokens[1:]), *(token.end for token in tokens[-1:])]


def token_runs(row: TokenRow) -> tuple[list[int], list[int]]:
    """Tokens and their frames from the first frame on: each lasts until the next one begins, the first from 0.

    Raises:
        UserError: if one does not begin behind the one before it.
    """
    bounds = token_bounds(row.tokens)
    durations = [end - begin for begin, end in pairwise(bounds)]
    if any(duration < 1 for duration in durations):
        raise UserError(f"{row.id}: tokens do not follow one another; make them again")
    return [token.token for token in row.tokens], durations


class TokenReport(msgspec.Struct, frozen=True):
    """Token rates of a system.

    Attributes:
        system: whose segments they are.
        clusters: of the codebook; ``clusters`` itself is the number of the silence token.
        rates: with silence tokens.
        rates_without_silence: the same without them.
        words_per_bit: all words by all bits: the coding rate if resynthesis lost no word, a bound from above.
    """

    system: str
    clusters: int
    rates: TokenRates
    rates_without_silence: TokenRates
    words_per_bit: float


def token_rates(utterances: Iterable[Sequence[Token]], seconds: float, silence: int) -> TokenRates:
    """Rates over some utterances of ``seconds`` together.

    Raises:
        UserError: if there is no token.
    """
    rows = [list(row) for row in utterances]
    every = np.array([token.token for row in rows for token in row], np.int64)
    if not len(every) or seconds <= 0:
        raise UserError(f"{len(every)} tokens in {seconds:g} s have no rate; give utterances with speech")
    spoken = [token for row in rows for token in row if token.token != silence]
    frames = sum(token.end - token.start for token in spoken)
    pairs = np.array(
        [(before.token, after.token) for row in rows for before, after in pairwise(row)], np.int64
    ).reshape(-1, 2)
    entropy = _entropy(every)
    conditional = _entropy(pairs) - _entropy(pairs[:, 0]) if len(pairs) else 0.0
    return TokenRates(
        seconds=seconds,
        tokens=len(every),
        silence_tokens=len(every) - len(spoken),
        used=len(np.unique(every)),
        per_second=len(every) / seconds,
        per_second_of_speech=len(spoken) / (frames * HOP_SECONDS) if frames else 0.0,
        entropy=entropy,
        bits_per_second=entropy * len(every) / seconds,
        conditional_entropy=conditional,
    )


def _entropy(values: NDArray[np.int64]) -> float:
    """Bits of the shares of the rows."""
    counts = np.unique(values, axis=0, return_counts=True)[1].astype(np.float64)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
