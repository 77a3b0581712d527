"""Measured utterances as figures of systems, with intervals over utterances and the recordings' own as the bound."""

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
"""The system that is no system: what was recorded."""


class Figure(msgspec.Struct, frozen=True):
    """A figure with its interval over ``utterances``."""

    value: float
    interval: Interval
    utterances: int


class SystemFigures(msgspec.Struct, frozen=True):
    """What a system is worth.

    Attributes:
        name: of the system.
        utterances: that were measured.
        seconds: of speech.
        figures: by measure, those that were taken. Rates and shares are 0 to 1: ``wer``, ``cer``, ``skipped`` and
            ``repeated`` (of words), ``misread`` (sentences with either), ``voicing_error`` (of frames),
            ``duration_error`` (mean absolute, of the recordings' length), ``wer_added`` and ``cer_added`` (to those of
            the recordings, of the utterances that both have); ``similarity`` is a cosine; ``noise_overall``,
            ``noise_signal`` and ``noise_background`` are DNSMOS, 1 to 5; ``mcd`` is in dB, ``f0_rmse`` in hertz.
        misread: the sentences that skip or repeat words: id, skipped and repeated words.
        notes: what could not be measured: how often, and the first reason.
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
        systems: in the order given; the recordings are the first where there are any.
        same_speaker: similarity of a recording to its speaker's others: the upper bound.
        other_speaker: similarity of a recording to other speakers: the lower bound; None with one speaker.
        normalizer: of words.
        confidence: of the intervals.
        lang: of the texts.
        judge: who heard the words.
        aligner: who found skipped and repeated words.
    """

    systems: list[SystemFigures]
    same_speaker: Figure | None
    other_speaker: Figure | None
    normalizer: str
    confidence: float
    lang: str
    judge: str
    aligner: str | None


class Drawn(msgspec.Struct, frozen=True):
    """How intervals are drawn."""

    confidence: float = 0.95
    resamples: int = DEFAULT_RESAMPLES
    seed: int = 0

    def figure(self, numerators: Sequence[float], denominators: Sequence[float], root: bool = False) -> Figure:
        """A ratio of sums over utterances, or its root."""
        table = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)], axis=1)

        def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            rates = sums[:, 0] / np.maximum(sums[:, 1], 1e-12)  # differences may be below 0
            return np.sqrt(rates) if root else rates

        interval = bootstrap(table, statistic, confidence=self.confidence, resamples=self.resamples, seed=self.seed)
        return Figure(float(statistic(table.sum(axis=0, keepdims=True))[0]), interval, len(table))

    def mean(self, values: Sequence[float]) -> Figure | None:
        """A mean over utterances; None of none."""
        return self.figure(values, [1.0] * len(values)) if values else None


def summarize(
    systems: Mapping[str, Sequence[Measured]],
    embeddings: Mapping[str, Mapping[str, Float]],
    *,
    normalizer: str,
    lang: str,
    judge: str,
    aligner: str | None,
    drawn: Drawn | None = None,
) -> SynthesisScores:
    """The figures of every system.

    Args:
        systems: by name; the recordings under ``recordings``.
        embeddings: of speakers, by system and id.
        normalizer: of words.
        lang: of the texts.
        judge: who heard the words.
        aligner: who found skipped and repeated words.
        drawn: how intervals are drawn.

    Raises:
        UserError: if a system has no utterance.
    """
    drawn = drawn or Drawn()
    empty = [name for name, rows in systems.items() if not rows]
    if empty:
        raise UserError(f"{empty[0]}: no utterance could be measured; its drops.jsonl says why")
    speaker_of = {row.id: row.speaker for row in systems.get(RECORDINGS, ()) if row.speaker is not None}
    known = {name: found for name, found in embeddings.get(RECORDINGS, {}).items() if name in speaker_of}
    recordings = {name: (speaker_of[name], found) for name, found in known.items()}
    same, other = speaker_bounds({name: (str(speaker), found) for name, (speaker, found) in recordings.items()})
    figures = []
    for name, rows in systems.items():
        alike = same if name == RECORDINGS else _similarities(rows, embeddings.get(name, {}), recordings)
        figures.append(_figures(name, rows, list(alike.values()), normalizer, drawn))
        if name != RECORDINGS:
            figures[-1].figures.update(_added(rows, systems.get(RECORDINGS, ()), normalizer, drawn))
    return SynthesisScores(
        systems=sorted(figures, key=lambda each: each.name != RECORDINGS),
        same_speaker=drawn.mean(list(same.values())),
        other_speaker=drawn.mean(list(other.values())),
        normalizer=normalizer,
        confidence=drawn.confidence,
        lang=lang,
        judge=judge,
        aligner=aligner,
    )


