"""Collect the data of the mining page from the records of a run in a few streamed passes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechkit.data import Utterance
from speechkit.mining.records import Outcome, Recording
from speechkit.report.mining_data import SPEECH_RATE, MiningReport, RecordingRow, Records
from speechkit.report.mining_evidence import evidence_of, kept_outcome, with_evidence
from speechkit.report.mining_sentences import KEPT, sentence_rows
from speechkit.report.mining_views import views_of

SCORE_BINS = 1000
PACE_BINS, PACE_STEP = 60, 0.5  # characters a second, 0 to 30


def gather(
    records: Records,
    *,
    title: str,
    audio_root: Path | str,
    lang: str = "en",
    max_views: int = 12,
    listed: int = 8,
    seconds_taken: float | None = None,
    config: Mapping[str, object] | None = None,
    versions: dict[str, str] | None = None,
    commands: Sequence[str] = (),
) -> MiningReport:
    """Collect the data of the page.

    Args:
        records: results of the stages.
        title: the run's name.
        audio_root: the folder that ``Recording.audio_filepath`` is relative to, or a single recording.
        lang: language of the sentences.
        max_views: number of alignments that are plotted: half of them of the recordings with the smallest share of kept
            speech, the others spread evenly over the run.
        listed: number of best, worst and borderline pairs to listen to.
        seconds_taken: duration of the run.
        config: the resolved configuration.
        versions: versions of the components that the result depends on.
        commands: commands that reproduce this result.

    Memory: counts, one row per sentence and per recording, and the plotted alignments.
    """
    tallies = Tallies(listed)
    for outcome in records.outcomes():
        tallies.add_outcome(outcome)
    for utterance in records.utterances():
        tallies.add_kept(utterance)
    documents: dict[str, list[str]] = {}
    for alignment in records.alignments():
        documents.setdefault(alignment.recording, []).append(alignment.document)
    rows = [_row(recording, documents.get(recording.id, []), tallies) for recording in records.recordings()]
    lists = [ranked(heap) for heap in (tallies.best, tallies.worst, tallies.borderline)]
    evidence = evidence_of(lists, records)
    best, worst, borderline = ([with_evidence(item, evidence) for item in shown] for shown in lists)
    summary = records.summary
    sentences = sentence_rows(records)
    placed = {row.recording for row in sentences}
    return MiningReport(
        title=title,
        lang=lang,
        audio_seconds={
            "kept": sum(row.seconds for row in sentences if row.reason == KEPT),
            **summary.unmatched_seconds,
        },
        text_characters=dict(tallies.characters),
        sentences=dict(tallies.sentences),
        kept_utterances=summary.kept,
        kept_scores=tallies.kept_scores,
        rejected_scores=tallies.rejected_scores,
        sentence_rows=sentences,
        run=summary.run,
        kept_pace=tallies.pace,
        expected_precision=summary.expected_precision,
        threshold=summary.threshold,
        min_precision=summary.min_precision,
        best=best,
        worst=worst,
        borderline=borderline,
        views=views_of(records, rows, max_views),
        rows=rows,
        audio_root=str(audio_root),
        recordings=[item for item in records.recordings() if item.id in placed],
        seconds_taken=seconds_taken,
        config=dict(config or {}),
        versions=versions or {},
        commands=list(commands),
    )


def _row(recording: Recording, documents: list[str], tallies: Tallies) -> RecordingRow:
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


class Tallies:
    """Counts over all sentences; memory is constant except for one row per recording."""

    def __init__(self, listed: int) -> None:
        self.listed = listed
        self.characters: Counter[str] = Counter()
        self.sentences: Counter[str] = Counter()
        self.kept_scores = [0] * SCORE_BINS
        self.rejected_scores = [0] * SCORE_BINS
        self.pace = [0] * PACE_BINS
        self.kept_seconds: dict[str, float] = {}
        self.kept: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.best: list[tuple[float, str, Outcome]] = []
        self.worst: list[tuple[float, str, Outcome]] = []
        self.borderline: list[tuple[float, str, Outcome]] = []

    def add_outcome(self, outcome: Outcome) -> None:
        """Count a sentence; a rejected one may be listed."""
        label = "kept" if outcome.kept else outcome.reason or "not_found"
        self.characters[label] += outcome.end - outcome.begin
        self.sentences[label] += 1
        match = outcome.match
        if match is None or outcome.kept:
            return
        self.rejected[match.recording] += 1
        if match.probability is not None:
            self._score(self.rejected_scores, match.probability)
            # Sentences rejected by the threshold alone come first: a lower threshold would accept them.
            self._offer(self.borderline, match.probability + (outcome.reason == "low_confidence"), outcome)

    def add_kept(self, utterance: Utterance) -> None:
        """Count a kept utterance, which may be listed."""
        outcome = kept_outcome(utterance)
        match = outcome.match
        if match is None:
            return
        self.kept[match.recording] += 1
        seconds = self.kept_seconds.get(match.recording, 0.0)
        self.kept_seconds[match.recording] = seconds + utterance.duration
        self.pace[min(PACE_BINS - 1, int(match.characters_per_second / PACE_STEP))] += 1
        if match.probability is not None:
            self._score(self.kept_scores, match.probability)
            self._offer(self.best, match.probability, outcome)
            self._offer(self.worst, -match.probability, outcome)

    def _score(self, counts: list[int], probability: float) -> None:
        counts[min(SCORE_BINS - 1, max(0, int(probability * SCORE_BINS)))] += 1

    def _offer(self, heap: list[tuple[float, str, Outcome]], rank: float, outcome: Outcome) -> None:
        # Ties between two readings of one sentence are broken by recording, so that outcomes are never compared.
        tie = f"{outcome.sentence} {outcome.match.recording if outcome.match else ''}"
        heapq.heappush(heap, (rank, tie, outcome))
        if len(heap) > self.listed:
            heapq.heappop(heap)


def ranked(heap: list[tuple[float, str, Outcome]]) -> list[Outcome]:
    """Outcomes of a heap, highest rank first."""
    return [outcome for _, _, outcome in sorted(heap, key=lambda entry: (-entry[0], entry[1]))]
