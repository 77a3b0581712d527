"""The mining page: mined and rejected audio and text, alignment plots, and pairs to listen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from speechkit.errors import UserError
from speechkit.mining.records import Outcome
from speechkit.report.alignment_plot import alignment_figure, clock, probability_style, words_in_clip
from speechkit.report.listening import write_recordings
from speechkit.report.mining_clips import Clips, affordable, listed_segments, plot_segments
from speechkit.report.mining_data import MiningReport, PrecisionPoint
from speechkit.report.mining_gather import PACE_BINS, PACE_STEP, SCORE_BINS
from speechkit.report.mining_sentences import chosen_point, columns, precision_points
from speechkit.report.page import write_page
from speechkit.report.player import Clip
from speechkit.report.results import Column, Table
from speechkit.report.svg import Series, bar, curve, histogram, stacked_bar, stretched

AUDIO_PARTS = {
    "kept": ("kept", "kept"),
    "rejected_sentence": ("sentence found, rejected", "rejected"),
    "untranscribed": ("speech without text", "untranscribed"),
    "no_document": ("no document", "orphan"),
    "silence": ("no speech", "silence"),
}
TEXT_PARTS = {
    "kept": ("kept", "kept"),
    "not_found": ("not read aloud", "unread"),
    "low_confidence": ("low confidence", "rejected"),
    "no_recording": ("no recording", "orphan"),
}
REASONS = {
    "not_found": "No passage of a paired recording matches the sentence.",
    "curator": "Rejected by a person who listened to it.",
    "low_confidence": "Located, but its probability is below the threshold.",
    "overlaps_better": "A more probable sentence covers the same audio.",
    "too_short": "Fewer characters or less audio than the configured minimum.",
    "too_long": "More audio than the configured maximum.",
    "edge_word_lost": "Its first or last word was not aligned, so that the audio would not contain it.",
    "unread_words": "Words inside the sentence are missing in the audio.",
    "stretched_word": "One of its words is implausibly long: the audio contains speech that is not in the text.",
    "no_speech_characters": "It contains nothing that can be spoken, for example a table rule.",
    "no_recording": "Its document was not paired with a recording.",
    "silence": "No speech was detected.",
    "untranscribed": "Speech that no sentence of the paired documents covers.",
    "rejected_sentence": "Audio of a sentence that was located and rejected.",
    "no_document": "The recording was not paired with a document.",
}
MAX_TABLE_ROWS = 200
SHOWN_BINS = 50
CURVE_POINTS = 400
LIST_BYTES = 150
"""Approximate compressed size of a sentence in the list."""
Chart = tuple[str, str, Markup]
"""Title, note and plot."""


def render_mining_report(
    out_path: Path | str, data: MiningReport, *, max_megabytes: float = 8.0, beside: bool = True
) -> Path:
    """Write the page of one run and return its path.

    Audio is embedded for the pairs to listen to, then for the sentences of the alignment plots, then for the list, up
    to ``max_megabytes``; the list itself is always complete. If sentences of the list have no audio, ``beside`` writes
    the recordings into a folder next to the page (`audio_folder`). Recordings that can no longer be read have no
    players, with a note on the page.
    """
    data = affordable(data, max_megabytes)
    clips = Clips(data, max_megabytes, LIST_BYTES * len(data.sentence_rows))
    groups = [
        ("group-best", f"Best ({len(data.best)})", "Best", "The pairs with the highest probability.", data.best),
        (
            "group-worst",
            f"Worst kept ({len(data.worst)})",
            "Worst kept",
            "Just above the threshold: the kept pairs with the lowest probability.",
            data.worst,
        ),
        (
            "group-borderline",
            f"Just rejected ({len(data.borderline)})",
            "Just rejected",
            "Located and rejected, by descending probability.",
            data.borderline,
        ),
    ]
    listed = [(*group, [_card(outcome, data, clips) for outcome in outcomes]) for *group, outcomes in groups]
    clips.fill(plot_segments(data))
    clips.fill(listed_segments(data))
    files = _recordings_beside(Path(out_path), data, clips) if beside else {}
    names = [clips.names.get((row.recording, row.sentence)) for row in data.sentence_rows]
    points = precision_points(data.sentence_rows)
    floor = data.threshold or 0.5
    drawn = {view.recording.id for view in data.views}
    return write_page(
        out_path,
        "mining.html",
        title=data.title,
        styles=["mining.css", "sentences.css"],
        scripts=["mining.js", "written_heard.js", "decisions.js", "threshold.js", "sentences.js"],
        audio_beside=bool(files),
        data=data,
        listed=columns(data.sentence_rows, names, files),
        curation={"run": data.run, "threshold": data.threshold, "command": (data.commands or ["speechkit mine …"])[0]},
        reason_meanings=REASONS,
        figures=_figures(data),
        flow=_flow(data),
        alignments=[alignment_figure(view, clips.names, floor) for view in data.views],
        undrawn=len({row.recording for row in data.rows if row.documents}) - len(drawn),
        charts=distributions(data, points),
        groups=listed,
        failures=clips.failures,
        recordings=_recordings(data),
        hidden=len(data.rows) - MAX_TABLE_ROWS,
        reasons=_reasons(data),
        config=msgspec.json.format(msgspec.json.encode(data.config, order="sorted"), indent=2).decode(),
        versions=Table(["part", "version"], sorted(data.versions.items()), "Versions of the parts"),
        blocks=clips.blocks,
    )


def audio_folder(page: Path | str) -> Path:
    """Folder of the recordings that are not embedded in the page."""
    return Path(page).with_name(f"{Path(page).stem}-audio")


def _recordings_beside(page: Path, data: MiningReport, clips: Clips) -> dict[str, str]:
    """Write recordings whose listed sentences are not all embedded; returns their paths relative to the page."""
    silent = {segment.recording for segment in listed_segments(data) if segment.key not in clips.names}
    paths = {}
    for recording in data.recordings:
        if recording.id in silent and recording.id not in clips.failures:
            try:
                paths[recording.id] = clips.path(recording.id)
            except UserError as error:
                clips.failures[recording.id] = str(error)
    folder = audio_folder(page)
    if not paths:
        return {}
    wanted = [recording for recording in data.recordings if recording.id in paths]
    files, failures = write_recordings(wanted, paths, folder)
    clips.failures |= failures
    return {name: f"{folder.name}/{file}" for name, file in files.items()}


def _figures(data: MiningReport) -> list[tuple[str, str, str, str]]:
    kept, total = data.audio_seconds.get("kept", 0.0), sum(data.audio_seconds.values())
    speech = total - data.audio_seconds.get("silence", 0.0)
    share = kept / speech if speech else 0.0
    written = f"of {sum(data.sentences.values()):,} in the documents"
    figures = [
        ("speech kept", *_amount(kept), f"{share:.0%} of {_duration(speech)} of speech"),
        ("sentences", f"{data.kept_utterances:,}", "", written),
    ]
    if data.expected_precision is not None:
        wanted = "" if data.min_precision is None else f"{_percent(data.min_precision)} requested"
        figures.append(("expected precision", _percent(data.expected_precision), "", wanted))
    figures.append(("recordings", f"{len(data.rows):,}", "", f"{_duration(total)} of audio"))
    if data.seconds_taken:
        pace = f"{total / data.seconds_taken:.1f} times real time" if total else ""
        figures.append(("time taken", *_amount(data.seconds_taken), pace))
    return figures


def _amount(seconds: float) -> tuple[str, str]:
    if seconds < 90:
        return f"{seconds:.0f}", "s"
    return (f"{seconds / 60:.1f}", "min") if seconds < 5400 else (f"{seconds / 3600:.2f}", "h")


def _duration(seconds: float) -> str:
    return " ".join(_amount(seconds))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _flow(data: MiningReport) -> list[tuple[str, Markup]]:
    seconds = {part: (value, _duration(value)) for part, value in data.audio_seconds.items()}
    letters = {part: (float(value), f"{value:,} characters") for part, value in data.text_characters.items()}
    return [
        ("Audio", stacked_bar(_parts(seconds, AUDIO_PARTS), label="Where the audio went")),
        ("Text", stacked_bar(_parts(letters, TEXT_PARTS), label="Where the text went")),
    ]


def _parts(
    values: Mapping[str, tuple[float, str]], known: Mapping[str, tuple[str, str]]
) -> list[tuple[str, str, float, str]]:
    order = [*(part for part in known if part in values), *sorted(set(values) - set(known))]
    return [(*known.get(part, (part.replace("_", " "), "other")), *values[part]) for part in order]


class _Card(msgspec.Struct, frozen=True):
    """A pair to listen to."""

    text: str
    where: str
    style: str
    probability: str
    facts: dict[str, str]
    clip: Clip | None


def _card(outcome: Outcome, data: MiningReport, clips: Clips) -> _Card:
    match = outcome.match
    assert match is not None  # only located sentences are listed
    name = clips.add(outcome)
    clip = Clip(name, clips.outlines[name], match.end - match.start, words_in_clip(outcome)) if name else None
    facts = {
        "similarity": f"{match.similarity:.2f}",
        "edge CER": f"{match.edge_cer:.2f}",
        "margin": f"{match.margin:.2f}",
        "CTC mean": "" if match.ctc_mean is None else f"{match.ctc_mean:.2f}",
        "CTC worst": "" if match.ctc_worst is None else f"{match.ctc_worst:.2f}",
        "characters/s": f"{match.characters_per_second:.1f}",
        "rejected": "" if outcome.kept else (outcome.reason or "").replace("_", " "),
    }
    return _Card(
        outcome.text,
        f"{match.recording} {clock(match.start)}–{clock(match.end)} · {outcome.document}, page {outcome.page}",
        probability_style(match.probability, data.threshold or 0.5) if outcome.kept else "rejected",
        "–" if match.probability is None else f"{match.probability:.3f}",
        facts,
        clip,
    )


def _recordings(data: MiningReport) -> Table:
    rows: list[list[Any]] = []
    for row in data.rows[:MAX_TABLE_ROWS]:
        share = row.kept_seconds / row.speech_seconds if row.speech_seconds else 0.0
        spark = stretched(
            [bar(0, 0, 100, 1, "silence"), bar(0, 0, 100 * min(1.0, share), 1, "kept")], "spark", "0 0 100 1"
        )
        durations = _duration(row.seconds), _duration(row.speech_seconds)
        documents = ", ".join(row.documents) or "none"
        rows.append([row.recording, documents, *durations, row.kept, row.rejected, f"{share:.0%}", spark])
    numbers = [Column(name, numeric=True) for name in ("audio", "speech", "kept", "rejected", "of speech")]
    return Table(
        ["recording", "document", *numbers, ""], rows, "Recordings, with the share of their speech that was kept"
    )


def _reasons(data: MiningReport) -> Table:
    amounts = [
        *((reason, f"{count:,} sentences") for reason, count in _largest_first(data.sentences)),
        *((reason, _duration(seconds)) for reason, seconds in _largest_first(data.audio_seconds) if seconds),
    ]
    rows = [[reason.replace("_", " "), amount, REASONS.get(reason, "")] for reason, amount in amounts]
    return Table(["reason", Column("amount", numeric=True), "meaning"], rows, "Reasons why the rest was left out")


def _largest_first(amounts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(((name, amount) for name, amount in amounts.items() if name != "kept"), key=lambda item: -item[1])


def distributions(data: MiningReport, points: Sequence[PrecisionPoint]) -> list[Chart]:
    """Plots over all sentences: probabilities, the cost of precision, and speaking rate."""
    charts = []
    if sum(data.kept_scores) + sum(data.rejected_scores):
        charts.append(_score_chart(data))
    if points:
        charts.append(_precision_chart(points, chosen_point(points, data.threshold)))
    if sum(data.kept_pace):
        charts.append(_pace_chart(data))
    return charts


def _score_chart(data: MiningReport) -> Chart:
    counted = [kept + rejected for kept, rejected in zip(data.kept_scores, data.rejected_scores, strict=True)]
    # Most probabilities are near 1: the axis begins at the highest value that leaves out at most 2 % of the sentences.
    first = next(low for low in (900, 800, 500, 0) if sum(counted[:low]) <= 0.02 * sum(counted))
    group = (SCORE_BINS - first) // SHOWN_BINS
    edges = [(first + index * group) / SCORE_BINS for index in range(SHOWN_BINS + 1)]
    series = [
        Series(name, style, [sum(counts[first + i * group : first + (i + 1) * group]) for i in range(SHOWN_BINS)])
        for name, style, counts in (("kept", "kept", data.kept_scores), ("rejected", "rejected", data.rejected_scores))
    ]
    below = sum(counted[:first])
    marker = (
        None if data.threshold is None else (max(edges[0], min(1.0, data.threshold)), f"threshold {data.threshold:.3f}")
    )
    plot = histogram(
        edges,
        series,
        label=f"Histogram of the probability of {sum(data.kept_scores)} kept and {sum(data.rejected_scores)} rejected "
        "located sentences",
        x_title="probability that the pair is correct",
        y_title="sentences (square-root scale)",
        marker=marker,
        root=True,
    )
    note = f" {below:,} are below the axis." if below else ""
    return "Probability", f"Located sentences by probability.{note}", plot


def _precision_chart(points: Sequence[PrecisionPoint], chosen: PrecisionPoint | None) -> Chart:
    hours = points[-1].seconds >= 5400
    unit = 3600 if hours else 60
    stride = -(-len(points) // CURVE_POINTS)
    shown = [(100 * point.precision, point.seconds / unit) for point in [*points[::stride], points[-1]]]
    marker = None
    if chosen is not None:
        text = f"chosen: {_duration(chosen.seconds)} at {_percent(chosen.precision)}"
        marker = (100 * chosen.precision, chosen.seconds / unit, text)
    plot = curve(
        shown[::-1],
        label="Audio kept against expected precision, with the chosen threshold marked",
        x_title="expected precision, %",
        y_title="hours kept" if hours else "minutes kept",
        marker=marker,
    )
    return "Cost of precision", "Audio that would be kept at other thresholds.", plot


def _pace_chart(data: MiningReport) -> Chart:
    last = max(index for index, count in enumerate(data.kept_pace) if count)
    shown = min(PACE_BINS, last + 3)
    edges = [index * PACE_STEP for index in range(shown + 1)]
    plot = histogram(
        edges,
        [Series("kept", "kept", data.kept_pace[:shown])],
        label="Histogram of characters per second of the kept sentences",
        x_title="characters per second",
        y_title="sentences",
    )
    return "Speaking rate", "Kept sentences by speaking rate; outliers may be wrong.", plot
