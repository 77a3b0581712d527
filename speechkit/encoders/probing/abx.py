"""ABX discrimination of words: is X, a word of A's kind, nearer to A than to B?

Source: Schatz et al. 2013, Evaluating speech features with the minimal-pair ABX task.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, bootstrap_ratio


class AbxScore(msgspec.Struct, frozen=True):
    """Share of triples that are wrong, half of it for ties.

    ``pairs`` are ordered pairs of words, each weighing the same; ``triples`` are all comparisons; the interval is over
    the word of X.
    """

    error: float
    interval: Interval
    words: int
    pairs: int
    triples: int


class AbxDifference(msgspec.Struct, frozen=True):
    """By how much the error of one representation lies above that of another on the same triples, with an interval."""

    difference: float
    interval: Interval


def abx_pair_errors(
    distances: NDArray[np.floating[Any]], words: Sequence[Hashable], speakers: Sequence[Hashable], *, across: bool
) -> tuple[NDArray[np.float64], int]:
    """Errors of each ordered pair of words, the mean over speakers of the means over triples.

    Args:
        distances: (K, K) of all tokens; row X, column A or B.
        words: (K,) what each token says.
        speakers: (K,) who says it.
        across: A and B of one speaker and X of another; else all three of one speaker, A and X two tokens.

    Returns:
        errors (W, W), row the word of A and X, column that of B, in order of first appearance, NaN where there is no
        triple; and the number of triples.
    """
    if not len(words) == len(speakers) == len(distances):
        raise UserError(
            f"{len(distances)} distances, {len(words)} words and {len(speakers)} speakers; give one of each a token"
        )
    word, kinds = _numbered(words)
    speaker, people = _numbered(speakers)
    sums = np.zeros((kinds, kinds))
    cells = np.zeros((kinds, kinds))
    triples = 0
    of_speaker = [np.flatnonzero(speaker == s) for s in range(people)]
    for s in range(people):
        mine = of_speaker[s]
        counts = np.bincount(word[mine], minlength=kinds)
        for a in np.unique(word[mine]).tolist():
            same = mine[word[mine] == a]
            others = mine[word[mine] != a]
            if not len(others):
                continue
            for t in range(people):
                if across == (t == s):
                    continue
                probes = of_speaker[t][word[of_speaker[t]] == a]
                right = np.zeros(kinds)
                used = 0
                for x in probes.tolist():
                    near = distances[x, same[same != x]]
                    if not len(near):
                        continue
                    far = distances[x, others]
                    # So many of A's tokens are nearer than each B; ties count half.
                    ordered = np.sort(near)
                    below = np.searchsorted(ordered, far, "left")
                    upto = np.searchsorted(ordered, far, "right")
                    right += np.bincount(word[others], (below + upto) / (2.0 * len(near)), minlength=kinds)
                    used += 1
                    triples += len(near) * len(far)
                if used:
                    there = (counts > 0) & (np.arange(kinds) != a)
                    sums[a, there] += 1.0 - right[there] / (used * counts[there])
                    cells[a, there] += 1
    return np.where(cells > 0, sums / np.maximum(cells, 1), np.nan), triples


def abx_score(
    distances: NDArray[np.floating[Any]],
    words: Sequence[Hashable],
    speakers: Sequence[Hashable],
    *,
    across: bool,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> AbxScore:
    """The mean of `abx_pair_errors` with an interval.

    Raises:
        UserError: if the tokens make no triple.
    """
    errors, triples = abx_pair_errors(distances, words, speakers, across=across)
    sums, pairs = _by_word(errors, across)
    interval = bootstrap_ratio(sums, pairs, confidence=confidence, resamples=resamples, seed=seed)
    return AbxScore(float(sums.sum() / pairs.sum()), interval, len(pairs), int(pairs.sum()), triples)


def abx_difference(
    first: Sequence[NDArray[np.floating[Any]]],
    second: NDArray[np.floating[Any]],
    words: Sequence[Hashable],
    speakers: Sequence[Hashable],
    *,
    across: bool,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> AbxDifference:
    """The error by ``second`` less the mean error by those of ``first``; see `abx_pair_errors`.

    All are (K, K) distances of the same tokens. Several of ``first`` are one method from several seeds. The interval is
    paired: the same words of X are drawn for all.

    Raises:
        UserError: if the tokens make no triple, or ``first`` is empty.
    """
    if not first:
        raise UserError("there is nothing to compare the ABX errors with; give the distances of one system at least")
    errors = np.mean([abx_pair_errors(each, words, speakers, across=across)[0] for each in first], axis=0)
    others, _ = abx_pair_errors(second, words, speakers, across=across)
    more, pairs = _by_word(others - errors, across)
    interval = bootstrap_ratio(more, pairs, confidence=confidence, resamples=resamples, seed=seed)
    return AbxDifference(float(more.sum() / pairs.sum()), interval)


def _by_word(errors: NDArray[np.float64], across: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the pairs of each word of X that has any."""
    there = np.isfinite(errors)
    used = there.any(1)
    if not used.any():
        need = "two speakers who share a word" if across else "a speaker who says a word twice"
        raise UserError(f"the tokens make no ABX triple: there must be {need} and another word; take more recordings")
    return np.where(there, errors, 0.0).sum(1)[used], there.sum(1)[used]


def _numbered(labels: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(label, len(number)) for label in labels], np.int64), len(number)
