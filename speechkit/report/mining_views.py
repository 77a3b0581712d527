"""Select the recordings whose alignments are plotted."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import msgspec

from speechkit.mining.records import Outcome, PairAlignment
from speechkit.report.mining_data import RecordingRow, Records, View
from speechkit.report.mining_evidence import kept_outcome, with_evidence

PATH_POINTS = 1500


def views_of(records: Records, rows: Sequence[RecordingRow], max_views: int) -> list[View]:
    """At most ``max_views`` alignments: of recordings with little kept speech, and of others spread over the run."""
    chosen = _chosen(rows, max_views)
    drawn: list[PairAlignment] = []
    for alignment in records.alignments():
        if alignment.recording in chosen and len(drawn) < max_views:
            drawn.append(alignment)
    documents = {alignment.document for alignment in drawn}
    sentences: dict[str, list[Outcome]] = {}
    for outcome in records.outcomes():
        if outcome.document in documents:
            sentences.setdefault(outcome.document, []).append(outcome)
    kept: dict[tuple[str, str], Outcome] = {}
    for utterance in records.utterances():
        outcome = kept_outcome(utterance)
        if outcome.match and outcome.match.recording in chosen:
            kept[outcome.match.recording, outcome.sentence] = outcome
    by_id = {recording.id: recording for recording in records.recordings() if recording.id in chosen}
    views = []
    for alignment in drawn:
        inside = _outcomes_in(alignment, sentences.get(alignment.document, []), kept)
        length = max([1, *(point[0] for point in alignment.path), *(outcome.end for outcome in inside)])
        path = thinned(alignment.path, PATH_POINTS)
        views.append(View(by_id[alignment.recording], alignment.document, length, path, alignment.gaps, inside))
    order = {row.recording: index for index, row in enumerate(rows)}
    views.sort(key=lambda view: (order[view.recording.id], view.document))
    return views


def _outcomes_in(
    alignment: PairAlignment, sentences: Sequence[Outcome], kept: dict[tuple[str, str], Outcome]
) -> list[Outcome]:
    """Outcomes of the document's sentences in this recording: a sentence may be kept here and rejected elsewhere."""
    matches = {match.sentence: match for match in alignment.matches}
    inside = []
    for outcome in sentences:
        kept_here = kept.get((alignment.recording, outcome.sentence))
        match = matches.get(outcome.sentence)
        if kept_here is not None:
            inside.append(with_evidence(kept_here, {(alignment.recording, outcome.sentence): match} if match else {}))
        elif match is None:
            inside.append(
                msgspec.structs.replace(outcome, match=None, kept=False, reason=outcome.reason or "not_found")
            )
        else:
            decided = outcome.match if outcome.match and outcome.match.recording == alignment.recording else None
            if decided is not None:
                match = msgspec.structs.replace(match, probability=decided.probability)
            inside.append(msgspec.structs.replace(outcome, match=match, kept=False))
    return inside


def _chosen(rows: Sequence[RecordingRow], count: int) -> set[str]:
    paired = [row for row in rows if row.documents]
    if len(paired) <= count:
        return {row.recording for row in paired}
    poor = sorted(paired, key=lambda row: row.kept_seconds / max(row.speech_seconds, 1e-9))[: count // 2]
    chosen = {row.recording for row in poor}
    others = [row for row in paired if row.recording not in chosen]
    wanted = count - len(chosen)
    return chosen | {others[index * len(others) // wanted].recording for index in range(wanted)}


def thinned(path: Sequence[tuple[int, float]], count: int) -> list[tuple[int, float]]:
    """Simplify a path to about ``count`` points (Douglas–Peucker; the ends are kept)."""
    if len(path) <= count:
        return list(path)
    width, height = max(1e-9, path[-1][1] - path[0][1]), max(1, path[-1][0] - path[0][0])
    keep = {0, len(path) - 1}
    heap = [_bend(path, 0, len(path) - 1, width, height)]
    while heap and len(keep) < count:
        distance, at, low, high = heapq.heappop(heap)
        if distance >= 0:  # distances are negated: the rest is straight
            break
        keep.add(at)
        for piece in ((low, at), (at, high)):
            if piece[1] - piece[0] > 1:
                heapq.heappush(heap, _bend(path, *piece, width, height))
    return [path[index] for index in sorted(keep)]


def _bend(
    path: Sequence[tuple[int, float]], low: int, high: int, width: float, height: float
) -> tuple[float, int, int, int]:
    """Point farthest from the line between two points: (-distance, point, low, high)."""
    (c0, s0), (c1, s1) = path[low], path[high]
    span = s1 - s0
    best, at = 0.0, low + 1
    # A long segment is subsampled: the bend can be found without measuring a million points.
    for index in range(low + 1, high, max(1, (high - low) // 2000)):
        c, s = path[index]
        expected = c0 + (c1 - c0) * ((s - s0) / span if span else 0.5)
        distance = abs(c - expected) / height + (0.0 if span else abs(s - s0) / width)
        if distance > best:
            best, at = distance, index
    return -best, at, low, high
