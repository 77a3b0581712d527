"""Several systems on one test set: rates, breakdowns, significance, and whether the normaliser decides the ranking."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.metrics.alternatives import BRACES, NAMED_ALTERNATIVES, Alternatives
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, sum_by_group
from speechkit.metrics.error_rates import Counts, ErrorResult, UtteranceErrors, character_errors, word_errors
from speechkit.metrics.lattice import Weights
from speechkit.metrics.sides import Sides
from speechkit.metrics.significance import (
    FEW_UNITS,
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
from speechkit.text import Normalizer, NormalizerSpec, get_normalizer

By = Literal["utterance", "speaker", "call"]
ENOUGH_SPEAKERS = 10
SIGNIFICANT = 0.05
LENGTH_EDGES = (0, 1, 6, 11, 21, 41, 81, 161)  # reference words, first of each bin
# Beyond this many character pairs in all, a character alignment takes many seconds; the caller is told.
MOST_CHARACTER_CELLS = 5_000_000_000


class ErrorRate(msgspec.Struct, frozen=True):
    """Counts with their rate (0.05 is 5 %); the interval is absent under two units."""

    rate: float
    interval: Interval | None
    tokens: int
    hits: int
    substitutions: int
    deletions: int
    insertions: int


class SystemRates(msgspec.Struct, frozen=True):
    """One system under one normaliser. Breakdowns hold the words' counts of each speaker, length and group value."""

    name: str
    wer: ErrorRate
    cer: ErrorRate | None
    sentence_error_rate: float
    speakers: dict[str, ErrorRate]
    lengths: dict[str, ErrorRate]
    groups: dict[str, dict[str, ErrorRate]]


