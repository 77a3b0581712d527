"""Page on synthetic speech: measures, and audio samples beside the recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from speechkit.data.manifest import audio_path, read_manifest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_bytes, write_json
from speechkit.report.page import write_page
from speechkit.report.player import CLIP_RATE, Clip, clip_block, encode_clip, read_clip, wave_outline
from speechkit.report.results import Column, Table, Value, interval_plot, mark_best, percent
from speechkit.tts.scores.measuring import Measured
from speechkit.tts.scores.summary import RECORDINGS, BootstrapSettings, Figure, SynthesisScores, summarize

LONGEST_CLIP_SECONDS = 60.0
MAX_MISREAD = 100


class _Shown(NamedTuple):
    """Display of a measure: its name, direction and format."""

    name: str
    better: Literal["higher", "lower"]
    value: Callable[[Figure], Value]


def _rate(figure: Figure) -> Value:
    return percent(figure.value, figure.interval)


def _points(figure: Figure) -> Value:
    return percent(figure.value, figure.interval, signed=True)


def _number(digits: int) -> Callable[[Figure], Value]:
    return lambda figure: Value(figure.value, figure.interval.low, figure.interval.high, digits=digits)


SHOWN = {
    "wer": _Shown("word error rate, %", "lower", _rate),
    "cer": _Shown("character error rate, %", "lower", _rate),
    "wer_added": _Shown("words: added to the recordings' rate, points", "lower", _points),
    "cer_added": _Shown("characters: added to the recordings' rate, points", "lower", _points),
    "skipped": _Shown("skipped words, %", "lower", _rate),
    "repeated": _Shown("repeated words, %", "lower", _rate),
    "misread": _Shown("sentences with either, %", "lower", _rate),
    "similarity": _Shown("speaker similarity, cosine", "higher", _number(3)),
    "noise_overall": _Shown("DNSMOS overall (noise, no opinion on synthesis), 1 to 5", "higher", _number(2)),
    "noise_signal": _Shown("DNSMOS signal", "higher", _number(2)),
    "noise_background": _Shown("DNSMOS background", "higher", _number(2)),
    "mcd": _Shown("mel-cepstral distance, dB", "lower", _number(2)),
    "f0_rmse": _Shown("F0 root mean square error, Hz", "lower", _number(1)),
    "voicing_error": _Shown("voicing error, % of frames", "lower", _rate),
    "duration_error": _Shown("duration error, % of the recordings", "lower", _rate),
}


def figures_table(scores: SynthesisScores) -> Table:
    """A row per measure and a column per system; the recordings never count as the best."""
    rows: list[list[Any]] = []
    for key, shown in SHOWN.items():
        figures = [system.figures.get(key) for system in scores.systems]
        if not any(figures):
            continue
        values = [Value(None) if figure is None else shown.value(figure) for figure in figures]
        own = [number for number, system in enumerate(scores.systems) if system.name != RECORDINGS]
        if len(own) > 1:
            for number, value in zip(own, mark_best([values[n] for n in own], shown.better), strict=True):
                values[number] = value
        rows.append([f"{shown.name} {'↑' if shown.better == 'higher' else '↓'}", *values])
    names = [Column(system.name, numeric=True, wrap=True) for system in scores.systems]
    caption = f"Synthetic speech with intervals at {scores.confidence:.0%} over utterances"
    return Table([Column("measure", wrap=True), *names], rows, caption)


def bounds_lines(scores: SynthesisScores) -> list[str]:
    """Reference values for interpreting the measures."""
    lines = [
        f"Words are judged by {scores.judge} under the normaliser {scores.normalizer}; the recordings' own rate is "
        "what a perfect voice would get."
    ]
    if scores.aligner is not None:
        lines.append(f"Skipped and repeated words are found by the CTC alignments of {scores.aligner}.")
    if scores.same_speaker is not None:
        line = f"Recordings of one speaker resemble one another by {_number(3)(scores.same_speaker)}"
        other = scores.other_speaker
        line += "; there is no other speaker." if other is None else f", those of others by {_number(3)(other)}."
        lines.append(line)
    for system in scores.systems:
        lines += [f"{system.name}: {note}" for note in system.notes]
    return lines


def markdown(scores: SynthesisScores) -> str:
    """The table and its reference values."""
    return figures_table(scores).markdown() + "\n" + "".join(f"- {line}\n" for line in bounds_lines(scores))


def main_figure(scores: SynthesisScores) -> str:
    """Word error rates of all systems in one line, the recordings last."""
    shown = SHOWN["wer"]
    rates = [(system.name, figure) for system in reversed(scores.systems) if (figure := system.figures.get("wer"))]
    return "; ".join(f"{name}: WER {shown.value(f).number} % ({shown.value(f).ends()})" for name, f in rates)


def write_report(
    folder: Path,
    measured: Mapping[str, tuple[Sequence[Measured], Mapping[str, Float]]],
    manifests: Mapping[str, Path],
    *,
    normalizer: str,
    lang: str,
    judge: str,
    aligner: str | None,
    intervals: BootstrapSettings | None = None,
    title: str = "Synthetic speech",
    samples: int = 12,
) -> tuple[SynthesisScores, Path]:
    """Write scores.json, table.md, table.csv, table.tex and report.html; returns the scores and the page's path.

    Args:
        folder: output folder.
        measured: result of `read_measured` per system, the recordings first.
        manifests: manifest of the speech of each system.
        normalizer: see `summarize`.
        lang: see `summarize`.
        judge: see `summarize`.
        aligner: see `summarize`.
        intervals: settings of the bootstrap.
        title: title of the page.
        samples: number of texts that can be played.

    Raises:
        UserError: if a system has no utterances.
    """
    rows = {name: system_rows for name, (system_rows, _) in measured.items()}
    embeddings = {name: vectors for name, (_, vectors) in measured.items()}
    scores = summarize(
        rows, embeddings, normalizer=normalizer, lang=lang, judge=judge, aligner=aligner, intervals=intervals
    )
    transcripts = {name: {row.id: row.heard for row in system_rows} for name, system_rows in rows.items()}
    table = figures_table(scores)
    write_json(folder / "scores.json", scores)
    for name, text in (("md", markdown(scores)), ("csv", table.csv()), ("tex", table.latex())):
        write_bytes(folder / f"table.{name}", text.encode())
    return scores, write_tts_page(folder / "report.html", scores, manifests, transcripts, title=title, samples=samples)


class _Reading(msgspec.Struct, frozen=True):
    """One system's reading of a text; ``clip`` is None if there is no audio, or no space for it."""

    system: str
    clip: Clip | None
    heard: str | None


