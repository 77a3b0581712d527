"""Counts over all sentences of a run, and the few that are listed."""

from __future__ import annotations

import heapq
from collections import Counter

from speechkit.data import Utterance
from speechkit.mining.records import Outcome
from speechkit.report.mining_evidence import kept_outcome

SCORE_BINS = 1000
PACE_BINS, PACE_STEP = 60, 0.5  # characters a second, 0 to 30


class Tallies:
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
        """Count a sentence; a rejected one may be listed."""
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
        """Count a kept utterance, which may be listed."""
        outcome = kept_outcome(utterance)
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


def ranked(heap: list[tuple[float, str, Outcome]]) -> list[Outcome]:
    """A list's outcomes, the highest rank first."""
    return [outcome for _, _, outcome in sorted(heap, key=lambda entry: (-entry[0], entry[1]))]