class PairTest(msgspec.Struct, frozen=True):
    """Two systems: rate of the first less that of the second, and three tests; ``holm_p`` adjusts for all pairs.

    So do ``matched_pairs_holm_p`` and ``mcnemar_holm_p``, each for its own test.
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
    """All systems under one normaliser; ``ranking`` is from the lowest word error rate."""

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


class RateComparison(msgspec.Struct, frozen=True):
    """Everything that was counted and how; texts and alignments are in `Scored.results`."""

    utterances: int
    by: By
    units: int
    weights: Weights
    alternatives: list[str]
    confidence: float
    resamples: int
    seed: int
    tables: list[RateTable]
    flips: list[Flip]
    warnings: list[str]
    notes: list[str]


class Scored(msgspec.Struct, frozen=True):
    """A comparison with its word alignments: normaliser name, then system name."""

    comparison: RateComparison
    results: dict[str, dict[str, ErrorResult]]


def compare(
    sides: Sides,
    *,
    normalizers: Sequence[str] = ("none", "simple"),
    by: By | Literal["auto"] = "auto",
    groups: Sequence[str] = (),
    weights: Weights = "levenshtein",
    alternatives: Alternatives | None = None,
    characters: bool | None = None,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Scored:
    """Score every system under every normaliser, and every pair of systems.

    Args:
        sides: references and hypotheses.
        normalizers: names; with a single one, `second_normalizer` is reported beside it.
        by: what is drawn for intervals and p-values; ``auto`` is speakers where each utterance has one and there are
            ten or more, since utterances of one speaker resemble one another, else utterances.
        groups: fields of the references to break down by.
        weights: of the word alignment.
        alternatives: other ways to say parts of the references.
        characters: whether character error rates are computed; None leaves them out where they would take long,
            and says so in the notes.
        confidence: share that intervals cover.
        resamples: bootstrap draws.
        seed: of the draws.

    Raises:
        UserError: if an utterance has no speaker or call that ``by`` asks for, or no reference has a field of
            ``groups``.
    """
    names = list(dict.fromkeys(normalizers))
    if len(names) == 1:
        names.append(second_normalizer(names[0]))
    chains = [get_normalizer(name) for name in names]  # a name that is not known is said before any work
    if by == "auto":
        known = {t.speaker for t in sides.references}
        by = "speaker" if "" not in known and None not in known and len(known) >= ENOUGH_SPEAKERS else "utterance"
    units = _units(sides, by)
    splits = _splits(sides, groups)
    notes = list(sides.notes)
    if not (alternatives and alternatives.braces) and any(BRACES.search(t.text or "") for t in sides.references):
        notes.append("references hold alternatives like { a / b }, which count as words; say --alternatives braces")
    if characters is None:
        characters = _character_cells(sides) <= MOST_CHARACTER_CELLS
        if not characters:
            notes.append(
                "character error rates of texts this long take a while and are left out; ask for them with --cer"
            )
    speakers = {t.id: t.speaker for t in sides.references if t.speaker}
    truth = {t.id: t.text or "" for t in sides.references}
    notes += [sentence for name in names for sentence in _dropped(name, sides)]
    tables: list[RateTable] = []
    results: dict[str, dict[str, ErrorResult]] = {}
    for name, chain in zip(names, chains, strict=True):
        normalizer = _Once(chain)
        words = {
            system: word_errors(
                truth, texts, normalizer=normalizer, speakers=speakers, weights=weights, alternatives=alternatives
            )
            for system, texts in sides.hypotheses.items()
        }
        results[name] = words
        letters = None
        if characters:
            letters = [
                _unit_table(_character_errors(words[system], truth, texts, normalizer, alternatives), units)
                for system, texts in sides.hypotheses.items()
            ]
        draw = _Draws(units, confidence, resamples, seed)
        tables.append(_table(words, letters, splits, draw))
    count = len(set(units))
    flips, by_chance = _flips(tables)
    return Scored(
        RateComparison(
            utterances=len(truth),
            by=by,
            units=count,
            weights=weights,
            alternatives=_named(alternatives),
            confidence=confidence,
            resamples=resamples,
            seed=seed,
            tables=tables,
            flips=flips,
            warnings=_warnings(count, by),
            notes=[*notes, *by_chance],
        ),
        results,
    )


def second_normalizer(name: str) -> str:
    """What is reported beside one normaliser: ``simple``, and ``none`` beside ``simple``."""
    return "none" if name == "simple" else "simple"


class _Once:
    """A normaliser that does each text once, however many systems and units ask for it."""

    def __init__(self, normalizer: Normalizer) -> None:
        self.normalizer = normalizer
        self.spec = normalizer.spec
        self.known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        found = self.known.get(text)
        if found is None:
            found = self.known[text] = self.normalizer(text)
        return found


class _Draws(msgspec.Struct, frozen=True):
    units: list[str]
    confidence: float
    resamples: int
    seed: int

    def of(self, tables: Sequence[tuple[np.ndarray, Counts]]) -> RateBootstrap | None:
        if len(set(self.units)) < 2:
            return None
        errors = np.stack([table[:, 0] for table, _ in tables], axis=1)
        tokens = np.stack([table[:, 1] for table, _ in tables], axis=1)
        return bootstrap_rates(errors, tokens, resamples=self.resamples, seed=self.seed)


def _table(
    words: Mapping[str, ErrorResult],
    letters: Sequence[tuple[np.ndarray, Counts]] | None,
    splits: Mapping[str, Mapping[str, str]],
    draw: _Draws,
) -> RateTable:
    per_unit = [_unit_table(result, draw.units) for result in words.values()]
    drawn = draw.of(per_unit)
    drawn_letters = draw.of(letters) if letters else None
    systems = []
    for index, (name, result) in enumerate(words.items()):
        wrong = sum(u.counts.errors > 0 for u in result.utterances)
        interval = None if drawn is None else drawn.interval(index, draw.confidence)
        cer = None
        if letters:
            around = None if drawn_letters is None else drawn_letters.interval(index, draw.confidence)
            cer = _score(letters[index][1], around)
        has_speakers = any(u.speaker for u in result.utterances)
        systems.append(
            SystemRates(
                name=name,
                wer=_score(per_unit[index][1], interval),
                cer=cer,
                sentence_error_rate=wrong / len(result.utterances),
                speakers=_broken_down(result, lambda u: u.speaker or "") if has_speakers else {},
                lengths=_broken_down(result, lambda u: length_bin(u.counts.reference_tokens), LENGTH_NAMES),
                groups={
                    field: _broken_down(result, lambda u, values=values: values.get(u.id, ""))  # type: ignore[misc]
                    for field, values in splits.items()
                },
            )
        )
    order = sorted(range(len(systems)), key=lambda i: systems[i].wer.rate)
    return RateTable(
        normalizer=next(iter(words.values())).normalizer,
        systems=systems,
        pairs=_pairs(words, drawn, draw.confidence),
        ranking=[systems[i].name for i in order],
    )


def _pairs(words: Mapping[str, ErrorResult], drawn: RateBootstrap | None, confidence: float) -> list[PairTest]:
    names = list(words)
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    found = [None if drawn is None else paired_difference(drawn, i, j, confidence) for i, j in pairs]
    adjusted = holm([d.p_value for d in found if d is not None])
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
        for index, ((i, j), difference) in enumerate(zip(pairs, found, strict=True))
    ]


def _flips(tables: Sequence[RateTable]) -> tuple[list[Flip], list[str]]:
    """Pairs of systems that the normaliser puts in another order, and a sentence on those that chance explains."""
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
    note = f"{within_chance} {several} order with the normaliser, all within what chance explains"
    return flips, [note] if within_chance else []


def _differs(pair: PairTest) -> bool:
    return pair.holm_p is not None and pair.holm_p < SIGNIFICANT


def _unit_table(result: ErrorResult, units: Sequence[str]) -> tuple[np.ndarray, Counts]:
    """Errors and reference tokens of each unit, (units, 2), and the counts of all."""
    rows = [(u.counts.errors, u.counts.reference_tokens) for u in result.utterances]
    return sum_by_group(np.array(rows, np.float64).reshape(-1, 2), units), result.counts


def _score(counts: Counts, interval: Interval | None = None) -> ErrorRate:
    return ErrorRate(counts.rate, interval, counts.reference_tokens, **msgspec.structs.asdict(counts))


def _broken_down(
    result: ErrorResult, key: Callable[[UtteranceErrors], str], order: Sequence[str] = ()
) -> dict[str, ErrorRate]:
    sums: dict[str, Counts] = {}
    for utterance in result.utterances:
        name = key(utterance)
        sums[name] = sums.get(name, Counts(0, 0, 0, 0)) + utterance.counts
    keys = [name for name in order if name in sums] if order else sorted(sums)
    return {name: _score(sums[name]) for name in keys}


def _length_names() -> list[str]:
    pairs = itertools.pairwise(LENGTH_EDGES)
    return [f"{low}-{high - 1}" if high - low > 1 else str(low) for low, high in pairs] + [f"{LENGTH_EDGES[-1]}+"]


LENGTH_NAMES = _length_names()


def length_bin(words: int) -> str:
    """The name of the bin that a reference of so many words falls into."""
    return LENGTH_NAMES[sum(words >= edge for edge in LENGTH_EDGES) - 1]


def _units(sides: Sides, by: By) -> list[str]:
    if by == "utterance":
        return [t.id for t in sides.references]
    units = []
    for t in sides.references:
        unit = t.speaker if by == "speaker" else t.recording
        if not unit:
            raise UserError(f"{t.id}: has no {by}; give every utterance a {by} or resample by utterance")
        units.append(unit)
    return units


def _splits(sides: Sides, groups: Sequence[str]) -> dict[str, dict[str, str]]:
    known = sorted({field for t in sides.references for field in t.groups})
    for field in groups:
        if field not in known:
            there = f"the fields are {', '.join(known)}" if known else "the references have no such fields"
            raise UserError(f"no reference has a field {field!r} to group by; {there}")
    return {field: {t.id: t.groups.get(field, "") for t in sides.references} for field in groups}


def _character_cells(sides: Sides) -> int:
    lengths = {t.id: len(t.text or "") for t in sides.references}
    return sum(lengths[key] * len(text) for found in sides.hypotheses.values() for key, text in found.items())


def _warnings(units: int, by: By) -> list[str]:
    if units < 2:
        return [f"one {by} only: no interval and no p-value can be given"]
    if units < FEW_UNITS:
        return [f"only {units} {by}s: intervals and p-values are rough under {FEW_UNITS}"]
    return []


def _character_errors(
    words: ErrorResult,
    truth: Mapping[str, str],
    texts: Mapping[str, str],
    normalizer: _Once,
    alternatives: Alternatives | None,
) -> ErrorResult:
    """Character errors; where words had a choice, against the way that was chosen for them."""
    if not alternatives:
        return character_errors(truth, texts, normalizer=normalizer)
    chosen = {u.id: " ".join(u.reference) for u in words.utterances}
    return character_errors(chosen, {u.id: " ".join(u.hypothesis) for u in words.utterances})


def _dropped(name: str, sides: Sides) -> list[str]:
    """A sentence on the hesitations and marks that the English normaliser drops."""
    if name != "english":
        return []
    from speechkit.text.english import count_fillers

    counts = {"the reference": sum(count_fillers(t.text or "") for t in sides.references)}
    counts |= {system: sum(map(count_fillers, texts.values())) for system, texts in sides.hypotheses.items()}
    several = ", ".join(f"{count:,} from {who}" for who, count in counts.items() if count)
    keep = "the normaliser english-verbatim keeps them"
    return [f"english drops hesitations and transcribers' marks ({several}); {keep}"] if several else []


def _named(alternatives: Alternatives | None) -> list[str]:
    if not alternatives:
        return []
    groups = [f"{len(alternatives.groups)} groups of phrases"] if alternatives.groups else []
    return [name for name in NAMED_ALTERNATIVES if getattr(alternatives, name)] + groups


__all__ = ["By", "ErrorRate", "RateComparison", "RateTable", "Scored", "SystemRates", "compare", "length_bin"]
