"""Rows of the page's sentence list: text, recognised text of the same segment, and outcome."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from speechkit.data import Utterance
from speechkit.mining.records import Outcome
from speechkit.report.mining_data import PrecisionPoint, RecognisedTimes, Records, SentenceRow

KEPT = "kept"
QUALITY = {
    "snr_db": "SNR (dB)",
    "bandwidth_hz": "Bandwidth (Hz)",
    "clipped": "Clipped (share)",
    "voice": "Voice (likeness)",
    "dnsmos": "DNSMOS",
    "characters_per_second": "Characters per second",
    "character_errors": "Character errors (share)",
}
"""Quality columns of the manifest that the list can be sorted and filtered by, with their labels."""
WEIGHED = (KEPT, "low_confidence")
"""Outcomes that the threshold decides; other reasons reject a sentence whatever its probability."""


def sentence_rows(records: Records) -> list[SentenceRow]:
    """All located sentences, kept or rejected, and all others, in document order.

    Memory: the rows; recognised text is read one recording at a time.
    """
    quality = {measured.id: measured.columns for measured in records.quality()}
    located = (utterance for source in (records.utterances, records.candidates) for utterance in source())
    rows = [_row(utterance, quality.get(utterance.id, {})) for utterance in located]
    rows += [_not_located(outcome) for outcome in records.outcomes() if not outcome.kept and outcome.match is None]
    rows.sort(key=lambda row: (row.document, row.begin, row.recording, row.start))
    by_recording: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.recording:
            by_recording[row.recording].append(index)
    for recognised in records.heard():
        for index in by_recording.get(recognised.recording, ()):
            row = rows[index]
            rows[index] = msgspec.structs.replace(
                row, heard=recognised_between(recognised, row.start, row.start + row.seconds)
            )
    return rows


def recognised_between(recognised: RecognisedTimes, start: float, end: float) -> str:
    """Recognised characters whose midpoint lies between two times in seconds."""
    middles = (recognised.starts + recognised.ends) / 2
    first, last = np.searchsorted(middles, [start, end])
    return recognised.text[first:last].strip()


def _row(utterance: Utterance, quality: Mapping[str, float]) -> SentenceRow:
    custom, source = utterance.custom or {}, utterance.source
    columns = {**custom, **quality}
    return SentenceRow(
        id=utterance.id,
        sentence=str(custom.get("sentence", utterance.id)),
        recording=str(custom.get("recording", "")),
        document=source.document if source else "",
        page=(source and source.page) or 1,
        begin=source.begin if source else 0,
        text=utterance.text or "",
        reason=str(custom.get("reason", KEPT)),
        start=round(utterance.offset, 4),
        seconds=round(utterance.duration, 4),
        probability=utterance.score,
        similarity=float(custom.get("similarity", 0.0)),
        quality={name: round(float(columns[name]), 4) for name in QUALITY if columns.get(name) is not None},
    )


def _not_located(outcome: Outcome) -> SentenceRow:
    return SentenceRow(
        id="",
        sentence=outcome.sentence,
        recording="",
        document=outcome.document,
        page=outcome.page,
        begin=outcome.begin,
        text=outcome.text,
        reason=outcome.reason or "not_found",
    )


def precision_points(rows: Iterable[SentenceRow]) -> list[PrecisionPoint]:
    """Effect of each probability as a threshold, highest first; equal probabilities are one point.

    The precision is the mean probability of the kept sentences, as in the selection itself.
    """
    weighed = [(row.probability, row.seconds) for row in rows if row.probability is not None and row.reason in WEIGHED]
    points: list[PrecisionPoint] = []
    seconds = mass = 0.0
    for count, (probability, length) in enumerate(sorted(weighed, reverse=True), 1):
        seconds += length
        mass += probability
        point = PrecisionPoint(probability, mass / count, seconds, count)
        if points and points[-1].threshold == probability:
            points[-1] = point
        else:
            points.append(point)
    return points


def chosen_point(points: Sequence[PrecisionPoint], threshold: float | None) -> PrecisionPoint | None:
    """The point of the chosen threshold: the last one at or above it, None if nothing was kept."""
    at_or_above = [point for point in points if threshold is not None and point.threshold >= threshold]
    return at_or_above[-1] if at_or_above else None


def columns(rows: Sequence[SentenceRow], clips: Sequence[str | None], files: dict[str, str]) -> dict[str, Any]:
    """The rows in column format for the page's script; names and reasons are indices.

    Args:
        rows: the sentences.
        clips: names of their embedded audio blocks.
        files: paths of the recordings next to the page, relative to it.
    """
    recordings, documents, reasons = ({name: index for index, name in enumerate(sorted(names))} for names in (
        {row.recording for row in rows}, {row.document for row in rows}, {row.reason for row in rows}
    ))  # fmt: skip
    return {
        "recordings": list(recordings),
        "documents": list(documents),
        "reasons": list(reasons),
        "files": [files.get(name, "") for name in recordings],
        "recording": [recordings[row.recording] for row in rows],
        "document": [documents[row.document] for row in rows],
        "reason": [reasons[row.reason] for row in rows],
        "id": [row.id for row in rows],
        "sentence": [row.sentence for row in rows],
        "page": [row.page for row in rows],
        "text": [row.text for row in rows],
        "heard": [row.heard for row in rows],
        "start": [row.start for row in rows],
        "seconds": [row.seconds for row in rows],
        "probability": [row.probability for row in rows],
        "similarity": [row.similarity for row in rows],
        "quality": [
            {"name": name, "label": label, "values": [row.quality.get(name) for row in rows]}
            for name, label in QUALITY.items()
            if any(name in row.quality for row in rows)
        ],
        "clip": [name or "" for name in clips],
    }
