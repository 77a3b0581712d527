"""Several systems on one test set: rates, breakdowns, significance, and effects of the normaliser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.alignments import Progress, character_counts
from speechkit.metrics.alternatives import BRACES, NAMED_ALTERNATIVES, Alternatives
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES
from speechkit.metrics.error_rates import ErrorResult, WordScorer
from speechkit.metrics.lattice import Weights
from speechkit.metrics.mixed_tokens import WITHOUT_SPACES, mixed_counts
from speechkit.metrics.rate_tables import (
    SIGNIFICANT,
    Draws,
    ErrorRate,
    Flip,
    PairTest,
    RateTable,
    SystemRates,
    flips_between,
    length_bin,
    rate_table,
)
from speechkit.metrics.sides import Sides, Speed
from speechkit.metrics.significance import few_units
from speechkit.text import get_normalizer

By = Literal["utterance", "speaker", "call"]
ENOUGH_SPEAKERS = 10
# Beyond this many character pairs, character alignment takes many seconds and is left out with a note.
MOST_CHARACTER_CELLS = 5_000_000_000


class RateComparison(msgspec.Struct, frozen=True):
    """All counts and how they were made; texts and alignments are in `Scored.results`."""

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
    speeds: dict[str, Speed] = {}


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
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Score every system under every normaliser, and every pair of systems.

    Args:
        sides: references and hypotheses.
        normalizers: names; a single one is complemented by `second_normalizer`.
        by: unit of resampling; ``auto`` is speakers if each utterance has one and there are at least ten, since
            utterances of one speaker are correlated, else utterances.
        groups: fields of the references to break down by.
        weights: of the word alignment.
        alternatives: of the references.
        characters: whether character error rates are computed; None leaves them out, with a note, where they would be
            slow.
        confidence: coverage of intervals.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        progress: called with the alignments done and their number.

    Raises:
        UserError: if an utterance has no speaker or call that ``by`` asks for, or no reference has a field of
            ``groups``.
    """
    names = list(dict.fromkeys(normalizers))
    if len(names) == 1:
        names.append(second_normalizer(names[0]))
    chains = [get_normalizer(name) for name in names]  # refuse an unknown name before any work
    by, units = drawn_units(sides, by)
    splits = _splits(sides, groups)
    notes = list(sides.notes)
    if not (alternatives and alternatives.braces) and any(BRACES.search(t.text or "") for t in sides.references):
        notes.append("references have alternatives like { a / b }, which count as words; add --alternatives braces")
    if characters is None:
        characters = _character_cells(sides) <= MOST_CHARACTER_CELLS
        if not characters:
            notes.append("character error rates of texts this long are slow and left out; add --cer for them")
    ids, truth = [t.id for t in sides.references], [t.text or "" for t in sides.references]
    speakers = [t.speaker or None for t in sides.references]
    mixed = any(map(WITHOUT_SPACES.search, truth))
    notes += [sentence for name in names for sentence in _dropped(name, sides)]
    draws = Draws(units, confidence, resamples, seed)
    advance = _counting(progress, len(truth) * len(sides.hypotheses) * len(names))
    tables: list[RateTable] = []
    results: dict[str, dict[str, ErrorResult]] = {}
    for name, chain in zip(names, chains, strict=True):
        scorer = WordScorer(ids, truth, normalizer=chain, speakers=speakers, weights=weights, alternatives=alternatives)
        results[name], others = _errors(scorer, sides.hypotheses, characters, mixed, advance)
        tables.append(rate_table(results[name], others, splits, draws))
    count = len(set(units))
    flips, by_chance = flips_between(tables)
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
            warnings=few_units(count, by),
            notes=[*notes, *by_chance, *_speed_notes(sides)],
            speeds=sides.speeds,
        ),
        results,
    )


def second_normalizer(name: str) -> str:
    """The normaliser reported in addition: ``simple``, or ``none`` for ``simple``."""
    return "none" if name == "simple" else "simple"


def _errors(
    scorer: WordScorer,
    hypotheses: Mapping[str, Mapping[str, str]],
    characters: bool,
    mixed: bool,
    progress: Progress | None,
) -> tuple[dict[str, ErrorResult], dict[str, list[NDArray[np.int32]]]]:
    """Word errors of every system, and the counts of characters and mixed tokens if requested."""
    words: dict[str, ErrorResult] = {}
    others: dict[str, list[NDArray[np.int32]]] = {}
    for system, texts in hypotheses.items():
        words[system] = scorer.errors(texts, progress)
        if characters:
            others.setdefault("cer", []).append(character_counts(words[system].utterances))
        if mixed:
            others.setdefault("mixed", []).append(mixed_counts(words[system].utterances))
    return words, others


def _counting(progress: Callable[[int, int], None] | None, total: int) -> Progress | None:
    """Turn increments into (done, total)."""
    if progress is None:
        return None
    report, done = progress, 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    return more


def drawn_units(sides: Sides, by: By | Literal["auto"]) -> tuple[By, list[str]]:
    """The kind of resampling unit, and the unit of each utterance; ``auto`` as in `compare`.

    Raises:
        UserError: if an utterance has no speaker or call that ``by`` asks for.
    """
    if by == "auto":
        known = {t.speaker for t in sides.references}
        by = "speaker" if "" not in known and None not in known and len(known) >= ENOUGH_SPEAKERS else "utterance"
    if by == "utterance":
        return by, [t.id for t in sides.references]
    units = []
    for t in sides.references:
        unit = t.speaker if by == "speaker" else t.recording
        if not unit:
            raise UserError(f"{t.id}: has no {by}; give every utterance a {by} or resample by utterance")
        units.append(unit)
    return by, units


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


def _speed_notes(sides: Sides) -> list[str]:
    """A sentence on the speed of each system with recognition times."""
    return [
        f"{name}: real-time factor {speed.real_time_factor:.3g} (RTFx {speed.times_real_time:.3g})"
        for name, speed in sides.speeds.items()
    ]


def _dropped(name: str, sides: Sides) -> list[str]:
    """A sentence on the hesitations and marks that the English normaliser removes."""
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


__all__ = [
    "SIGNIFICANT",
    "By",
    "ErrorRate",
    "Flip",
    "PairTest",
    "RateComparison",
    "RateTable",
    "Scored",
    "SystemRates",
    "compare",
    "length_bin",
]
