"""The data card: what a mined set holds, as JSON for programs and Markdown for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from speechkit.data import Utterance, recording_of
from speechkit.io.atomic import write_json, write_text
from speechkit.mining.export.recordings import Manifest, utterances_of, words_of

SCORE_BINS = 20
SOUND = {
    "snr_db": "signal to noise (dB, estimated)",
    "bandwidth_hz": "bandwidth (Hz)",
    "clipped": "share of clipped samples",
    "dnsmos": "DNSMOS, overall",
    "voice": "voice, likeness to the rest of the recording",
    "character_errors": "wrong characters of the text (share, estimated)",
    "corrected_words": "corrected words, in sentences with any",
}
SHARES = ("clipped", "character_errors")
"""Quantities of `SOUND` so small that they need more digits."""
LICENCE = "not stated: fill in the licences of the recordings and of the documents before you share this set"


class Spread(msgspec.Struct, frozen=True):
    """Smallest, mean and largest of a quantity."""

    minimum: float
    mean: float
    maximum: float


class DataCard(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a mined set. Times are seconds; ``score_histogram`` counts utterances in 20 bins from 0 to 1."""

    name: str
    utterances: int
    hours: float
    recordings: int
    documents: int
    speakers: int
    utterances_without_speaker: int
    languages: dict[str, int]
    words: int
    characters: int
    vocabulary: int
    symbols: dict[str, int]
    duration_seconds: Spread
    characters_per_second: Spread
    utterances_with_word_times: int
    score_histogram: list[int]
    utterances_without_score: int
    mean_score: float | None
    sample_rates: dict[str, int]
    sound: dict[str, Spread] = {}
    rejected_sentences: dict[str, int] = {}
    unmatched_hours: dict[str, float] = {}
    decisions: dict[str, int] = {}
    splits: dict[str, int] = {}
    made_with: dict[str, str] = {}
    warnings: list[str] = []
    licence: str = LICENCE


def data_card(
    manifest: Manifest,
    *,
    name: str = "mined set",
    rejected: Mapping[str, int] | None = None,
    unmatched_seconds: Mapping[str, float] | None = None,
    splits: Mapping[str, int] | None = None,
    decisions: Mapping[str, int] | None = None,
    made_with: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
) -> DataCard:
    """Count a manifest in one pass.

    ``rejected`` counts sentences and ``unmatched_seconds`` audio by reason, ``decisions`` those of a curator by kind;
    ``made_with`` names the normaliser, the recogniser and what else the set depends on; ``warnings`` are sentences
    about what could not be done. The licence line is left to the user on purpose.
    """
    tally = _Tally()
    for utterance in utterances_of(manifest):
        tally.add(utterance)
    return DataCard(
        name=name,
        utterances=tally.count,
        hours=tally.seconds / 3600,
        recordings=len(tally.recordings),
        documents=len(tally.documents),
        speakers=len(tally.speakers),
        utterances_without_speaker=tally.without_speaker,
        languages=dict(sorted(tally.languages.items())),
        words=sum(tally.vocabulary.values()),
        characters=sum(tally.symbols.values()),
        vocabulary=len(tally.vocabulary),
        symbols=dict(sorted(tally.symbols.items())),
        duration_seconds=_spread(tally.shortest, tally.seconds, tally.longest, tally.count),
        characters_per_second=_spread(tally.slowest, tally.pace, tally.fastest, tally.count),
        utterances_with_word_times=tally.with_words,
        score_histogram=tally.scores,
        utterances_without_score=tally.without_score,
        mean_score=tally.score_sum / sum(tally.scores) if sum(tally.scores) else None,
        sound={name: _spread(*spread) for name, spread in tally.sound.items()},
        sample_rates={str(rate): count for rate, count in sorted(tally.rates.items())},
        rejected_sentences=dict(sorted((rejected or {}).items())),
        unmatched_hours={reason: value / 3600 for reason, value in sorted((unmatched_seconds or {}).items())},
        decisions=dict(decisions or {}),
        splits=dict(splits or {}),
        made_with=dict(sorted((made_with or {}).items())),
        warnings=list(warnings),
    )


class _Tally:
    def __init__(self) -> None:
        self.count = self.with_words = self.without_score = self.without_speaker = 0
        self.seconds = self.pace = self.score_sum = self.longest = self.fastest = 0.0
        self.shortest = self.slowest = float("inf")
        self.recordings: set[str] = set()
        self.documents: set[str] = set()
        self.speakers: set[str] = set()
        self.languages: Counter[str] = Counter()
        self.vocabulary: Counter[str] = Counter()
        self.symbols: Counter[str] = Counter()
        self.rates: Counter[int] = Counter()
        self.sound: dict[str, tuple[float, float, float, int]] = {}
        self.scores = [0] * SCORE_BINS

    def add(self, utterance: Utterance) -> None:
        text = utterance.text or ""
        pace = len(text) / utterance.duration if utterance.duration else 0.0
        self.count += 1
        self.seconds += utterance.duration
        self.shortest, self.longest = min(self.shortest, utterance.duration), max(self.longest, utterance.duration)
        self.pace += pace
        self.slowest, self.fastest = min(self.slowest, pace), max(self.fastest, pace)
        self.recordings.add(recording_of(utterance))
        if utterance.source is not None:
            self.documents.add(utterance.source.document)
        if utterance.speaker is None:
            self.without_speaker += 1
        else:
            self.speakers.add(utterance.speaker)
        self.languages[utterance.lang or "not stated"] += 1
        self.vocabulary.update(text.split())
        self.symbols.update(character for character in text if not character.isspace())
        self.rates[utterance.sample_rate] += 1
        for name in SOUND:
            value = (utterance.custom or {}).get(name)
            if isinstance(value, (int, float)):
                least, total, most, count = self.sound.get(name, (float("inf"), 0.0, float("-inf"), 0))
                self.sound[name] = (min(least, value), total + value, max(most, value), count + 1)
        self.with_words += bool(words_of(utterance))
        if utterance.score is None:
            self.without_score += 1
        else:
            self.score_sum += utterance.score
            self.scores[min(SCORE_BINS - 1, max(0, int(utterance.score * SCORE_BINS)))] += 1


