"""The mining page's data, gathered from the records of a run in a few streamed passes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechkit.data import Utterance, read_jsonl, read_manifest
from speechkit.errors import UserError
from speechkit.mining.records import Outcome, PairAlignment, Recording, SelectionSummary
from speechkit.report.mining_data import SPEECH_RATE, MiningReport, RecordingRow, Records
from speechkit.report.mining_evidence import evidence_of, with_evidence
from speechkit.report.mining_tallies import Tallies, ranked
from speechkit.report.mining_views import views_of


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
    best, worst, borderline = ([with_evidence(each, evidence) for each in shown] for shown in lists)
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
        views=views_of(records, rows, max_views),
        rows=rows,
        audio_root=str(audio_root),
        audio_files={each.id: each.audio_filepath for each in records.recordings() if each.id in heard},
        seconds_taken=seconds_taken,
        config=config or {},
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
