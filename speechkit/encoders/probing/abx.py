"""ABX discrimination of words: is X nearer to A, a token of the same word, than to B, a token of another one?

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
    """ABX error: share of wrong triples, ties counted half, averaged over pairs of words.

    ``words`` is the number of words of X, over which the interval is taken; ``pairs`` that of ordered pairs of words,
    which are weighted equally; ``triples`` that of all comparisons.
    """

    error: float
    interval: Interval
    words: int
    pairs: int
    triples: int


class AbxDifference(msgspec.Struct, frozen=True):
    """Difference between the ABX errors of two representations on the same triples, with an interval."""

    difference: float
    interval: Interval


def abx_pair_errors(
    distances: NDArray[np.floating[Any]], words: Sequence[Hashable], speakers: Sequence[Hashable], *, across: bool
) -> tuple[NDArray[np.float64], int]:
    """Error of each ordered pair of words: the mean over speakers of the mean over triples.

    Args:
        distances: (K, K) between all tokens; row X, column A or B.
        words: (K,) word of each token.
        speakers: (K,) speaker of each token.
        across: A and B of one speaker and X of another; else all three of one speaker, A and X distinct tokens.

    Returns:
        errors (W, W), row the word of A and X, column that of B, in order of first appearance, NaN where there is no
        triple; and the number of triples.
    """
    if not len(words) == len(speakers) == len(distances):
        raise UserError(
            f"there are {len(distances)} rows of distances, {len(words)} words and {len(speakers)} speakers; give one "
            "of each per token"
        )
    word, kinds = _integer_labels(words)
    speaker, people = _integer_labels(speakers)
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
                    # Number of A's tokens nearer than each B; ties count half.
                    ordered = np.sort(near)
                    below = np.searchsorted(ordered, far, "left")
                    upto = np.searchsorted(ordered, far, "right")
                    right += np.bincount(word[others], (below + upto) / (2.0 * len(near)), minlength=kinds)
                    used += 1
                    triples += len(near) * len(far)
                if used:
                    present = (counts > 0) & (np.arange(kinds) != a)
                    sums[a, present] += 1.0 - right[present] / (used * counts[present])
                    cells[a, present] += 1
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
    """Mean of `abx_pair_errors` over pairs, with an interval.

    Raises:
        UserError: if the tokens form no triple.
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
    """Error of ``second`` minus the mean error of those in ``first``; see `abx_pair_errors`.

    All are (K, K) distances between the same tokens; ``first`` may hold several seeds of one method. The interval is
    paired: each resample draws the same words of X for all.

    Raises:
        UserError: if the tokens form no triple, or ``first`` is empty.
    """
    if not first:
        raise UserError("there is nothing to compare the ABX errors with; give the distances of at least one system")
    errors = np.mean([abx_pair_errors(matrix, words, speakers, across=across)[0] for matrix in first], axis=0)
    others, _ = abx_pair_errors(second, words, speakers, across=across)
    sums, pairs = _by_word(others - errors, across)
    interval = bootstrap_ratio(sums, pairs, confidence=confidence, resamples=resamples, seed=seed)
    return AbxDifference(float(sums.sum() / pairs.sum()), interval)


def _by_word(errors: NDArray[np.float64], across: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of pairs for each word of X with a pair."""
    valid = np.isfinite(errors)
    used = valid.any(1)
    if not used.any():
        need = "a word of two speakers" if across else "a word twice of one speaker"
        raise UserError(f"the tokens form no ABX triple, which needs {need} and another word; give more recordings")
    return np.where(valid, errors, 0.0).sum(1)[used], valid.sum(1)[used]


def _integer_labels(labels: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(label, len(number)) for label in labels], np.int64), len(number)
