"""Several systems on several test sets under one normaliser: rates, ranks, speeds, and the average over sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval
from speechkit.metrics.comparison import By, drawn_units
from speechkit.metrics.error_rates import WordScorer
from speechkit.metrics.rate_tables import Draws, ErrorRate, error_rate
from speechkit.metrics.sides import Sides, Speed
from speechkit.metrics.significance import (
    FEW_UNITS,
    PairedDifference,
    RateBootstrap,
    holm,
    paired_difference,
)
from speechkit.text import NormalizerSpec, get_normalizer


class SetRates(msgspec.Struct, frozen=True):
    """One test set: word error rates by system in the given order, and the resampling unit."""

    name: str
    utterances: int
    words: int
    by: By
    units: int
    systems: dict[str, ErrorRate]
    ranks: dict[str, int]
    speeds: dict[str, Speed]


class SystemAverage(msgspec.Struct, frozen=True):
    """One system over all sets: the mean of its rates, with equal weight per set, and of its ranks.

    ``speed`` is over all sets, None if a set has none.
    """

    name: str
    rate: float
    interval: Interval | None
    rank: int
    mean_rank: float
    speed: Speed | None


class AveragePair(msgspec.Struct, frozen=True):
    """Average of the first minus that of the second, and its p-value adjusted for all pairs."""

    first: str
    second: str
    difference: PairedDifference
    holm_p: float


class Leaderboard(msgspec.Struct, frozen=True):
    """Sets in the given order, systems by ascending average."""

    normalizer: NormalizerSpec
    confidence: float
    resamples: int
    seed: int
    sets: list[SetRates]
    systems: list[SystemAverage]
    pairs: list[AveragePair]
    warnings: list[str]
    notes: list[str]


def leaderboard(
    sets: Mapping[str, Sides],
    *,
    normalizer: str = "whisper",
    by: By | Literal["auto"] = "auto",
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Leaderboard:
    """Score all systems on all sets.

    Args:
        sets: references and hypotheses of each test set; all of the same systems.
        normalizer: of both sides.
        by: unit of resampling in each set, as in `compare`.
        confidence: coverage of intervals.
        resamples: bootstrap resamples. Sets are resampled independently, all systems of a set together.
        seed: of the bootstrap.
        progress: called with the alignments done and their number.

    The average is the mean of the sets' rates; its interval and the pairwise tests use the mean of each resample.

    Raises:
        UserError: if there is no set, or a set has other systems than the first.
    """
    if not sets:
        raise UserError("no test set; give at least one")
    names = list(next(iter(sets.values())).hypotheses)
    chain = get_normalizer(normalizer)
    total = sum(len(sides.references) * len(names) for sides in sets.values())
    done = 0
    rated: list[SetRates] = []
    bootstraps: list[RateBootstrap | None] = []
    for number, (name, sides) in enumerate(sets.items()):
        if list(sides.hypotheses) != names:
            raise UserError(f"{name}: has other systems than the first set; give every system on every set")
        chosen, units = drawn_units(sides, by)
        ids, truth = [t.id for t in sides.references], [t.text or "" for t in sides.references]
        scorer = WordScorer(ids, truth, normalizer=chain)
        results = []
        for texts in sides.hypotheses.values():
            results.append(scorer.errors(texts))
            done += len(units)
            if progress is not None:
                progress(done, total)
        # Each set has its own seed, since one seed would resample sets of equal size identically.
        draws = Draws(units, confidence, resamples, int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
        boot = draws.of([result.utterances.counts for result in results])
        rates = {
            system: error_rate(result.counts, None if boot is None else boot.interval(index, confidence))
            for index, (system, result) in enumerate(zip(names, results, strict=True))
        }
        order = sorted(rates.values(), key=lambda rate: rate.rate)
        ranks = {system: 1 + [r.rate for r in order].index(rate.rate) for system, rate in rates.items()}
        words = max(rate.tokens for rate in rates.values())
        count = len(set(units))
        rated.append(SetRates(name, len(units), words, chosen, count, rates, ranks, dict(sides.speeds)))
        bootstraps.append(boot)
    averages, pairs = _averages(names, rated, bootstraps, confidence)
    few = [f"{rates.name} ({rates.units} {rates.by}s)" for rates in rated if rates.units < FEW_UNITS]
    return Leaderboard(
        normalizer=chain.spec,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        sets=rated,
        systems=averages,
        pairs=pairs,
        warnings=[f"intervals and p-values are rough under {FEW_UNITS} units: {', '.join(few)}"] if few else [],
        notes=[f"{name}: {note}" for name, sides in sets.items() for note in sides.notes],
    )


def _averages(
    names: list[str], sets: list[SetRates], bootstraps: list[RateBootstrap | None], confidence: float
) -> tuple[list[SystemAverage], list[AveragePair]]:
    """Systems by ascending mean rate, and the tests of all pairs; no tests if a set has a single unit."""
    means = np.array([np.mean([rates.systems[name].rate for rates in sets]) for name in names])
    known = [bootstrap for bootstrap in bootstraps if bootstrap is not None]
    joint = None
    if len(known) == len(sets):
        # The smallest number of units bounds the degrees of freedom.
        resampled = np.mean([bootstrap.resampled for bootstrap in known], axis=0)
        joint = RateBootstrap(means, resampled, min(bootstrap.units for bootstrap in known))
    order = np.argsort(means, kind="stable").tolist()
    averages = [
        SystemAverage(
            name=names[index],
            rate=float(means[index]),
            interval=None if joint is None else joint.interval(index, confidence),
            rank=1 + int((means < means[index]).sum()),
            mean_rank=float(np.mean([rates.ranks[names[index]] for rates in sets])),
            speed=_speed([rates.speeds.get(names[index]) for rates in sets]),
        )
        for index in order
    ]
    if joint is None:
        return averages, []
    both = [(i, j) for rank, i in enumerate(order) for j in order[rank + 1 :]]
    tests = [paired_difference(joint, i, j, confidence) for i, j in both]
    adjusted = holm([test.p_value for test in tests])
    return averages, [
        AveragePair(names[i], names[j], test, p) for (i, j), test, p in zip(both, tests, adjusted, strict=True)
    ]


def _speed(speeds: list[Speed | None]) -> Speed | None:
    known = [speed for speed in speeds if speed is not None]
    if len(known) < len(speeds):
        return None
    return Speed(sum(speed.compute_seconds for speed in known), sum(speed.audio_seconds for speed in known))
