"""Compute statistics of a manifest in one pass."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from speechkit.data.records import Utterance

DURATION_BIN_SECONDS = 0.05


class Stats(msgspec.Struct):
    """Counts and sums; ``hours_by_*`` are keyed by value, "?" for rows without one."""

    utterances: int = 0
    hours: float = 0.0
    recordings: int = 0
    speakers: int = 0
    characters: int = 0
    words: int = 0
    characters_per_second: float = 0.0
    without_text: int = 0
    shortest_seconds: float = 0.0
    median_seconds: float = 0.0
    mean_seconds: float = 0.0
    p95_seconds: float = 0.0
    longest_seconds: float = 0.0
    hours_by_language: dict[str, float] = {}
    hours_by_speaker: dict[str, float] = {}
    utterances_by_sample_rate: dict[str, int] = {}
    aligned: int = 0


def manifest_stats(records: Iterable[Utterance]) -> Stats:
    """Compute hours, speakers, text and durations; characters per second is over rows with text.

    Quantiles have a resolution of 0.05 s. Memory grows with speakers, languages and recordings, not with utterances.
    """
    result = Stats()
    seconds = spoken = 0.0
    shortest, longest = math.inf, 0.0
    bins: Counter[int] = Counter()
    languages: defaultdict[str, float] = defaultdict(float)
    speakers: defaultdict[str, float] = defaultdict(float)
    rates: Counter[str] = Counter()
    recordings: set[str] = set()
    for row in records:
        result.utterances += 1
        seconds += row.duration
        shortest, longest = min(shortest, row.duration), max(longest, row.duration)
        bins[int(row.duration / DURATION_BIN_SECONDS)] += 1
        recordings.add(row.audio_filepath)
        languages[row.lang or "?"] += row.duration
        speakers[row.speaker or "?"] += row.duration
        rates[str(row.sample_rate)] += 1
        result.aligned += row.alignment is not None
        if row.text and row.text.strip():
            result.characters += len(row.text)
            result.words += len(row.text.split())
            spoken += row.duration
        else:
            result.without_text += 1
    result.hours = seconds / 3600
    result.recordings = len(recordings)
    result.speakers = len(speakers) - ("?" in speakers)
    result.characters_per_second = result.characters / spoken if spoken else 0.0
    result.hours_by_language = {name: value / 3600 for name, value in sorted(languages.items())}
    result.hours_by_speaker = {name: value / 3600 for name, value in sorted(speakers.items())}
    result.utterances_by_sample_rate = dict(sorted(rates.items(), key=lambda item: int(item[0])))
    if result.utterances:
        result.shortest_seconds, result.longest_seconds = shortest, longest
        result.mean_seconds = seconds / result.utterances
        result.median_seconds = _quantile(bins, result.utterances, 0.5, shortest, longest)
        result.p95_seconds = _quantile(bins, result.utterances, 0.95, shortest, longest)
    return result


def _quantile(bins: Counter[int], count: int, share: float, lowest: float, highest: float) -> float:
    wanted, passed = share * count, 0
    for index in sorted(bins):
        passed += bins[index]
        if passed >= wanted:
            return min(max((index + 0.5) * DURATION_BIN_SECONDS, lowest), highest)
    return highest