def _spread(minimum: float, total: float, maximum: float, count: int) -> Spread:
    return Spread(minimum, total / count, maximum) if count else Spread(0.0, 0.0, 0.0)


def write_card(card: DataCard, folder: Path | str) -> list[Path]:
    """Write ``card.json`` and ``README.md`` and return their paths."""
    paths = [Path(folder) / "card.json", Path(folder) / "README.md"]
    write_json(paths[0], card)
    write_text(paths[1], format_card(card))
    return paths


def format_card(card: DataCard) -> str:
    """The card as Markdown."""
    unknown = f", {card.utterances_without_speaker:,} utterances without one" if card.utterances_without_speaker else ""
    lines = [f"# {_plain(card.name)}", "", f"**Licence:** {_plain(card.licence)}", "", "| | |", "|---|---|"]
    lines += _rows(
        {
            "audio": f"{card.hours:.2f} h in {card.utterances:,} utterances of {card.recordings:,} recordings",
            "documents": f"{card.documents:,}",
            "speakers": f"{card.speakers:,}{unknown}",
            "languages": ", ".join(f"{lang} ({count:,})" for lang, count in card.languages.items()),
            "text": f"{card.words:,} words, {card.vocabulary:,} different ones, {card.characters:,} characters",
            "length (s)": _range(card.duration_seconds),
            "characters a second": _range(card.characters_per_second),
            **{SOUND[name]: _range(spread, 4 if name in SHARES else 2) for name, spread in card.sound.items()},
            "word times": f"{card.utterances_with_word_times:,} of {card.utterances:,} utterances",
            "sample rates (Hz)": ", ".join(f"{rate} ({count:,})" for rate, count in card.sample_rates.items()),
            "mean score": "none" if card.mean_score is None else f"{card.mean_score:.4f}",
        }
    )
    if any(card.score_histogram):
        lines += [
            "",
            "## Score",
            "",
            "Probability that text and audio belong together.",
            "",
            "| score | utterances | |",
        ]
        lines += ["|---|---:|---|", *_histogram(card.score_histogram)]
    lines += _section("Splits", "split", "utterances", {name: f"{n:,}" for name, n in card.splits.items()})
    decided = {kind: f"{count:,}" for kind, count in card.decisions.items()}
    lines += _section("Decisions of a curator", "decision", "sentences", decided)
    rejected = {reason: f"{count:,}" for reason, count in card.rejected_sentences.items()}
    lines += _section("Sentences that were rejected", "reason", "sentences", rejected)
    unmatched = {reason: f"{hours:.2f}" for reason, hours in card.unmatched_hours.items()}
    lines += _section("Audio without a sentence", "reason", "hours", unmatched)
    lines += _section("Made with", "part", "specification", card.made_with)
    if card.warnings:
        lines += ["", "## Warnings", "", *(f"- {_plain(warning)}" for warning in card.warnings)]
    symbols = " ".join(card.symbols)
    lines += ["", "## Symbols", "", f"{len(card.symbols):,}: `{symbols.replace('`', '')}`"]
    if "`" in card.symbols:
        lines.append("and the grave accent.")
    return "\n".join(lines) + "\n"


def _section(title: str, key: str, value: str, rows: Mapping[str, str]) -> list[str]:
    return ["", f"## {title}", "", f"| {key} | {value} |", "|---|---:|", *_rows(rows)] if rows else []


def _rows(rows: Mapping[str, str]) -> list[str]:
    return [f"| {_plain(key)} | {_plain(value)} |" for key, value in rows.items()]


def _plain(text: str) -> str:
    # Text of the user's in a Markdown table: no new cell, line or HTML.
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _range(spread: Spread, digits: int = 2) -> str:
    return f"{spread.minimum:.{digits}f} to {spread.maximum:.{digits}f}, mean {spread.mean:.{digits}f}"


def _histogram(counts: list[int]) -> list[str]:
    top = max(counts)
    first = next(index for index, count in enumerate(counts) if count)
    rows = []
    for index in range(first, len(counts)):
        low, high = index / len(counts), (index + 1) / len(counts)
        rows.append(f"| {low:.2f}–{high:.2f} | {counts[index]:,} | {'█' * round(30 * counts[index] / top)} |")
    return rows
