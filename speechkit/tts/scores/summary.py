"""Scores of synthesis systems from measured utterances, with confidence intervals and the recordings as the bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.metrics import character_errors, word_errors
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, bootstrap
from speechkit.metrics.error_rates import ErrorResult
from speechkit.metrics.speakers import similarity, speaker_bounds
from speechkit.tts.scores.measuring import Measured

RECORDINGS = "recordings"
"""Name under which the human recordings are scored."""


class Figure(msgspec.Struct, frozen=True):
    """A value with its confidence interval over ``utterances``."""

    value: float
    interval: Interval
    utterances: int


class SystemFigures(msgspec.Struct, frozen=True):
    """Scores of one system.

    Attributes:
        name: name of the system.
        utterances: number of measured utterances.
        seconds: total duration of speech.
        figures: values by measure, where taken. Rates and shares are 0 to 1: ``wer``, ``cer``, ``skipped`` and
            ``repeated`` (of words), ``misread`` (sentences with either), ``voicing_error`` (of frames),
            ``duration_error`` (mean absolute, relative to the recordings), ``wer_added`` and ``cer_added`` (minus those
            of the recordings, on common utterances); ``similarity`` is a cosine; ``noise_overall``, ``noise_signal``
            and ``noise_background`` are DNSMOS, 1 to 5; ``mcd`` is in dB, ``f0_rmse`` in hertz.
        misread: sentences that skip or repeat words: id, skipped and repeated words.
        notes: failed measures: how many utterances, and the first reason.
    """

    name: str
    utterances: int
    seconds: float
    figures: dict[str, Figure]
    misread: list[tuple[str, list[str], list[str]]]
    notes: list[str]


class SynthesisScores(msgspec.Struct, frozen=True):
    """Systems side by side.

    Attributes:
        systems: in the order given, the recordings first if there are any.
        same_speaker: similarity of recordings to others of the same speaker, the upper bound.
        other_speaker: similarity of recordings to other speakers, the lower bound; None with one speaker.
        normalizer: normaliser of texts and transcripts.
        confidence: level of the intervals.
        lang: language of the texts.
        judge: recogniser that transcribed the speech.
        aligner: recogniser that detected skipped and repeated words.
    """

    systems: list[SystemFigures]
    same_speaker: Figure | None
    other_speaker: Figure | None
    normalizer: str
    confidence: float
    lang: str
    judge: str
    aligner: str | None


class BootstrapSettings(msgspec.Struct, frozen=True):
    """Settings of the bootstrap intervals."""

    confidence: float = 0.95
    resamples: int = DEFAULT_RESAMPLES
    seed: int = 0

    def figure(self, numerators: Sequence[float], denominators: Sequence[float], root: bool = False) -> Figure:
        """Ratio of sums over utterances, or its square root."""
        table = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)], axis=1)

        def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            rates = sums[:, 0] / np.maximum(sums[:, 1], 1e-12)  # differences may be below 0
            return np.sqrt(rates) if root else rates

        interval = bootstrap(table, statistic, confidence=self.confidence, resamples=self.resamples, seed=self.seed)
        return Figure(float(statistic(table.sum(axis=0, keepdims=True))[0]), interval, len(table))

    def mean(self, values: Sequence[float]) -> Figure | None:
        """Mean over utterances; None without any."""
        return self.figure(values, [1.0] * len(values)) if values else None


def summarize(
    systems: Mapping[str, Sequence[Measured]],
    embeddings: Mapping[str, Mapping[str, Float]],
    *,
    normalizer: str,
    lang: str,
    judge: str,
    aligner: str | None,
    intervals: BootstrapSettings | None = None,
) -> SynthesisScores:
    """Score all systems.

    Args:
        systems: measured utterances by system; the recordings under ``recordings``.
        embeddings: speaker embeddings by system and id.
        normalizer: normaliser of texts and transcripts.
        lang: language of the texts.
        judge: recogniser that transcribed the speech.
        aligner: recogniser that detected skipped and repeated words.
        intervals: settings of the bootstrap.

    Raises:
        UserError: if a system has no utterances.
    """
    intervals = intervals or BootstrapSettings()
    empty = [name for name, rows in systems.items() if not rows]
    if empty:
        raise UserError(f"{empty[0]}: no utterance could be measured; its drops.jsonl gives the reasons")
    speaker_of = {row.id: row.speaker for row in systems.get(RECORDINGS, ()) if row.speaker is not None}
    recordings = {
        id_: (speaker_of[id_], embedding)
        for id_, embedding in embeddings.get(RECORDINGS, {}).items()
        if id_ in speaker_of
    }
    same, other = speaker_bounds({id_: (str(speaker), vector) for id_, (speaker, vector) in recordings.items()})
    figures = []
    for name, rows in systems.items():
        similarities = same if name == RECORDINGS else _similarities(rows, embeddings.get(name, {}), recordings)
        figures.append(_figures(name, rows, list(similarities.values()), normalizer, intervals))
        if name != RECORDINGS:
            figures[-1].figures.update(_added(rows, systems.get(RECORDINGS, ()), normalizer, intervals))
    return SynthesisScores(
        systems=sorted(figures, key=lambda system: system.name != RECORDINGS),
        same_speaker=intervals.mean(list(same.values())),
        other_speaker=intervals.mean(list(other.values())),
        normalizer=normalizer,
        confidence=intervals.confidence,
        lang=lang,
        judge=judge,
        aligner=aligner,
    )


def _similarities(
    rows: Sequence[Measured], embeddings: Mapping[str, Float], recordings: Mapping[str, tuple[str | None, Float]]
) -> dict[str, float]:
    """Similarity of each utterance to its target speaker's recordings, except the recording of the same text."""
    similarities = {}
    for row in rows:
        speaker = recordings[row.id][0] if row.id in recordings else row.speaker
        others = [vector for id_, (owner, vector) in recordings.items() if owner == speaker and id_ != row.id]
        if row.id in embeddings and others:
            similarities[row.id] = similarity(embeddings[row.id], others)
    return similarities


