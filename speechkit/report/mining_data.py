"""What the mining page shows, gathered from the records of a run in a few streamed passes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data import Utterance, read_jsonl, read_manifest
from speechkit.errors import UserError
from speechkit.mining.records import (
    Gap,
    Outcome,
    PairAlignment,
    Recording,
    SelectionSummary,
    SentenceMatch,
    WordTime,
)

SCORE_BINS = 1000
SHOWN_BINS = 50
PACE_BINS, PACE_STEP = 60, 0.5  # characters a second, 0 to 30
SPEECH_RATE = 16000  # `Recording.speech` counts 16 kHz samples
PATH_POINTS = 1500


class View(msgspec.Struct, frozen=True):
    """One recording against one document, in full: what its alignment plot needs."""

    recording: Recording
    document: str
    characters: int
    path: list[tuple[int, float]]
    gaps: list[Gap]
    outcomes: list[Outcome]


class RecordingRow(msgspec.Struct, frozen=True):
    """A line of the recordings' table; times in seconds."""

    recording: str
    documents: list[str]
    seconds: float
    speech_seconds: float
    kept_seconds: float
    kept: int
    rejected: int


class MiningReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page. Times are seconds, text is counted in characters."""

    title: str
    lang: str
    audio_seconds: dict[str, float]  # kept, rejected_sentence, untranscribed, no_document, silence
    text_characters: dict[str, int]  # kept and every reason of rejection
    sentences: dict[str, int]  # the same in sentences
    kept_utterances: int
    kept_scores: list[int]  # SCORE_BINS counts of probabilities from 0 to 1
    rejected_scores: list[int]
    score_seconds: list[float]  # seconds of found sentences by probability
    score_mass: list[float]  # sum of probability * seconds, by probability
    kept_pace: list[int]
    expected_precision: float | None
    threshold: float | None
    min_precision: float | None
    best: list[Outcome]
    worst: list[Outcome]
    borderline: list[Outcome]
    views: list[View]
    rows: list[RecordingRow]
    audio_root: str
    audio_files: dict[str, str]  # of the recordings that can be heard, relative to audio_root
    seconds_taken: float | None = None
    config: dict[str, object] = {}
    versions: dict[str, str] = {}
    commands: list[str] = []


class Records(msgspec.Struct, frozen=True):
    """The stages' results, each a function that gives its records from the start whenever it is called."""

    recordings: Callable[[], Iterable[Recording]]
    alignments: Callable[[], Iterable[PairAlignment]]
    outcomes: Callable[[], Iterable[Outcome]]
    utterances: Callable[[], Iterable[Utterance]]
    summary: SelectionSummary


class _Tallies:
    """Counts over all sentences; memory does not grow with the run, but for a row a recording."""

    def __init__(self, listed: int) -> None:
        self.listed = listed
        self.characters: Counter[str] = Counter()
        self.sentences: Counter[str] = Counter()
        self.kept_scores = [0] * SCORE_BINS
        self.rejected_scores = [0] * SCORE_BINS
        self.score_seconds = [0.0] * SCORE_BINS
        self.score_mass = [0.0] * SCORE_BINS
        self.pace = [0] * PACE_BINS
        self.kept_seconds: dict[str, float] = {}
        self.kept: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.best: list[tuple[float, str, Outcome]] = []
        self.worst: list[tuple[float, str, Outcome]] = []
        self.borderline: list[tuple[float, str, Outcome]] = []

    def add_outcome(self, outcome: Outcome) -> None:
        label = "kept" if outcome.kept else outcome.reason or "not_found"
        self.characters[label] += outcome.end - outcome.begin
        self.sentences[label] += 1
        match = outcome.match
        if match is None or outcome.kept:
            return
        self.rejected[match.recording] += 1
        if match.probability is not None:
            self._score(self.rejected_scores, match.probability, match.end - match.start)
            # What the threshold alone keeps out comes first: that is what a lower one would let in.
            self._offer(self.borderline, match.probability + (outcome.reason == "low_confidence"), outcome)

    def add_kept(self, utterance: Utterance) -> None:
        outcome = _kept_outcome(utterance)
        match = outcome.match
        if match is None:
            return
        self.kept[match.recording] += 1
        kept = self.kept_seconds.get(match.recording, 0.0)
        self.kept_seconds[match.recording] = kept + utterance.duration
        self.pace[min(PACE_BINS - 1, int(match.characters_per_second / PACE_STEP))] += 1
        if match.probability is not None:
            self._score(self.kept_scores, match.probability, utterance.duration)
            self._offer(self.best, match.probability, outcome)
            self._offer(self.worst, -match.probability, outcome)

    def _score(self, counts: list[int], probability: float, seconds: float) -> None:
        place = min(SCORE_BINS - 1, max(0, int(probability * SCORE_BINS)))
        counts[place] += 1
        self.score_seconds[place] += seconds
        self.score_mass[place] += seconds * probability

    def _offer(self, heap: list[tuple[float, str, Outcome]], rank: float, outcome: Outcome) -> None:
        # The recording breaks the tie between two readings of one sentence, so that outcomes are never compared.
        tie = f"{outcome.sentence} {outcome.match.recording if outcome.match else ''}"
        heapq.heappush(heap, (rank, tie, outcome))
        if len(heap) > self.listed:
            heapq.heappop(heap)


