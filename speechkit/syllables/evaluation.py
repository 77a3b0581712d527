"""Syllable boundary and token scores under named protocols, which differ by several points on the same segments.

- ``sdhubert`` (SD-HuBERT, Sylber): reference boundaries are all starts and ends, predicted boundaries only starts,
  tolerance 50 ms; a constant shift of the reference, from -50 to +45 ms in steps of 5, may be tuned for the best
  R-value on other recordings (`tune_shift`).
- ``zerosyl`` (ZeroSyl): each region between reference pauses separately; starts and ends on both sides, except those
  within 50 ms of a pause; tokens of a region match if both edges do.
- ``plain``: starts and ends on both sides, pauses included, without a shift.

Sources: Cho et al. 2024, SD-HuBERT; Cho et al. 2024, Sylber; ZeroSyl, 2026. R-value: Räsänen et al. 2009, An improved
speech segmentation quality measure: the R-value.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.errors import ConfigError, UserError
from speechkit.metrics.bootstrap import Interval, percentile_interval, ratio, resampled_sums, sum_by_group
from speechkit.syllables.matching import Times, boundary_hits, in_microseconds, token_hits

Protocol = Literal["sdhubert", "zerosyl", "plain"]
PROTOCOLS: tuple[Protocol, ...] = ("sdhubert", "zerosyl", "plain")
TOLERANCE_SECONDS = 0.05
SHIFTS_SECONDS = tuple(step * 0.005 for step in range(-10, 10))
METRICS = ("precision", "recall", "f1", "r_value")
COUNTS = ("hits", "predicted", "reference")


class Score(msgspec.Struct, frozen=True):
    """A value with its optional confidence interval."""

    value: float
    interval: Interval | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """Boundary and token scores of a protocol.

    Attributes:
        protocol: name of the protocol.
        shift_seconds: shift of the reference.
        tolerance_seconds: maximum distance of matched boundaries.
        boundaries: precision, recall, f1 and r_value.
        tokens: precision, recall and f1 of tokens with both edges matched.
        counts: hits, predicted and reference boundaries, and those of tokens as ``token_hits`` and so on.
    """

    protocol: str
    shift_seconds: float
    tolerance_seconds: float
    boundaries: dict[str, Score]
    tokens: dict[str, Score]
    counts: dict[str, int]


def segment_times(segments: ArrayLike, where: str = "segments") -> Times:
    """Segments (n, 2) in seconds, converted to microseconds and validated.

    Raises:
        UserError: if they run backwards, overlap by more than a millisecond or are not finite, naming ``where``.
    """
    times = in_microseconds(segments).reshape(-1, 2)
    wrong = times[:, 1] < times[:, 0]
    wrong[1:] |= times[1:, 0] < times[:-1, 1] - 1000
    if wrong.any():
        start, end = times[np.argmax(wrong)] / 1e6
        raise UserError(
            f"{where}: {start:.3f} to {end:.3f} s runs backwards or overlaps the previous segment; sort them"
        )
    times[1:, 0] = np.maximum(times[1:, 0], times[:-1, 1])
    kept: Times = times[times[:, 0] < times[:, 1]]
    return kept


def count_item(
    reference: ArrayLike,
    predicted: ArrayLike,
    protocol: Protocol,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    shift_seconds: float = 0.0,
    where: str = "segments",
) -> NDArray[np.int64]:
    """Counts (6,) of one recording: boundary hits, predicted, reference; token hits, predicted, reference.

    Args:
        reference: segments (n, 2) in seconds; gaps are pauses.
        predicted: segments (m, 2) in seconds.
        protocol: name of the protocol.
        tolerance_seconds: maximum distance of matched boundaries.
        shift_seconds: added to the reference.
        where: names the recording in errors.

    Raises:
        UserError: if segments run backwards or overlap.
        ConfigError: if the protocol is unknown, or the tolerance is negative.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol is {protocol!r}; choose {', '.join(PROTOCOLS)}")
    if not 0 <= tolerance_seconds < np.inf:
        raise ConfigError(f"tolerance is {tolerance_seconds} s; give a number of at least 0")
    tolerance = int(in_microseconds(tolerance_seconds))
    reference_times = segment_times(reference, f"{where}, reference") + int(in_microseconds(shift_seconds))
    predicted_times = segment_times(predicted, f"{where}, hypothesis")
    if protocol == "zerosyl":
        return _count_regions(reference_times, predicted_times, tolerance)
    predicted_edges = np.unique(predicted_times[:, 0]) if protocol == "sdhubert" else np.unique(predicted_times)
    reference_edges = np.unique(reference_times)
    return np.array(
        [
            boundary_hits(reference_edges, predicted_edges, tolerance),
            len(predicted_edges),
            len(reference_edges),
            token_hits(reference_times, predicted_times, tolerance),
            len(predicted_times),
            len(reference_times),
        ],
        np.int64,
    )


