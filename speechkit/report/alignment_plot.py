"""Alignment plot of a recording and its document: time on the x axis, document position on the y axis (downwards).

Sentences that were read lie on the path; unread text is a horizontal band, untranscribed speech a vertical one. The SVG
is complete without the script, which adds zoom, hover and playback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from markupsafe import Markup

from speechkit.mining.records import Outcome, SentenceMatch
from speechkit.report.mining_data import SPEECH_RATE, View
from speechkit.report.svg import bar, shape, stretched

STEPS = 5  # colours from the lowest kept probability to 1
MAX_MARKS = 4000


def probability_style(probability: float | None, floor: float) -> str:
    """Colour class of a kept sentence: ``p0`` at ``floor`` (the threshold) to ``p4`` near 1."""
    if probability is None:
        return "p3"
    # The scale is logarithmic in 1 - p: 0.98 to 1 is resolved as finely as 0.5 to 1.
    range_above = max(1e-4, 1.0 - floor)
    uncertainty = max(1e-4, 1.0 - probability) / range_above
    return f"p{sum(uncertainty < 0.5**power for power in range(STEPS - 1))}"


class AlignmentFigure(msgspec.Struct, frozen=True):
    """A view as shown on the page: heading, SVG and data for the script."""

    name: str
    lead: str
    canvas: Markup
    document: Markup
    audio: Markup
    overview: Markup
    data: dict[str, Any]
    view: View


def alignment_figure(view: View, clips: Mapping[tuple[str, str], str], floor: float) -> AlignmentFigure:
    """Figure of one view; ``clips`` maps sentences that can be played to their audio blocks."""
    recording = view.recording
    seconds = recording.num_samples / recording.sample_rate
    matched = [(outcome, outcome.match) for outcome in view.outcomes if outcome.match is not None]
    matched = sorted(matched, key=lambda pair: pair[1].start)[:MAX_MARKS]
    kept = sum(outcome.kept for outcome, _ in matched)
    lead = (
        f"{clock(seconds)} of audio, {view.characters:,} characters of text; {kept:,} sentences kept, "
        f"{len(view.outcomes) - kept:,} rejected or not found"
    )
    label = (
        f"Alignment of {recording.id} with {view.document}: {lead}. Arrow keys go from sentence to sentence, Enter "
        "plays, plus and minus zoom, 0 shows everything."
    )
    ribbon = _audio_marks(view, matched, seconds, floor)
    box = f"0 0 {seconds:.3f} 1"
    return AlignmentFigure(
        recording.id,
        lead,
        stretched(
            _canvas_marks(view, matched, seconds, floor), "canvas", f"0 0 {seconds:.3f} {view.characters}", label
        ),
        stretched(_document_marks(view), "document-ribbon", f"0 0 1 {view.characters}"),
        stretched(ribbon, "audio-ribbon", box),
        stretched([*ribbon, bar(0, 0, seconds, 1, "window idle")], "overview", box),
        _view_data(view, matched, seconds, clips),
        view,
    )


def clock(seconds: float) -> str:
    """Format seconds as 0:07.3, 12:05 or 1:02:03."""
    if seconds < 600:
        tenths = round(seconds * 10)
        return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"
    rounded = round(seconds)
    hours, minutes = divmod(rounded // 60, 60)
    return f"{hours}:{minutes:02d}:{rounded % 60:02d}" if hours else f"{minutes}:{rounded % 60:02d}"


Matched = Sequence[tuple[Outcome, SentenceMatch]]


def _style(outcome: Outcome, match: SentenceMatch, floor: float) -> str:
    return probability_style(match.probability, floor) if outcome.kept else "rejected"


def _canvas_marks(view: View, matched: Matched, seconds: float, floor: float) -> list[Markup]:
    marks = [
        bar(0, gap.document_begin, seconds, gap.document_end - gap.document_begin, "band unread")
        if gap.kind == "unread"
        else bar(gap.start, 0, gap.end - gap.start, view.characters, "band untranscribed")
        for gap in view.gaps
    ]
    if view.path:
        marks.append(_line("path", "M" + "L".join(f"{second:.2f} {character}" for character, second in view.path)))
    for outcome, match in matched:
        ends = f"M{match.start:.2f} {outcome.begin}L{match.end:.2f} {outcome.end}"
        marks.append(_line(f"sentence {_style(outcome, match, floor)}", ends))
    return [*marks, bar(0, 0, 0, 0, "cursor")]


def _audio_marks(view: View, matched: Matched, seconds: float, floor: float) -> list[Markup]:
    marks: list[Markup] = []
    at = 0.0
    for start, end in [*((a / SPEECH_RATE, b / SPEECH_RATE) for a, b in view.recording.speech), (seconds, seconds)]:
        if start > at:
            marks.append(bar(at, 0, start - at, 1, "silence"))
        at = max(at, end)
    gaps = [gap for gap in view.gaps if gap.kind == "untranscribed"]
    marks += [bar(gap.start, 0, gap.end - gap.start, 1, "untranscribed") for gap in gaps]
    # Kept sentences last: they take precedence over others with the same audio.
    last = sorted(matched, key=lambda pair: pair[0].kept)
    return marks + [bar(m.start, 0, m.end - m.start, 1, _style(outcome, m, floor)) for outcome, m in last]


def _document_marks(view: View) -> list[Markup]:
    styles = [("kept" if o.kept else "rejected" if o.match else "unread", o) for o in view.outcomes]
    return [bar(0, outcome.begin, 1, outcome.end - outcome.begin, style) for style, outcome in styles]


def _line(style: str, path: str) -> Markup:
    return shape("path", class_=style, d=path, vector_effect="non-scaling-stroke")


def _view_data(view: View, matched: Matched, seconds: float, clips: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    entries = []
    for outcome, match in matched:
        clip = clips.get((match.recording, outcome.sentence))
        entry: dict[str, Any] = {
            "start": match.start,
            "end": match.end,
            "from": outcome.begin,
            "to": outcome.end,
            "text": outcome.text,
            "note": sentence_note(outcome),
        }
        entries.append(entry | ({"clip": clip, "words": words_in_clip(outcome)} if clip else {}))
    gaps = [
        {
            "start": gap.start,
            "end": gap.end,
            "title": "Speech that is not in the document",
            "note": f"{clock(gap.start)} to {clock(gap.end)} ({gap.end - gap.start:.1f} s)",
        }
        for gap in view.gaps
        if gap.kind == "untranscribed"
    ]
    unread = [
        {
            "from": unread_outcome.begin,
            "to": unread_outcome.end,
            "text": unread_outcome.text,
            "note": sentence_note(unread_outcome),
        }
        for unread_outcome in view.outcomes
        if unread_outcome.match is None
    ]
    # A hundredth of a second is less than a pixel at any zoom.
    path = [(character, round(second, 2)) for character, second in view.path]
    return {
        "seconds": seconds,
        "characters": view.characters,
        "path": path,
        "sentences": entries,
        "gaps": gaps,
        "unread": unread[:MAX_MARKS],
    }


def sentence_note(outcome: Outcome) -> str:
    """One-line summary of a sentence: position, probability, and rejection reason if any."""
    match = outcome.match
    if match is None:
        return f"page {outcome.page} · " + (outcome.reason or "not found").replace("_", " ")
    parts = [f"{clock(match.start)}–{clock(match.end)}", f"page {outcome.page}"]
    if match.probability is not None:
        parts.append(f"probability {match.probability:.3f}")
    if not outcome.kept:
        parts.append("rejected: " + (outcome.reason or "kept elsewhere").replace("_", " "))
    return " · ".join(parts)


def words_in_clip(outcome: Outcome) -> list[tuple[str, float, float]]:
    """Words with times from the start of the clip; the whole text as one item if words have no times."""
    match = outcome.match
    if match is None:
        return []
    if not match.words:
        return [(outcome.text, 0.0, round(match.end - match.start, 3))]
    return [(w.word, round(w.start - match.start, 3), round(w.end - match.start, 3)) for w in match.words]
