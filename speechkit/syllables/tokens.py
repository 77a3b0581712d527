"""Segments as token sequences with silence tokens, and token and bit rates. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError, UserError
from speechkit.syllables.segments import HOP_SECONDS, Boundaries


class Token(msgspec.Struct, frozen=True, array_like=True):
    """A token index with its frames [start, end)."""

    token: int
    start: int
    end: int


def add_silence_tokens(
    labels: Sequence[int] | NDArray[np.integer], boundaries: Boundaries, frames: int, silence: int, longest_gap: int = 7
) -> list[Token]:
    """Tokens of an utterance, with a silence token for every gap of more than ``longest_gap`` frames.

    Gaps at the edges count too; shorter gaps are dropped.

    Args:
        labels: token indices (n,) of the segments, from 0.
        boundaries: frames (n, 2) of the segments.
        frames: number of frames of the utterance.
        silence: index of the silence token, which must differ from all labels.
        longest_gap: in frames; -1 makes every gap a token.

    Raises:
        UserError: if the numbers of labels and segments differ, or a label equals ``silence``.
        ConfigError: if ``longest_gap`` is below -1.

    Source: Sylber, appendix A.2.3; the threshold of 7 frames is as stated by ZeroSyl.
    """
    if longest_gap < -1:
        raise ConfigError(f"longest_gap is {longest_gap} frames; give -1 or more")
    if len(labels) != len(boundaries):
        raise UserError(f"{len(labels)} labels for {len(boundaries)} segments; label each segment once")
    tokens: list[Token] = []
    end_of_last = 0

    def fill(until: int) -> None:
        if until - end_of_last > max(longest_gap, 0):
            tokens.append(Token(silence, end_of_last, until))

    for label, (start, end) in zip(labels, np.asarray(boundaries, np.int64).reshape(-1, 2).tolist(), strict=True):
        if int(label) == silence or int(label) < 0:
            raise UserError(
                f"label {int(label)} of a segment is invalid; use labels from 0, except {silence} (silence)"
            )
        fill(start)
        tokens.append(Token(int(label), start, end))
        end_of_last = end
    fill(frames)
    return tokens


class TokenRates(msgspec.Struct, frozen=True):
    """Token and bit rates.

    Attributes:
        seconds: duration of the audio, silence included.
        tokens: number of tokens, silence included.
        silence_tokens: number of silence tokens.
        used: number of distinct tokens.
        per_second: tokens per second.
        per_second_of_speech: tokens other than silence per second of their segments.
        entropy: unigram entropy in bits per token.
        bits_per_second: ``per_second`` times ``entropy``.
        conditional_entropy: entropy given the previous token, in bits; underestimated on little data.
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
        """Coding rate in words per bit; ``words`` is the number of words correct after resynthesis."""
        bits = self.tokens * self.entropy
        return words / bits if bits else 0.0


class TokenRow(msgspec.Struct, frozen=True):
    """Tokens of a test utterance, ``[token, start, end]`` in frames of 20 ms."""

    id: str
    tokens: list[Token]


def token_bounds(tokens: Sequence[Token]) -> list[int]:
    """Token starts, with 0 for the first, and the end of the last: boundaries without gaps."""
    return [0, *(token.start for token in tokens[1:]), *(token.end for token in tokens[-1:])]


def token_runs(row: TokenRow) -> tuple[list[int], list[int]]:
    """Tokens and their durations in frames, without gaps: each lasts until the next starts, the first from 0.

    Raises:
        UserError: if tokens are not in order of time.
    """
    bounds = token_bounds(row.tokens)
    durations = [end - begin for begin, end in pairwise(bounds)]
    if any(duration < 1 for duration in durations):
        raise UserError(f"{row.id}: tokens are not in order of time; encode the recording again")
    return [token.token for token in row.tokens], durations


class TokenReport(msgspec.Struct, frozen=True):
    """Token rates of a system.

    Attributes:
        system: system of the segments.
        clusters: size of the codebook, and index of the silence token.
        rates: with silence tokens.
        rates_without_silence: without silence tokens.
        words_per_bit: coding rate if all words were correct after resynthesis, an upper bound.
    """

    system: str
    clusters: int
    rates: TokenRates
    rates_without_silence: TokenRates
    words_per_bit: float


def token_rates(utterances: Iterable[Sequence[Token]], seconds: float, silence: int) -> TokenRates:
    """Rates over utterances with a total duration of ``seconds``.

    Raises:
        UserError: if there are no tokens.
    """
    rows = [list(row) for row in utterances]
    tokens = np.array([token.token for row in rows for token in row], np.int64)
    if not len(tokens) or seconds <= 0:
        raise UserError(f"cannot compute rates of {len(tokens)} tokens in {seconds:g} s; give utterances with speech")
    spoken = [token for row in rows for token in row if token.token != silence]
    frames = sum(token.end - token.start for token in spoken)
    pairs = np.array(
        [(before.token, after.token) for row in rows for before, after in pairwise(row)], np.int64
    ).reshape(-1, 2)
    entropy = _entropy(tokens)
    conditional = _entropy(pairs) - _entropy(pairs[:, 0]) if len(pairs) else 0.0
    return TokenRates(
        seconds=seconds,
        tokens=len(tokens),
        silence_tokens=len(tokens) - len(spoken),
        used=len(np.unique(tokens)),
        per_second=len(tokens) / seconds,
        per_second_of_speech=len(spoken) / (frames * HOP_SECONDS) if frames else 0.0,
        entropy=entropy,
        bits_per_second=entropy * len(tokens) / seconds,
        conditional_entropy=conditional,
    )


def _entropy(values: NDArray[np.int64]) -> float:
    """Entropy of the rows' frequencies, in bits."""
    counts = np.unique(values, axis=0, return_counts=True)[1].astype(np.float64)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