def _count_regions(reference: Times, predicted: Times, tolerance: int) -> NDArray[np.int64]:
    counts = np.zeros(6, np.int64)
    reference_edges, predicted_edges = np.unique(reference), np.unique(predicted)
    middles = predicted.sum(axis=1) // 2
    breaks = np.flatnonzero(reference[1:, 0] > reference[:-1, 1]) + 1
    for region in np.split(reference, breaks) if len(reference) else []:
        begin, end = region[0, 0], region[-1, 1]
        inside = [
            side[(side > begin + tolerance) & (side < end - tolerance)] for side in (reference_edges, predicted_edges)
        ]
        inside_region = predicted[(middles >= begin) & (middles < end)]
        counts += [
            boundary_hits(inside[0], inside[1], tolerance),
            len(inside[1]),
            len(inside[0]),
            token_hits(region, inside_region, tolerance),
            len(inside_region),
            len(region),
        ]
    return counts


def score(
    items: Sequence[tuple[ArrayLike, ArrayLike]],
    protocol: Protocol,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    shift_seconds: float = 0.0,
    groups: Sequence[Hashable] | None = None,
    names: Sequence[str] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Evaluation:
    """Micro-averaged scores over recordings.

    Args:
        items: reference and predicted segments, (n, 2) and (m, 2) in seconds, of each recording.
        protocol: ``sdhubert``, ``zerosyl`` or ``plain``.
        tolerance_seconds: maximum distance of matched boundaries.
        shift_seconds: added to the reference; tune it on other recordings.
        groups: speaker of each recording; resampled whole for the intervals.
        names: of the recordings, for errors.
        resamples: bootstrap draws for 95 % intervals; 0: no intervals.
        seed: of the bootstrap.

    Raises:
        UserError: if there are no recordings, or segments run backwards or overlap.
    """
    if not items:
        raise UserError("there are no recordings to score; give at least one")
    table = np.stack(
        [
            count_item(
                reference,
                predicted,
                protocol,
                tolerance_seconds=tolerance_seconds,
                shift_seconds=shift_seconds,
                where=names[index] if names else f"recording {index}",
            )
            for index, (reference, predicted) in enumerate(items)
        ]
    )
    sums = table.sum(axis=0)
    drawn, units = None, 0
    if resamples:
        drawn, units = resampled_sums(
            table if groups is None else sum_by_group(table, groups), resamples=resamples, seed=seed
        )

    def scored(columns: slice) -> dict[str, Score]:
        values = rates(sums[None, columns])
        replicates = {} if drawn is None else rates(drawn[:, columns])
        return {
            name: Score(float(value[0]), percentile_interval(replicates[name], 0.95, units) if replicates else None)
            for name, value in values.items()
        }

    boundaries = scored(slice(0, 3))
    tokens = scored(slice(3, 6))
    tokens.pop("r_value")
    names_of_counts = [*COUNTS, *(f"token_{name}" for name in COUNTS)]
    return Evaluation(
        protocol=protocol,
        shift_seconds=shift_seconds,
        tolerance_seconds=tolerance_seconds,
        boundaries=boundaries,
        tokens=tokens,
        counts=dict(zip(names_of_counts, map(int, sums), strict=True)),
    )


def rates(counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall, F1 and R-value from counts (k, 3) of hits, predicted and reference boundaries.

    Without predicted boundaries precision is 0.
    """
    hits, predicted, reference = np.asarray(counts, np.float64).T
    precision, recall = ratio(hits, predicted), ratio(hits, reference)
    f1 = ratio(2 * hits, predicted + reference)
    # Over-segmentation: R / P - 1 = predicted / reference - 1.
    surplus = ratio(predicted, reference) - 1
    first = np.hypot(1 - recall, surplus)
    second = (recall - 1 - surplus) / np.sqrt(2)
    r_value = 1 - (np.abs(first) + np.abs(second)) / 2
    return dict(zip(METRICS, (precision, recall, f1, r_value), strict=True))


def tune_shift(
    items: Sequence[tuple[ArrayLike, ArrayLike]],
    protocol: Protocol = "sdhubert",
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    shifts_seconds: Sequence[float] = SHIFTS_SECONDS,
) -> float:
    """The shift of the reference with the best R-value; ties go to the smallest shift, then to the negative one.

    Tune it on recordings that are not scored, and report the scores without a shift as well.
    """

    def r_value(shift: float) -> float:
        evaluation = score(items, protocol, tolerance_seconds=tolerance_seconds, shift_seconds=shift)
        return evaluation.boundaries["r_value"].value

    return max(sorted(shifts_seconds, key=lambda shift: (abs(shift), shift)), key=r_value)
