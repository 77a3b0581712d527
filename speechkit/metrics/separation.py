"""Scores of speaker separation: SI-SDR, its improvement over the mixture, and the permutation of tracks.

Notation used for array shapes: R references, E estimates, S samples. Waveforms are floats of any scale, of one rate and
one length; computation is in float64. Values are in dB, higher is better, and are clipped to -100 to 100, the
resolution of 16-bit audio, since means of infinite values would be meaningless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, permutations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.errors import UserError

LIMIT_DB = 100.0
SILENT_DB = -80.0  # re full scale: level of a reference without speech, dither included
ZERO_RMS = 1e-10  # rounding error of a constant signal
GOOD_DB = 30.0  # cap for a lone speaker's track and for the silence of the other one
EXHAUSTIVE = 4
SWAP_WINDOW_SECONDS = 4.0
SWAP_MARGIN_DB = 1.0

Array = NDArray[np.float64]


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> Array:
    """Scale-invariant signal-to-distortion ratio in dB, of zero-mean signals.

    Shapes: reference (…, S) and estimate (…, S) broadcast against one another; the result is (…).

    The energy of the estimate's projection onto the reference over that of the rest; invariant to gain and offset. A
    perfect estimate has 100 dB, a silent estimate of a non-silent reference -100 dB. For a silent reference it is
    undefined and NaN; use `relative_level` instead.

    Raises:
        UserError: if the lengths differ.

    Source: Le Roux et al. 2019, SDR: half-baked or well done?
    """
    target, guess = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    if target.shape[-1:] != guess.shape[-1:]:
        raise UserError(
            f"a reference of shape {target.shape} and an estimate of {guess.shape} differ in length; give both the "
            "same number of samples"
        )
    target, guess = _zero_mean(target), _zero_mean(guess)
    product = np.mean(target * guess, axis=-1)
    result: Array = _ratios(product, _power(target), _power(guess))[()]
    return result


def si_sdr_matrix(references: ArrayLike, estimates: ArrayLike) -> Array:
    """SI-SDR of every estimate (E, S) as every reference (R, S): (R, E); rows of silent references are NaN."""
    return si_sdr(np.asarray(references)[:, None, :], np.asarray(estimates)[None, :, :])


def relative_level(waveform: ArrayLike, beside: ArrayLike) -> Array:
    """Energy of a waveform (…, S) over that of another in dB, between -100 and 100; -100 if both are silent."""
    level = _power(_zero_mean(np.asarray(waveform, np.float64)))
    other = _power(_zero_mean(np.asarray(beside, np.float64)))
    result: Array = np.where(level > 0, _decibels(level, other), -LIMIT_DB)[()]
    return result


def is_silent(waveform: ArrayLike) -> NDArray[np.bool_]:
    """Whether a waveform (…, S) in [-1, 1] has an RMS below -80 dB re full scale, without offset."""
    silent: NDArray[np.bool_] = (_power(_zero_mean(np.asarray(waveform, np.float64))) < 10 ** (SILENT_DB / 10))[()]
    return silent


def best_permutation(scores: ArrayLike) -> list[int | None]:
    """The estimate for each reference that maximises the sum of scores (R, E).

    Exhaustive up to 4 speakers, the Hungarian method above. With more references than estimates, the rest get None.
    Rows of NaN (silent references) are ignored and get the remaining estimates; of equal sums the first permutation in
    lexicographic order is taken.

    Source: Kuhn 1955; Yu et al. 2017 for its use in separation.
    """
    given = np.asarray(scores, np.float64)
    if given.ndim != 2:
        raise UserError(f"scores have the shape {given.shape}; give one row per reference and one column per estimate")
    count, offered = given.shape
    silent = np.isnan(given)
    table = np.where(silent, 0.0, given)
    size = max(count, offered)
    # No estimate is worse than any estimate, except for a silent reference.
    worst = table.min(initial=0.0) - size * np.ptp(np.append(table, 0.0)) - 1.0
    square = np.zeros((size, size))
    square[:count, :offered] = table
    square[:count, offered:] = np.where(silent.all(axis=1), 0.0, worst)[:, None]
    if size <= EXHAUSTIVE:
        rows = np.arange(size)
        # Rounded, so that ties, such as several silent references, are always resolved the same way.
        order = max(permutations(range(size)), key=lambda columns: round(float(square[rows, list(columns)].sum()), 5))
    else:
        from scipy.optimize import linear_sum_assignment

        order = tuple(linear_sum_assignment(square, maximize=True)[1])
    return [int(place) if place < offered else None for place in order[:count]]


class SourceScore(msgspec.Struct, frozen=True):
    """One reference and its assigned track.

    Attributes:
        track: index of the estimate; None if there are fewer estimates than references.
        mixture_db: SI-SDR of the mixture for this reference, i.e. without separation. None for a silent one.
        si_sdr_db: SI-SDR of the track; of the mixture if the speaker has no track.
        leaked_db: of a silent reference: energy of its track over that of the mixture, ideally -100.
    """

    track: int | None
    mixture_db: float | None = None
    si_sdr_db: float | None = None
    leaked_db: float | None = None

    @property
    def improvement_db(self) -> float | None:
        """SI-SDR of the track minus that of the mixture."""
        return None if self.si_sdr_db is None or self.mixture_db is None else self.si_sdr_db - self.mixture_db


class Pieces:
    """Scores of a mixture processed in blocks, in memory of one block.

    Only sums of products of the signals are kept: `scores` equals `score_separation` of the whole to about 1e-6 dB,
    below 80 dB.
    """

    def __init__(self, references: int, estimates: int) -> None:
        """With this many references, at least one, and estimates."""
        if references < 1:
            raise UserError("a mixture without a reference cannot be scored; give at least one")
        self.references, self.estimates, self.samples = references, estimates, 0
        count = 1 + references + estimates
        self.sums, self.products = np.zeros(count), np.zeros((count, count))

    def add(self, mixture: ArrayLike, references: ArrayLike, estimates: ArrayLike) -> None:
        """The next samples: mixture (S,), references (R, S), estimates (E, S).

        Raises:
            UserError: if the number of signals or their lengths differ.
        """
        parts = [np.asarray(a, np.float64) for a in (mixture, references, estimates)]
        length = parts[0].shape[-1]
        parts[2] = parts[2].reshape(-1, length) if not parts[2].size else parts[2]
        expected = ((length,), (self.references, length), (self.estimates, length))
        for part, shape, name in zip(parts, expected, ("mixture", "references", "tracks"), strict=True):
            if part.shape != shape:
                raise UserError(f"the {name} have the shape {part.shape} and not {shape}; give signals of one length")
        signals = np.concatenate([parts[0][None], *parts[1:]])
        self.samples += length
        self.sums += signals.sum(axis=1)
        self.products += signals @ signals.T

    def scores(self) -> list[SourceScore]:
        """The score of every reference, as in `score_separation`."""
        means = self.sums / max(1, self.samples)
        covariance = self.products / max(1, self.samples) - np.outer(means, means)
        # The mixture, references and tracks; the shorter of the two lists is filled up with silence.
        count = max(self.references, self.estimates)
        true, estimates = np.arange(1, 1 + count), np.arange(1 + count, 1 + 2 * count)
        rows = np.concatenate([[0], true[: self.references], estimates[: self.estimates]])
        square = np.zeros((1 + 2 * count, 1 + 2 * count))
        square[np.ix_(rows, rows)] = covariance
        power = np.where(np.diag(square) > ZERO_RMS**2, np.diag(square), 0.0)
        silent = power[true] < 10 ** (SILENT_DB / 10)
        scores = _ratios(square[np.ix_(true, estimates)], power[true][:, None], power[estimates])
        before = _ratios(square[true, 0], power[true], power[0])
        levels = np.where(power[estimates] > 0, _decibels(power[estimates], power[0]), -LIMIT_DB)
        wanted = scores
        if silent.any():
            # SI-SDR cannot tell a faint copy of a lone speaker from the full track, so the silence of a silent
            # reference's track counts equally, both up to a cap.
            wanted = np.minimum(np.where(silent[:, None], -levels, scores), GOOD_DB)
        scored = []
        for index, track in enumerate(best_permutation(wanted)):
            taken = track if track is not None and track < self.estimates else None
            if silent[index]:
                scored.append(SourceScore(taken, leaked_db=-LIMIT_DB if taken is None else float(levels[taken])))
            else:
                value = before[index] if taken is None else scores[index, taken]
                scored.append(SourceScore(taken, float(before[index]), float(value)))
        return scored


def score_separation(mixture: ArrayLike, references: ArrayLike, estimates: ArrayLike) -> list[SourceScore]:
    """The score of every reference under the best permutation, and of surplus tracks.

    Shapes: mixture (S,); references (R, S) and estimates (E, S), where E may differ from R.

    For a lone speaker the other references are silent or missing. Surplus tracks are scored as those of silent
    references, after the R others.

    Raises:
        UserError: if there is no reference, or lengths differ.
    """
    pieces = Pieces(len(np.asarray(references)), len(np.asarray(estimates)))
    pieces.add(mixture, references, estimates)
    return pieces.scores()


class Swaps(msgspec.Struct, frozen=True):
    """Speaker swaps between tracks in a long recording.

    Attributes:
        swaps: changes of the best permutation from one decided window to the next.
        windows: decided windows: at least two active speakers, and the best permutation leads by the margin.
        minutes: length of all windows with at least two active speakers.
        misplaced: share of decided windows whose permutation is not the most frequent one.
    """

    swaps: int
    windows: int
    minutes: float
    misplaced: float

    @property
    def per_minute(self) -> float | None:
        """Swaps per minute of windows with two speakers; None if there are none."""
        return self.swaps / self.minutes if self.minutes else None


def count_swaps(
    references: ArrayLike,
    estimates: ArrayLike,
    sample_rate: int,
    *,
    window_seconds: float = SWAP_WINDOW_SECONDS,
    margin_db: float = SWAP_MARGIN_DB,
) -> Swaps:
    """Count how often the assignment of tracks to speakers changes from window to window.

    Shapes: references (R, S) and estimates (E, S). Windows do not overlap; a remainder shorter than half a window is
    ignored. A window counts if at least two references are active; it is decided if the mean SI-SDR of the best
    permutation is at least ``margin_db`` above that of any other.
    """
    true, guess = np.asarray(references, np.float64), np.asarray(estimates, np.float64)
    size = swap_window(sample_rate, window_seconds)
    windows = [
        window_order(true[:, begin : begin + size], guess[:, begin : begin + size], margin_db)
        for begin in range(0, true.shape[1] - size // 2, size)
    ]
    return swaps_of(windows, size / sample_rate)


def swap_window(sample_rate: int, window_seconds: float = SWAP_WINDOW_SECONDS) -> int:
    """Samples of a window."""
    return max(1, round(window_seconds * sample_rate))


def window_order(
    references: ArrayLike, estimates: ArrayLike, margin_db: float = SWAP_MARGIN_DB
) -> dict[int, int] | None:
    """Track of each active reference in a window; empty if undecided, None if fewer than two are active.

    Shapes: references (R, S), estimates (E, S).
    """
    true = np.asarray(references, np.float64)
    active = np.flatnonzero(~is_silent(true)).tolist()
    if len(active) < 2:
        return None
    return dict(zip(active, _decided(si_sdr_matrix(true[active], estimates), margin_db), strict=False))


def swaps_of(windows: Sequence[dict[int, int] | None], window_seconds: float) -> Swaps:
    """Swaps in a sequence of window orders from `window_order`."""
    overlapped = [window for window in windows if window is not None]
    orders = [window for window in overlapped if window]
    changes = sum(any(one.get(s, track) != track for s, track in two.items()) for one, two in pairwise(orders))
    speakers = {speaker for order in orders for speaker in order}
    usual = {s: Counter(order[s] for order in orders if s in order).most_common(1)[0][0] for s in speakers}
    wrong = sum(any(usual[s] != track for s, track in order.items()) for order in orders)
    minutes = len(overlapped) * window_seconds / 60
    return Swaps(changes, len(orders), minutes, wrong / len(orders) if orders else 0.0)


def _decided(scores: Array, margin: float) -> list[int]:
    """The best permutation, or an empty list if another is within ``margin`` in mean score."""
    best = [track for track in best_permutation(scores) if track is not None]
    rows = np.arange(len(best))
    if len(best) < len(scores) or scores.shape[1] < 2:
        return []
    total = scores[rows, best].sum()
    for row, track in enumerate(best):  # any other permutation changes the track of at least one reference
        forbidden = scores.copy()
        forbidden[row, track] = -1e6
        other = [track for track in best_permutation(forbidden) if track is not None]
        if total - forbidden[rows, other].sum() < margin * len(best):
            return []
    return best


def _zero_mean(waveform: Array) -> Array:
    result: Array = waveform - waveform.mean(axis=-1, keepdims=True)
    return result


def _power(waveform: Array) -> Array:
    """Mean square; 0 below rounding error."""
    power: Array = np.mean(np.square(waveform), axis=-1)
    return np.where(power > ZERO_RMS**2, power, 0.0)


def _ratios(product: Array, power: Array, estimate_power: Array) -> Array:
    """SI-SDR of mean products and mean squares of zero-mean signals, all of one shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.clip(product**2 / (power * estimate_power), 0.0, 1.0)
    value = np.where(estimate_power > 0, _decibels(explained, 1 - explained), -LIMIT_DB)
    return np.where(power > 0, value, np.nan)


def _decibels(above: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Array = np.clip(10 * (np.log10(above) - np.log10(below)), -LIMIT_DB, LIMIT_DB)
    return value