def _similarities(
    rows: Sequence[Measured], embeddings: Mapping[str, Float], recordings: Mapping[str, tuple[str | None, Float]]
) -> dict[str, float]:
    """Of each utterance to the recordings of whom it should sound like, without the recording of its own text."""
    similarities = {}
    for row in rows:
        speaker = recordings[row.id][0] if row.id in recordings else row.speaker
        own = [each for name, (who, each) in recordings.items() if who == speaker and name != row.id]
        if row.id in embeddings and own:
            similarities[row.id] = similarity(embeddings[row.id], own)
    return similarities


def _figures(
    name: str, rows: Sequence[Measured], similarities: list[float], normalizer: str, drawn: Drawn
) -> SystemFigures:
    figures: dict[str, Figure | None] = {}
    judged = {row.id: row for row in rows if row.heard is not None}
    if judged:
        references = {name: row.text for name, row in judged.items()}
        hypotheses = {name: row.heard or "" for name, row in judged.items()}
        figures["wer"] = _rate(word_errors(references, hypotheses, normalizer=normalizer), drawn)
        figures["cer"] = _rate(character_errors(references, hypotheses, normalizer=normalizer), drawn)
    read = [row.misread for row in rows if row.misread is not None]
    if read:
        words = [each.words for each in read]
        figures["skipped"] = drawn.figure([len(each.skipped) for each in read], words)
        figures["repeated"] = drawn.figure([len(each.repeated) for each in read], words)
        figures["misread"] = drawn.mean([float(bool(each.skipped or each.repeated)) for each in read])
    figures["similarity"] = drawn.mean(similarities)
    noise = [row.noise for row in rows if row.noise is not None]
    for part in ("overall", "signal", "background") if noise else ():
        figures[f"noise_{part}"] = drawn.mean([getattr(each, part) for each in noise])
    compared = [row.acoustics for row in rows if row.acoustics is not None]
    if compared:
        frames = [each.frames for each in compared]
        lasted = [each.reference_seconds for each in compared]
        figures["mcd"] = drawn.figure([each.distance for each in compared], frames)
        squares, voiced = [each.squared_hertz for each in compared], [each.voiced for each in compared]
        if sum(voiced):
            figures["f0_rmse"] = drawn.figure(squares, voiced, root=True)
        figures["voicing_error"] = drawn.figure([each.voicing_errors for each in compared], frames)
        differences = [abs(each.seconds - each.reference_seconds) for each in compared]
        figures["duration_error"] = drawn.figure(differences, lasted)
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
        notes=[f"{len(said)} of {len(rows)} utterances without {kind}; {said[0]}" for kind, said in notes.items()],
    )


def _added(
    rows: Sequence[Measured], recordings: Sequence[Measured], normalizer: str, drawn: Drawn
) -> dict[str, Figure]:
    """Error rates minus those of the recordings of the same utterances, drawn together."""
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
        figures[name] = drawn.figure(added, [each.counts.reference_tokens for each in ours])
    return figures


def _rate(result: ErrorResult, drawn: Drawn) -> Figure:
    counts = [utterance.counts for utterance in result.utterances]
    return drawn.figure([each.errors for each in counts], [each.reference_tokens for each in counts])
