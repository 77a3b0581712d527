"""One table of error rates: systems under one normaliser, their breakdowns, and the tests of every pair."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.metrics.alignments import Alignments, Counts
from speechkit.metrics.bootstrap import Interval, sum_by_group
from speechkit.metrics.error_rates import ErrorResult, summed_counts
from speechkit.metrics.significance import (
    MatchedPairs,
    McNemar,
    PairedDifference,
    RateBootstrap,
    bootstrap_rates,
    holm,
    matched_pairs,
    mcnemar,
    paired_difference,
)
from speechkit.text import NormalizerSpec

SIGNIFICANT = 0.05
LENGTH_EDGES = (0, 1, 6, 11, 21, 41, 81, 161)  # reference words, first of each bin


class ErrorRate(msgspec.Struct, frozen=True):
    """Counts with their rate (0.05 is 5 %); the interval is None with fewer than two units."""

    rate: float
    interval: Interval | None
    tokens: int
    hits: int
    substitutions: int
    deletions: int
    insertions: int


class SystemRates(msgspec.Struct, frozen=True):
    """One system under one normaliser. Breakdowns hold the words' counts of each speaker, length and group value.

    ``mixed`` counts characters of scripts that are written without spaces and words of others; it is present if the
    references have such characters. Match error rate and word information lost are 0 to 1 (Morris et al. 2004).
    """

    name: str
    wer: ErrorRate
    cer: ErrorRate | None
    sentence_error_rate: float
    speakers: dict[str, ErrorRate]
    lengths: dict[str, ErrorRate]
    groups: dict[str, dict[str, ErrorRate]]
    match_error_rate: float = 0.0
    word_information_lost: float = 0.0
    mixed: ErrorRate | None = None


class PairTest(msgspec.Struct, frozen=True):
    """Two systems: rate of the first minus that of the second, and three tests; ``holm_p`` adjusts for all pairs.

    Likewise ``matched_pairs_holm_p`` and ``mcnemar_holm_p`` for their tests.
    """

    first: str
    second: str
    bootstrap: PairedDifference | None
    holm_p: float | None
    matched_pairs: MatchedPairs
    mcnemar: McNemar
    matched_pairs_holm_p: float = 1.0
    mcnemar_holm_p: float = 1.0


class RateTable(msgspec.Struct, frozen=True):
    """All systems under one normaliser; ``ranking`` is by ascending word error rate."""

    normalizer: NormalizerSpec
    systems: list[SystemRates]
    pairs: list[PairTest]
    ranking: list[str]


class Flip(msgspec.Struct, frozen=True):
    """``better`` has fewer errors than ``worse`` under the first normaliser and more under ``other``.

    Both differences have an adjusted p-value of the bootstrap under 0.05.
    """

    better: str
    worse: str
    normalizer: str
    other: str


class Draws(msgspec.Struct, frozen=True):
    """Bootstrap: the unit of each utterance, the number of resamples, and the coverage of intervals."""

    units: list[str]
    confidence: float
    resamples: int
    seed: int

    def of(self, counts: Sequence[NDArray[np.int32]]) -> RateBootstrap | None:
        """Rates of several systems over the same resamples, from their counts (utterances, 4); None for one unit."""
        summed = [sum_by_group(table, self.units) for table in counts]
        if not summed or len(summed[0]) < 2:
            return None
        errors = np.stack([table[:, 1:].sum(axis=1) for table in summed], axis=1)
        tokens = np.stack([table[:, :3].sum(axis=1) for table in summed], axis=1)
        return bootstrap_rates(errors, tokens, resamples=self.resamples, seed=self.seed)


OtherCounts = Mapping[str, Sequence[NDArray[np.int32]]]
"""Counts of other tokens than words, by "cer" and "mixed": of each system, (utterances, 4)."""


def rate_table(
    words: Mapping[str, ErrorResult], others: OtherCounts, splits: Mapping[str, Mapping[str, str]], draws: Draws
) -> RateTable:
    """The table of all systems under the normaliser of ``words``.

    Args:
        words: word errors by system.
        others: counts of characters and mixed tokens, if computed.
        splits: of each field to break down by, the value of each id.
        draws: for the intervals and tests.
    """
    count = len(words)
    kinds = ["wer", *others]
    counts = [result.utterances.counts for result in words.values()] + [
        table for kind in others for table in others[kind]
    ]
    drawn = draws.of(counts)
    rates = [
        error_rate(
            Counts(*table.sum(axis=0).tolist()), None if drawn is None else drawn.interval(index, draws.confidence)
        )
        for index, table in enumerate(counts)
    ]
    systems = []
    for index, (name, result) in enumerate(words.items()):
        of_system = {kind: rates[count * row + index] for row, kind in enumerate(kinds)}
        done, totals = result.utterances, result.counts
        speakers = [speaker or "" for speaker in done.speakers]
        systems.append(
            SystemRates(
                name=name,
                wer=of_system["wer"],
                cer=of_system.get("cer"),
                mixed=of_system.get("mixed"),
                sentence_error_rate=float(done.counts[:, 1:].any(axis=1).mean()),
                match_error_rate=totals.match_error_rate,
                word_information_lost=totals.information_lost,
                speakers=_broken_down(done, speakers) if any(speakers) else {},
                lengths=_broken_down(done, _length_bins(done), LENGTH_NAMES),
                groups={f: _broken_down(done, [values.get(i, "") for i in done.ids]) for f, values in splits.items()},
            )
        )
    order = sorted(range(count), key=lambda i: systems[i].wer.rate)
    return RateTable(
        normalizer=next(iter(words.values())).normalizer,
        systems=systems,
        pairs=_pairs(words, drawn, draws.confidence),
        ranking=[systems[i].name for i in order],
    )


def _pairs(words: Mapping[str, ErrorResult], drawn: RateBootstrap | None, confidence: float) -> list[PairTest]:
    names = list(words)
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    differences = [None if drawn is None else paired_difference(drawn, i, j, confidence) for i, j in pairs]
    adjusted = holm([d.p_value for d in differences if d is not None])
    segments = [matched_pairs(words[names[i]], words[names[j]]) for i, j in pairs]
    utterances = [mcnemar(words[names[i]], words[names[j]]) for i, j in pairs]
    segments_p = holm([test.p_value for test in segments])
    utterances_p = holm([test.p_value for test in utterances])
    return [
        PairTest(
            first=names[i],
            second=names[j],
            bootstrap=difference,
            holm_p=adjusted[index] if difference is not None else None,
            matched_pairs=segments[index],
            mcnemar=utterances[index],
            matched_pairs_holm_p=segments_p[index],
            mcnemar_holm_p=utterances_p[index],
        )
        for index, ((i, j), difference) in enumerate(zip(pairs, differences, strict=True))
    ]


def flips_between(tables: Sequence[RateTable]) -> tuple[list[Flip], list[str]]:
    """Pairs whose ranking depends on the normaliser, and a sentence on insignificant changes."""
    flips, within_chance = [], 0
    first = {s.name: s.wer.rate for s in tables[0].systems}
    for table in tables[1:]:
        other = {s.name: s.wer.rate for s in table.systems}
        significant = {frozenset((p.first, p.second)) for p in tables[0].pairs if _differs(p)}
        significant &= {frozenset((p.first, p.second)) for p in table.pairs if _differs(p)}
        for better, worse in itertools.combinations(tables[0].ranking, 2):
            if not (first[better] < first[worse] and other[better] > other[worse]):
                continue
            if frozenset((better, worse)) in significant:
                flips.append(Flip(better, worse, tables[0].normalizer.name, table.normalizer.name))
            else:
                within_chance += 1
    several = "pair changes its" if within_chance == 1 else "pairs change their"
    note = f"{within_chance} {several} order with the normaliser, none significantly"
    return flips, [note] if within_chance else []


def _differs(pair: PairTest) -> bool:
    return pair.holm_p is not None and pair.holm_p < SIGNIFICANT


def error_rate(counts: Counts, interval: Interval | None = None) -> ErrorRate:
    """Counts as an error rate."""
    return ErrorRate(counts.rate, interval, counts.reference_tokens, **msgspec.structs.asdict(counts))


def _broken_down(done: Alignments, names: Sequence[str], order: Sequence[str] = ()) -> dict[str, ErrorRate]:
    """Rates by name, sorted or in a given order."""
    sums = summed_counts(done, names)
    return {name: error_rate(sums[name]) for name in (order or sorted(sums)) if name in sums}


def _length_names() -> list[str]:
    pairs = itertools.pairwise(LENGTH_EDGES)
    return [f"{low}-{high - 1}" if high - low > 1 else str(low) for low, high in pairs] + [f"{LENGTH_EDGES[-1]}+"]


LENGTH_NAMES = _length_names()


def length_bin(words: int) -> str:
    """The length bin of a reference with this many words."""
    return LENGTH_NAMES[sum(words >= edge for edge in LENGTH_EDGES) - 1]


def _length_bins(done: Alignments) -> list[str]:
    bins = np.searchsorted(LENGTH_EDGES, done.reference.lengths, side="right") - 1
    return [LENGTH_NAMES[index] for index in bins.tolist()]
