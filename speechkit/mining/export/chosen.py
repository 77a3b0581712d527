"""The sentences of the set: those that selection kept, with a curator's decisions applied."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.data.manifest import read_jsonl
from speechkit.data.records import Utterance
from speechkit.mining.decisions import (
    Decision,
    by_id,
    counted,
    curated,
    curated_outcome,
    in_order,
    read_decisions,
)
from speechkit.mining.records import Outcome, Recording, SelectionSummary, UnmatchedStretch
from speechkit.mining.selection import Span, unmatched_stretches

if TYPE_CHECKING:
    from speechkit.pipeline import Context


@dataclass(frozen=True)
class ChosenRows:
    """The sentences of the set and the reasons of the others, streamed from the results of selection.

    ``decided`` are a curator's decisions by id, and ``counts`` their number by kind. Without decisions
    nothing changes.
    """

    inputs: Mapping[str, Path]
    decided: dict[str, Decision] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def utterances(self) -> Iterable[Utterance]:
        """The chosen sentences in order of recording and time."""
        kept = self._rows("utterances")
        return curated(kept, self._rows("candidates"), self.decided) if self.decided else kept

    def located(self) -> Iterable[Utterance]:
        """Every sentence that was located, kept or not, in order of recording and time; decisions change nothing."""
        return in_order(self._rows("utterances"), self._rows("candidates"))

    def outcomes(self) -> Iterator[Outcome]:
        """One for every sentence of every document."""
        outcomes = read_jsonl(self.inputs["outcomes"], Outcome)
        if not self.decided:
            yield from outcomes
            return
        kept = {str((row.custom or {}).get("sentence")) for row in self.utterances()}
        for outcome in outcomes:
            yield curated_outcome(outcome, kept)

    def unmatched(self) -> Iterator[UnmatchedStretch]:
        """The audio that no chosen sentence covers."""
        before = read_jsonl(self.inputs["unmatched"], UnmatchedStretch)
        if not self.decided:
            yield from before
            return
        unpaired = {stretch.recording for stretch in before if stretch.reason == "no_document"}
        kept, located = _spans(self.utterances()), _spans(self._rows("utterances"), self._rows("candidates"))
        for recording in read_jsonl(self.inputs["recordings"], Recording):
            name = recording.id
            yield from unmatched_stretches(recording, kept[name], located[name], name not in unpaired)

    def summary(self) -> SelectionSummary:
        """The sums; the expected precision is that of the sentences that nobody decided about."""
        summary = next(iter(read_jsonl(self.inputs["summary"], SelectionSummary)))
        if not self.decided:
            return summary
        kept, kept_seconds, undecided_scores = 0, 0.0, []
        for row in self.utterances():
            kept += 1
            kept_seconds += row.duration
            if row.id not in self.decided:
                undecided_scores.append(row.score or 0.0)
        unmatched: dict[str, float] = defaultdict(float)
        for stretch in self.unmatched():
            unmatched[stretch.reason] += stretch.end - stretch.start
        return msgspec.structs.replace(
            summary,
            expected_precision=sum(undecided_scores) / len(undecided_scores) if undecided_scores else None,
            kept=kept,
            kept_seconds=kept_seconds,
            rejected=dict(Counter(each.reason for each in self.outcomes() if each.reason is not None)),
            unmatched_seconds=dict(unmatched),
        )

    def _rows(self, name: str) -> Iterable[Utterance]:
        return read_jsonl(self.inputs[name], Utterance)


def _spans(*groups: Iterable[Utterance]) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = defaultdict(list)
    for rows in groups:
        for row in rows:
            spans[str((row.custom or {}).get("recording"))].append((row.offset, row.offset + row.duration))
    return spans


def select_rows(context: Context) -> ChosenRows:
    """The chosen rows of a run, with the decisions that the stage's settings name; kept rows that go are dropped.

    Raises:
        UserError: if the decisions are of another run or about sentences that it does not have.
    """
    path = context.config.decisions
    if path is None:
        return ChosenRows(context.inputs)
    kept = {row.id for row in read_jsonl(context.inputs["utterances"], Utterance)}
    candidates = {row.id for row in read_jsonl(context.inputs["candidates"], Utterance)}
    run = next(iter(read_jsonl(context.inputs["summary"], SelectionSummary))).run
    decided = by_id(read_decisions(context.inputs["decisions"]), path, run, kept | candidates)
    for each in decided.values():
        if each.decision == "reject" and each.id in kept:
            context.drop(each.id, "curator", "a curator rejected it")
    return ChosenRows(context.inputs, decided, counted(decided.values(), candidates))