def _figures(
    name: str, rows: Sequence[Measured], similarities: list[float], normalizer: str, intervals: BootstrapSettings
) -> SystemFigures:
    figures: dict[str, Figure | None] = {}
    transcribed = {row.id: row for row in rows if row.heard is not None}
    if transcribed:
        references = {id_: row.text for id_, row in transcribed.items()}
        hypotheses = {id_: row.heard or "" for id_, row in transcribed.items()}
        figures["wer"] = _rate(word_errors(references, hypotheses, normalizer=normalizer), intervals)
        figures["cer"] = _rate(character_errors(references, hypotheses, normalizer=normalizer), intervals)
    misread = [row.misread for row in rows if row.misread is not None]
    if misread:
        words = [sentence.words for sentence in misread]
        figures["skipped"] = intervals.figure([len(sentence.skipped) for sentence in misread], words)
        figures["repeated"] = intervals.figure([len(sentence.repeated) for sentence in misread], words)
        wrong = [float(bool(sentence.skipped or sentence.repeated)) for sentence in misread]
        figures["misread"] = intervals.mean(wrong)
    figures["similarity"] = intervals.mean(similarities)
    noise = [row.noise for row in rows if row.noise is not None]
    for part in ("overall", "signal", "background") if noise else ():
        figures[f"noise_{part}"] = intervals.mean([getattr(scores, part) for scores in noise])
    acoustics = [row.acoustics for row in rows if row.acoustics is not None]
    if acoustics:
        frames = [difference.frames for difference in acoustics]
        figures["mcd"] = intervals.figure([difference.distance for difference in acoustics], frames)
        voiced = [difference.voiced for difference in acoustics]
        if sum(voiced):
            squares = [difference.squared_hertz for difference in acoustics]
            figures["f0_rmse"] = intervals.figure(squares, voiced, root=True)
        figures["voicing_error"] = intervals.figure([difference.voicing_errors for difference in acoustics], frames)
        figures["duration_error"] = intervals.figure(
            [abs(difference.seconds - difference.reference_seconds) for difference in acoustics],
            [difference.reference_seconds for difference in acoustics],
        )
    notes: dict[str, list[str]] = {}
    for note in (note for row in rows for note in row.notes):
        notes.setdefault(note.partition(":")[0], []).append(note)
    return SystemFigures(
        name=name,
        utterances=len(rows),
        seconds=sum(row.seconds for row in rows),
        figures={key: figure for key, figure in figures.items() if figure is not None},
        misread=[
            (row.id, row.misread.skipped, row.misread.repeated)
            for row in rows
            if row.misread is not None and (row.misread.skipped or row.misread.repeated)
        ],
        notes=[f"{len(texts)} of {len(rows)} utterances without {kind}; {texts[0]}" for kind, texts in notes.items()],
    )


def _added(
    rows: Sequence[Measured], recordings: Sequence[Measured], normalizer: str, intervals: BootstrapSettings
) -> dict[str, Figure]:
    """Error rates minus those of the recordings of the same utterances, resampled jointly."""
    recorded = {row.id: row for row in recordings if row.heard is not None}
    both = [row for row in rows if row.heard is not None and row.id in recorded]
    if not both:
        return {}
    references = {row.id: row.text for row in both}
    sides = ({row.id: row.heard or "" for row in both}, {row.id: recorded[row.id].heard or "" for row in both})
    figures = {}
    for name, count in (("wer_added", word_errors), ("cer_added", character_errors)):
        ours, theirs = (count(references, hypotheses, normalizer=normalizer).utterances for hypotheses in sides)
        added = [a.counts.errors - b.counts.errors for a, b in zip(ours, theirs, strict=True)]
        figures[name] = intervals.figure(added, [utterance.counts.reference_tokens for utterance in ours])
    return figures


def _rate(result: ErrorResult, intervals: BootstrapSettings) -> Figure:
    counts = [utterance.counts for utterance in result.utterances]
    return intervals.figure([count.errors for count in counts], [count.reference_tokens for count in counts])