def _kept_outcome(utterance: Utterance) -> Outcome:
    """A kept utterance as an outcome; evidence that the manifest does not hold is filled in from its alignment."""
    custom, source = utterance.custom or {}, utterance.source
    recording, sentence = str(custom.get("recording", "")), str(custom.get("sentence", utterance.id))
    text = utterance.text or ""
    items = (utterance.alignment or {}).get("word", [])
    at = utterance.offset
    match = SentenceMatch(
        sentence=sentence,
        recording=recording,
        document=source.document if source else "",
        start=at,
        end=at + utterance.duration,
        similarity=float(custom.get("similarity", 0.0)),
        edge_cer=0.0,
        margin=0.0,
        characters_per_second=len(text) / utterance.duration if utterance.duration else 0.0,
        words=[WordTime(w.symbol, at + w.start, at + w.start + w.duration, w.score or 0.0) for w in items],
        probability=utterance.score,
    )
    begin, end = (source.begin, source.end) if source else (0, 0)
    return Outcome(sentence, match.document, text, begin, end, True, (source and source.page) or 1, None, match)


def gather(
    records: Records,
    *,
    title: str,
    audio_root: Path | str,
    lang: str = "en",
    max_views: int = 12,
    listed: int = 8,
    seconds_taken: float | None = None,
    config: dict[str, object] | None = None,
    versions: dict[str, str] | None = None,
    commands: Sequence[str] = (),
) -> MiningReport:
    """Gather the page's data.

    Args:
        records: what the stages made.
        title: the run's name.
        audio_root: the folder that ``Recording.audio_filepath`` is relative to, or the one recording itself.
        lang: language of the sentences.
        max_views: how many alignments are drawn in full: half of them of the recordings that kept the smallest share
            of their speech, the others spread evenly over the run.
        listed: how many best, worst and borderline pairs are kept for listening.
        seconds_taken: how long the run took.
        config: the resolved configuration.
        versions: of the parts that the result depends on.
        commands: what to type to get this result again.

    Memory: counts, a row for each recording and its documents, and the alignments that are drawn.
    """
    tallies = _Tallies(listed)
    for outcome in records.outcomes():
        tallies.add_outcome(outcome)
    for utterance in records.utterances():
        tallies.add_kept(utterance)
    documents: dict[str, list[str]] = {}
    for alignment in records.alignments():
        documents.setdefault(alignment.recording, []).append(alignment.document)
    rows = [_row(recording, documents.get(recording.id, []), tallies) for recording in records.recordings()]
    lists = [_ranked(heap) for heap in (tallies.best, tallies.worst, tallies.borderline)]
    evidence = _evidence(lists, records)
    best, worst, borderline = ([_with_evidence(each, evidence) for each in shown] for shown in lists)
    heard = {outcome.match.recording for shown in lists for outcome in shown if outcome.match}
    summary = records.summary
    return MiningReport(
        title=title,
        lang=lang,
        audio_seconds={"kept": summary.kept_seconds, **summary.unmatched_seconds},
        text_characters=dict(tallies.characters),
        sentences=dict(tallies.sentences),
        kept_utterances=summary.kept,
        kept_scores=tallies.kept_scores,
        rejected_scores=tallies.rejected_scores,
        score_seconds=tallies.score_seconds,
        score_mass=tallies.score_mass,
        kept_pace=tallies.pace,
        expected_precision=summary.expected_precision,
        threshold=summary.threshold,
        min_precision=summary.min_precision,
        best=best,
        worst=worst,
        borderline=borderline,
        views=_views(records, rows, max_views),
        rows=rows,
        audio_root=str(audio_root),
        audio_files={each.id: each.audio_filepath for each in records.recordings() if each.id in heard},
        seconds_taken=seconds_taken,
        config=config or {},
        versions=versions or {},
        commands=list(commands),
    )


def _ranked(heap: list[tuple[float, str, Outcome]]) -> list[Outcome]:
    return [outcome for _, _, outcome in sorted(heap, key=lambda entry: (-entry[0], entry[1]))]


