"""Error rates of keywords: a list for all utterances, or the entities of each.

Occurrences are sequences of normalised words that equal a phrase, found from left to right, longest first, without
overlap. The error rate counts substituted and deleted reference words inside occurrences, and inserted words
inside occurrences in the hypothesis, over reference words inside occurrences (Le et al. 2021, B-WER). Precision and
recall count occurrences: for each phrase and utterance the smaller of the two counts is correct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.manifest import read_jsonl
from speechkit.errors import UserError
from speechkit.metrics.alignments import Alignments, Counts, UtteranceErrors
from speechkit.metrics.bootstrap import Interval, percentile_interval, ratio, resampled_sums, sum_by_group
from speechkit.metrics.comparison import Scored
from speechkit.metrics.rate_tables import ErrorRate, error_rate
from speechkit.metrics.text_lines import numbered_lines
from speechkit.metrics.transcript_rows import IDS
from speechkit.text import get_normalizer

Phrase = tuple[str, ...]


class Share(msgspec.Struct, frozen=True):
    """A value from 0 to 1 with its interval."""

    value: float
    interval: Interval | None


class KeywordScores(msgspec.Struct, frozen=True):
    """One system: keyword error rate, and numbers of correct, reference and hypothesis occurrences."""

    rate: ErrorRate
    precision: Share
    recall: Share
    f1: Share
    right: int
    reference_occurrences: int
    hypothesis_occurrences: int


def read_keywords(path: Path) -> list[str]:
    """One phrase per line.

    Raises:
        UserError: if the file has none.
    """
    phrases = [line.strip() for _, line in numbered_lines(path)]
    if not phrases:
        raise UserError(f"{path}: has no keyword; write a word or phrase on each line")
    return phrases


def read_phrases(path: Path, field: str) -> dict[str, list[str]]:
    """The phrases of each id from a field of ``.jsonl`` rows: texts, [tag, phrase] pairs, or null for none.

    Raises:
        UserError: if no row has the field, or an item is neither.
    """
    phrases: dict[str, list[str]] = {}
    has_field = False
    for number, row in enumerate(read_jsonl(path, dict[str, Any]), 1):
        name = next((str(row[key]) for key in IDS if row.get(key) is not None), None)
        if name is None:
            raise UserError(f"{path}:{number}: has no id; give every row one")
        has_field |= field in row
        phrases[name] = [_phrase(item, f"{path}:{number}: {field}") for item in row.get(field) or ()]
    if not has_field:
        raise UserError(f"{path}: no row has a field {field!r}; name the field that lists the entities of an utterance")
    return phrases


def _phrase(item: Any, location: str) -> str:
    if isinstance(item, list) and len(item) == 2:
        item = item[1]
    if not isinstance(item, str):
        raise UserError(f"{location} holds {item!r}; give texts or [tag, phrase]")
    return item


def keyword_scores(
    utterances: Alignments,
    phrases: Sequence[str] | Mapping[str, Sequence[str]],
    normalize: Callable[[str], str],
    *,
    units: Sequence[str],
    confidence: float,
    resamples: int,
    seed: int,
) -> KeywordScores:
    """Score the keywords of one system.

    Args:
        utterances: the system's alignments.
        phrases: keywords of all utterances, or those of each id (entities).
        normalize: normaliser of the aligned texts.
        units: resampling unit of each utterance; no intervals for a single unit.
        confidence: coverage of intervals.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        UserError: if no keyword occurs in a reference.
    """
    if isinstance(phrases, Mapping):
        rows = [_counts(utterance, _lists(phrases.get(utterance.id, ()), normalize)) for utterance in utterances]
    else:
        shared = _lists(phrases, normalize)
        rows = [_counts(utterance, shared) for utterance in utterances]
    table = np.array(rows, np.float64).reshape(-1, 7)
    totals = table.sum(axis=0).astype(int).tolist()
    if not totals[4]:
        raise UserError("no keyword occurs in a reference; check the list and the normaliser")
    counts = Counts(*totals[:4])
    summed = sum_by_group(table, units)
    sums = None
    if len(summed) > 1:
        sums, _ = resampled_sums(summed, resamples=resamples, seed=seed)

    def interval(values: NDArray[np.float64] | None) -> Interval | None:
        return None if values is None else percentile_interval(values, confidence, len(summed))

    rates = None if sums is None else ratio(sums[:, 1:4].sum(axis=1), sums[:, :3].sum(axis=1))
    shares = []
    for above, below in (((6,), (5,)), ((6,), (4,)), ((6, 6), (4, 5))):
        value = float(ratio(sum(totals[i] for i in above), sum(totals[i] for i in below)))
        drawn = None
        if sums is not None:
            drawn = ratio(sums[:, list(above)].sum(axis=1), sums[:, list(below)].sum(axis=1))
        shares.append(Share(value, interval(drawn)))
    precision, recall, f1 = shares
    return KeywordScores(error_rate(counts, interval(rates)), precision, recall, f1, totals[6], totals[4], totals[5])


def scores_of_systems(
    scored: Scored,
    phrases: Sequence[str] | Mapping[str, Sequence[str]],
    units: Sequence[str],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, KeywordScores]:
    """`keyword_scores` of every system under the first normaliser."""
    name = scored.comparison.tables[0].normalizer.name
    return {
        system: keyword_scores(
            result.utterances,
            phrases,
            get_normalizer(name),
            units=units,
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
        for system, result in scored.results[name].items()
    }


def _lists(phrases: Iterable[str], normalize: Callable[[str], str]) -> dict[str, list[Phrase]]:
    """Phrases by their first word, the longest first."""
    by_first: dict[str, list[Phrase]] = {}
    for phrase in {tuple(normalize(phrase).split()) for phrase in phrases} - {()}:
        by_first.setdefault(phrase[0], []).append(phrase)
    for alike in by_first.values():
        alike.sort(key=lambda phrase: (-len(phrase), phrase))
    return by_first


def occurrences(words: Sequence[str], phrases: Mapping[str, Sequence[Phrase]]) -> Iterator[tuple[int, Phrase]]:
    """Begin and phrase of each occurrence."""
    begin = 0
    while begin < len(words):
        for phrase in phrases.get(words[begin], ()):
            if tuple(words[begin : begin + len(phrase)]) == phrase:
                yield begin, phrase
                begin += len(phrase) - 1
                break
        begin += 1


def _counts(utterance: UtteranceErrors, phrases: Mapping[str, Sequence[Phrase]]) -> list[int]:
    """Hits, substitutions, deletions, insertions; occurrences in the reference, in the hypothesis, and in both."""
    expected, recognised = (list(occurrences(side, phrases)) for side in (utterance.reference, utterance.hypothesis))
    inside = [
        {i for begin, phrase in side for i in range(begin, begin + len(phrase))} for side in (expected, recognised)
    ]
    hits = substitutions = deletions = insertions = 0
    for o in utterance.operations:
        words = len(inside[0].intersection(range(o.reference_begin, o.reference_end)))
        hits += words if o.kind == "equal" else 0
        substitutions += words if o.kind == "substitute" else 0
        deletions += words if o.kind == "delete" else 0
        if o.kind == "insert":
            insertions += len(inside[1].intersection(range(o.hypothesis_begin, o.hypothesis_end)))
    both = Counter(phrase for _, phrase in expected) & Counter(phrase for _, phrase in recognised)
    return [hits, substitutions, deletions, insertions, len(expected), len(recognised), both.total()]