class _Sample(msgspec.Struct, frozen=True):
    """A text and its readings."""

    name: str
    text: str
    readings: list[_Reading]


def write_tts_page(
    path: Path | str,
    scores: SynthesisScores,
    manifests: Mapping[str, Path],
    transcripts: Mapping[str, Mapping[str, str | None]],
    *,
    title: str = "Synthetic speech",
    samples: int = 12,
    max_megabytes: float = 8.0,
) -> Path:
    """Write the page and return its path.

    Args:
        path: the file, written atomically.
        scores: the scores to show.
        manifests: manifest of each system's speech, the recordings under ``recordings``.
        transcripts: transcripts of the recogniser, by system and id.
        title: heading.
        samples: number of texts that can be played, evenly spaced.
        max_megabytes: clips are added until the page is about this large.
    """
    store = _ClipStore(int(max_megabytes * 1e6) - 500_000)
    wer = {system.name: _rate(system.figures["wer"]) for system in scores.systems if "wer" in system.figures}
    misread = [
        (system.name, Table(["sentence", "skipped", "repeated"], rows[:MAX_MISREAD], f"{system.name}: {len(rows)}"))
        for system in scores.systems
        if (rows := [[name, " ".join(a), " ".join(b)] for name, a, b in system.misread])
    ]
    return write_page(
        path,
        "tts.html",
        title=title,
        lang="en",
        styles=["score.css"],
        text_lang=scores.lang,
        figures=[
            (system.name, f"{system.utterances:,}", " utterances", f"{system.seconds / 60:.1f} minutes")
            for system in scores.systems
        ],
        table=figures_table(scores),
        lines=bounds_lines(scores),
        plot=interval_plot(
            wer, label="Word error rates with their intervals", x_title="word error rate, %", better="lower"
        ),
        misread=misread,
        samples=_samples(manifests, transcripts, samples, store),
        blocks=store.blocks,
    )


class _ClipStore:
    """The audio blocks of a page, up to a size limit."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.blocks: list[Any] = []

    def clip(self, manifest: Path, row: Utterance) -> Clip | None:
        try:
            end_seconds = row.offset + row.duration
            waveform = read_clip(
                audio_path(manifest, row), row.offset, end_seconds, LONGEST_CLIP_SECONDS, channel=row.channel
            )
        except AudioError:
            return None
        if waveform is None:
            return None
        encoded = encode_clip(waveform)
        if len(encoded) * 4 // 3 > self.left:
            return None
        self.left -= len(encoded) * 4 // 3
        name, seconds = f"clip-{len(self.blocks) + 1}", len(waveform) / CLIP_RATE
        self.blocks.append(clip_block(name, encoded))
        return Clip(name, wave_outline(waveform), seconds, [(" ".join((row.text or row.id).split()), 0.0, seconds)])


def _samples(
    manifests: Mapping[str, Path], transcripts: Mapping[str, Mapping[str, str | None]], count: int, store: _ClipStore
) -> list[_Sample]:
    rows = {name: {row.id: row for row in read_manifest(path)} for name, path in manifests.items()}
    shared = _in_all([list(system_rows) for system_rows in rows.values()])
    step = max(1, len(shared) // max(1, count))
    samples = []
    for name in shared[::step][:count]:
        text = next((row.text or "" for system_rows in rows.values() if (row := system_rows.get(name)) is not None), "")
        readings = [
            _Reading(system, store.clip(manifests[system], rows[system][name]), transcripts.get(system, {}).get(name))
            for system in manifests
            if name in rows[system]
        ]
        samples.append(_Sample(name, text, readings))
    return samples


def _in_all(names: Sequence[list[str]]) -> list[str]:
    """Ids that all systems have, in the order of the last; all ids of the last if none are shared."""
    if not names:
        return []
    shared = [name for name in names[-1] if all(name in set(other) for other in names[:-1])]
    return shared or names[-1]
