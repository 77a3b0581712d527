"""Exact times of a sentence from CTC emissions, with a star on both sides for the surrounding speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.refinement.viterbi import WILDCARD, best_path, frames_needed, state_sequence
from speechkit.errors import AlignmentError

WORST_FRAMES = 30  # 0.6 s at 20 ms per frame


@dataclass(frozen=True, eq=False)
class Refined:
    """Times of a token sequence, in frames of the emissions it was aligned with.

    Attributes:
        start_frame: first frame of the first token.
        end_frame: one past the last frame of the last token.
        token_frames: (L, 2) int64 first frame of every token and one past its last.
        token_scores: (L,) float32 mean log-probability per frame of every token.
        mean: mean log-probability per frame between start and end, blanks included.
        worst: the lowest mean over any 30 frames between start and end, or ``mean`` if it is shorter.
    """

    start_frame: int
    end_frame: int
    token_frames: NDArray[np.int64]
    token_scores: NDArray[np.float32]
    mean: float
    worst: float


def refine(
    log_probs: NDArray[np.floating],
    tokens: Sequence[int] | NDArray[np.integer],
    blank: int,
    *,
    star_penalty: float = 0.5,
    centre: NDArray[np.int64] | None = None,
    width: int | None = None,
    star_before: NDArray[np.int64] | None = None,
) -> Refined:
    """Align a sentence's tokens with a stretch of emissions that contains it and possibly its neighbours.

    A star before the first and after the last token matches any speech or silence, with ``star_penalty`` per frame that
    is not blank.

    Args:
        log_probs: (T, V) natural log-probabilities, float16 or float32.
        tokens: (L,) columns of ``log_probs``, without blanks. -1 is a wildcard for a character that the vocabulary
            lacks: it matches any symbol for one or more frames, with the star's penalty.
        blank: the blank's column.
        star_penalty: natural logarithm; larger values draw doubtful frames into the sentence.
        centre: (T,) expected state (0 star, 2i + 1 token i), when ``width`` limits the band.
        width: states in the band; all when absent.
        star_before: tokens preceded by a further star, for speech inside the sentence that is not in the text.

    Raises:
        AlignmentError: if there are no tokens, a token is not a column, or the tokens cannot fit in T frames.
    """
    wanted = np.asarray(tokens, np.int64)
    _check(log_probs, wanted, blank)
    emissions = np.ascontiguousarray(log_probs, np.float32)
    states = state_sequence(wanted, blank, emissions.shape[1], star_before)
    path = best_path(emissions, states, blank, star_penalty=star_penalty, centre=centre, width=width)
    return _read(path, emissions, states.symbols, len(wanted), blank, star_penalty)


def refine_all(
    log_probs: NDArray[np.floating],
    tokens: Sequence[Sequence[int] | NDArray[np.integer]],
    windows: Sequence[tuple[int, int]],
    blank: int,
    *,
    star_penalty: float = 0.5,
) -> list[Refined | AlignmentError]:
    """Refine thousands of sentences of one recording, each inside its window of frames.

    Args:
        log_probs: (T, V) of the whole recording; may be a memory map, windows are read one at a time.
        tokens: the tokens of each sentence.
        windows: (first frame, one past the last) of each sentence; cut to the recording.
        blank: the blank's column.
        star_penalty: see :func:`refine`.

    Returns:
        For each sentence its times in frames of the recording, or its error.
    """
    results: list[Refined | AlignmentError] = []
    for wanted, (first, last) in zip(tokens, windows, strict=True):
        low, high = max(int(first), 0), min(int(last), len(log_probs))
        try:
            part = refine(log_probs[low : max(high, low)], wanted, blank, star_penalty=star_penalty)
        except AlignmentError as error:
            results.append(error)
            continue
        results.append(
            Refined(
                part.start_frame + low,
                part.end_frame + low,
                part.token_frames + low,
                part.token_scores,
                part.mean,
                part.worst,
            )
        )
    return results


def word_frames(
    refined: Refined, word_of_token: Sequence[int] | NDArray[np.integer]
) -> list[tuple[int, int, int, float]]:
    """Times of words: (word, first frame, one past the last, mean log-probability per frame).

    ``word_of_token`` (L,) names each token's word, -1 for tokens between words, for example the separator.
    """
    owners = np.asarray(word_of_token, np.int64)
    words: list[tuple[int, int, int, float]] = []
    for word in np.unique(owners[owners >= 0]).tolist():
        mine = owners == word
        frames = refined.token_frames[mine]
        lengths = frames[:, 1] - frames[:, 0]
        score = float((refined.token_scores[mine] * lengths).sum() / lengths.sum())
        words.append((word, int(frames[0, 0]), int(frames[-1, 1]), score))
    return words


def _check(log_probs: NDArray[np.floating], tokens: NDArray[np.int64], blank: int) -> None:
    if log_probs.ndim != 2:
        raise AlignmentError(f"log_probs has shape {log_probs.shape}; give frames by symbols, (T, V)")
    frames, symbols = log_probs.shape
    if not 0 <= blank < symbols:
        raise AlignmentError(f"blank is column {blank}, but the emissions have {symbols} columns")
    if not len(tokens):
        raise AlignmentError("the sentence has no tokens; remove it")
    bad = tokens[(tokens >= symbols) | (tokens < WILDCARD) | (tokens == blank)]
    if len(bad):
        raise AlignmentError(
            f"token {int(bad[0])} is not a symbol of the emissions (0 to {symbols - 1}, the blank is {blank}); "
            "give -1 for characters that the vocabulary lacks"
        )
    needed = frames_needed(tokens)
    if needed > frames:
        raise AlignmentError(
            f"{len(tokens)} tokens need {needed} frames, repeats counted, but there are {frames}; "
            "shorten the text or give more audio"
        )


def _read(
    path: NDArray[np.int64],
    emissions: NDArray[np.float32],
    symbols: NDArray[np.int32],
    count: int,
    blank: int,
    star_penalty: float,
) -> Refined:
    """Collect the tokens' frames and scores from the state of every frame."""
    on_token = path % 2 == 1
    frames = np.flatnonzero(on_token)
    token = path[frames] // 2
    first = frames[np.searchsorted(token, np.arange(count), "left")]
    last = frames[np.searchsorted(token, np.arange(count), "right") - 1] + 1
    start, end = int(first[0]), int(last[-1])
    inside = np.arange(start, end)
    symbol = symbols[path[start:end]]
    wild = symbol >= emissions.shape[1]
    scores = emissions[inside, np.where(wild, blank, symbol)].astype(np.float64)
    if wild.any():
        best = np.delete(emissions[inside[wild]], blank, axis=1).max(1)
        scores[wild] = best - star_penalty
    total = np.concatenate([[0.0], np.cumsum(scores)])
    token_scores = (total[last - start] - total[first - start]) / (last - first)
    mean = float(total[-1] / len(scores))
    worst = mean
    if len(scores) > WORST_FRAMES:
        worst = float((total[WORST_FRAMES:] - total[:-WORST_FRAMES]).min() / WORST_FRAMES)
    return Refined(start, end, np.stack([first, last], 1), token_scores.astype(np.float32), mean, worst)