def _evidence(lists: Sequence[Sequence[Outcome]], records: Records) -> dict[tuple[str, str], SentenceMatch]:
    wanted = {(each.match.recording, each.sentence) for shown in lists for each in shown if each.match}
    found = {}
    for alignment in records.alignments():
        for match in alignment.matches:
            if (key := (alignment.recording, match.sentence)) in wanted:
                found[key] = match
    return found


def _with_evidence(outcome: Outcome, evidence: dict[tuple[str, str], SentenceMatch]) -> Outcome:
    match = outcome.match
    aligned = evidence.get((match.recording, outcome.sentence)) if match else None
    if match is None or aligned is None:
        return outcome
    # Selection decided on the probability and the manifest on the exact cut; the rest is the alignment's.
    whole = msgspec.structs.replace(
        aligned, start=match.start, end=match.end, probability=match.probability, words=match.words or aligned.words
    )
    return msgspec.structs.replace(outcome, match=whole)


def _row(recording: Recording, documents: list[str], tallies: _Tallies) -> RecordingRow:
    speech = sum(end - start for start, end in recording.speech) / SPEECH_RATE
    return RecordingRow(
        recording.id,
        documents,
        recording.num_samples / recording.sample_rate,
        speech,
        tallies.kept_seconds.get(recording.id, 0.0),
        tallies.kept[recording.id],
        tallies.rejected[recording.id],
    )


def _views(records: Records, rows: Sequence[RecordingRow], max_views: int) -> list[View]:
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
        outcome = _kept_outcome(utterance)
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
    """What became of the document's sentences in this recording: one may be kept here and rejected elsewhere."""
    matches = {match.sentence: match for match in alignment.matches}
    inside = []
    for outcome in sentences:
        here = kept.get((alignment.recording, outcome.sentence))
        match = matches.get(outcome.sentence)
        if here is not None:
            inside.append(_with_evidence(here, {(alignment.recording, outcome.sentence): match} if match else {}))
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
    rest = [row for row in paired if row.recording not in chosen]
    wanted = count - len(chosen)
    return chosen | {rest[index * len(rest) // wanted].recording for index in range(wanted)}


def thinned(path: Sequence[tuple[int, float]], count: int) -> list[tuple[int, float]]:
    """At most about ``count`` points of a path: those where it bends most (Douglas–Peucker, the ends stay)."""
    if len(path) <= count:
        return list(path)
    width, height = max(1e-9, path[-1][1] - path[0][1]), max(1, path[-1][0] - path[0][0])
    keep = {0, len(path) - 1}
    heap = [_bend(path, 0, len(path) - 1, width, height)]
    while heap and len(keep) < count:
        distance, at, low, high = heapq.heappop(heap)
        if distance >= 0:  # distances are negated: nothing bends any more
            break
        keep.add(at)
        for piece in ((low, at), (at, high)):
            if piece[1] - piece[0] > 1:
                heapq.heappush(heap, _bend(path, *piece, width, height))
    return [path[index] for index in sorted(keep)]


def _bend(
    path: Sequence[tuple[int, float]], low: int, high: int, width: float, height: float
) -> tuple[float, int, int, int]:
    """The point farthest from the straight line between two points: (-distance, point, low, high)."""
    (c0, s0), (c1, s1) = path[low], path[high]
    span = s1 - s0
    best, at = 0.0, low + 1
    # A long stretch is sampled: a million points need not all be measured to find where it bends.
    for index in range(low + 1, high, max(1, (high - low) // 2000)):
        c, s = path[index]
        expected = c0 + (c1 - c0) * ((s - s0) / span if span else 0.5)
        distance = abs(c - expected) / height + (0.0 if span else abs(s - s0) / width)
        if distance > best:
            best, at = distance, index
    return -best, at, low, high


def load_report_data(
    *,
    recordings: Path | str,
    alignments: Path | str,
    outcomes: Path | str,
    utterances: Path | str,
    summary: Path | str,
    **shown: Any,
) -> MiningReport:
    """Gather the page's data from the files of the mining stages; ``shown`` as in `gather`.

    Raises:
        UserError: if a file is missing, damaged or of another kind.
    """
    summaries = list(read_jsonl(summary, SelectionSummary))
    if len(summaries) != 1:
        raise UserError(f"{summary}: holds {len(summaries)} summaries and one is needed; run the selection stage again")
    records = Records(
        recordings=lambda: read_jsonl(recordings, Recording),
        alignments=lambda: read_jsonl(alignments, PairAlignment),
        outcomes=lambda: read_jsonl(outcomes, Outcome),
        utterances=lambda: read_manifest(utterances, Utterance),
        summary=summaries[0],
    )
    return gather(records, **shown)
