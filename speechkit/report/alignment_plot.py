"""The picture of one recording against its document: time runs to the right, the document runs down.

A sentence that was read lies on the path; text that nobody read is a horizontal band, speech that nobody wrote down a
vertical one. The SVG is complete as it stands; the script adds zoom, hover and listening.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speechkit.mining.records import Outcome
from speechkit.report.markup import Child, Markup, data_block, element
from speechkit.report.mining_data import SPEECH_RATE, View

STEPS = 5  # colours from the lowest kept probability to 1
MAX_MARKS = 4000


def probability_style(probability: float | None, floor: float) -> str:
    """The colour class of a kept sentence: ``p0`` at ``floor`` (the threshold) to ``p4`` near 1."""
    if probability is None:
        return "p3"
    # The distance from 1 counts, by halves: between 0.98 and 1 there is as much to see as between 0.5 and 1.
    room = max(1e-4, 1.0 - floor)
    left = max(1e-4, 1.0 - probability) / room
    return f"p{sum(left < 0.5**power for power in range(STEPS - 1))}"


def alignment_figure(number: int, view: View, clips: Mapping[tuple[str, str], str], floor: float) -> Markup:
    """The figure ``number`` (from 1) of one view; ``clips`` names the audio block of sentences that can be heard."""
    recording, name = view.recording, f"view-{number}"
    seconds = recording.num_samples / recording.sample_rate
    found = sorted(
        (each for each in view.outcomes if each.match), key=lambda each: each.match.start if each.match else 0
    )
    found = found[:MAX_MARKS]
    kept = sum(each.kept for each in found)
    head = (
        f"{clock(seconds)} of audio, {view.characters:,} characters of text; {kept:,} sentences kept, "
        f"{len(view.outcomes) - kept:,} rejected or not found"
    )
    svg = [
        element("div", f"document ({view.document}), characters ↓", class_="doc-title"),
        element("svg", class_="y-axis", aria_hidden="true"),
        _document_ribbon(view),
        _canvas(view, found, seconds, floor, head),
        element("div", "audio", class_="row-name", aria_hidden="true"),
        _audio_ribbon(view, found, seconds, floor, "audio-ribbon"),
        element("svg", class_="x-axis", aria_hidden="true"),
        element("div", "whole", class_="row-name whole", aria_hidden="true"),
        _audio_ribbon(view, found, seconds, floor, "overview"),
    ]
    return element(
        "div",
        element("h3", recording.id),
        element("p", head, class_="lead"),
        element("div", svg, class_="path-plot"),
        data_block(name, _view_data(view, found, seconds, clips)),
        class_="alignment",
        data_view=name,
        id=f"alignment-{number}",
    )


def clock(seconds: float) -> str:
    """Seconds as 0:07.3, 12:05 or 1:02:03."""
    if seconds < 600:
        tenths = round(seconds * 10)
        return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _canvas(view: View, found: Sequence[Outcome], seconds: float, floor: float, label: str) -> Markup:
    marks: list[Child] = []
    for gap in view.gaps:
        if gap.kind == "unread":
            band = _rect("band unread", 0, gap.document_begin, seconds, gap.document_end - gap.document_begin)
        else:
            band = _rect("band untranscribed", gap.start, 0, gap.end - gap.start, view.characters)
        marks.append(band)
    line = "L".join(f"{second:.2f} {character}" for character, second in view.path)
    if line:
        marks.append(_line("path", f"M{line}"))
    for outcome in found:
        match = outcome.match
        if match is not None:
            style = probability_style(match.probability, floor) if outcome.kept else "rejected"
            place = f"M{match.start:.2f} {outcome.begin}L{match.end:.2f} {outcome.end}"
            marks.append(_line(f"sentence {style}", place))
    marks.append(element("rect", class_="cursor", width=0, height=0))
    return element(
        "svg",
        marks,
        class_="canvas",
        viewBox=f"0 0 {seconds:.3f} {view.characters}",
        preserveAspectRatio="none",
        role="img",
        tabindex=0,
        aria_label=f"Alignment of {view.recording.id} with {view.document}: {label}. "
        "Arrow keys go from sentence to sentence, Enter plays, plus and minus zoom, 0 shows everything.",
    )


def _audio_ribbon(view: View, found: Sequence[Outcome], seconds: float, floor: float, style: str) -> Markup:
    marks: list[Child] = []
    at = 0.0
    for start, end in [*((a / SPEECH_RATE, b / SPEECH_RATE) for a, b in view.recording.speech), (seconds, seconds)]:
        if start > at:
            marks.append(_rect("silence", at, 0, start - at, 1))
        at = max(at, end)
    gaps = [gap for gap in view.gaps if gap.kind == "untranscribed"]
    marks += [_rect("untranscribed", gap.start, 0, gap.end - gap.start, 1) for gap in gaps]
    # Kept ones last: where both claim the same audio it is theirs.
    for outcome in sorted(found, key=lambda each: each.kept):
        if (match := outcome.match) is not None:
            colour = probability_style(match.probability, floor) if outcome.kept else "rejected"
            marks.append(_rect(colour, match.start, 0, match.end - match.start, 1))
    if style == "overview":
        marks.append(_rect("window idle", 0, 0, seconds, 1))
    return _ribbon(style, marks, f"0 0 {seconds:.3f} 1")


def _document_ribbon(view: View) -> Markup:
    marks: list[Child] = []
    for outcome in view.outcomes:
        style = "kept" if outcome.kept else "rejected" if outcome.match else "unread"
        marks.append(_rect(style, 0, outcome.begin, 1, outcome.end - outcome.begin))
    return _ribbon("document-ribbon", marks, f"0 0 1 {view.characters}")


def _ribbon(style: str, marks: Sequence[Child], box: str) -> Markup:
    return element("svg", marks, class_=style, viewBox=box, preserveAspectRatio="none", aria_hidden="true")


def _rect(style: str, x: float, y: float, width: float, height: float) -> Markup:
    return element("rect", class_=style, x=x, y=y, width=max(0.0, width), height=max(0.0, height))


def _line(style: str, path: str) -> Markup:
    return element("path", class_=style, d=path, vector_effect="non-scaling-stroke")


def _view_data(
    view: View, found: Sequence[Outcome], seconds: float, clips: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    entries = []
    for outcome in found:
        match = outcome.match
        if match is None:
            continue
        clip = clips.get((match.recording, outcome.sentence))
        entry: dict[str, Any] = {
            "start": match.start,
            "end": match.end,
            "from": outcome.begin,
            "to": outcome.end,
            "text": outcome.text,
            "note": sentence_note(outcome),
        }
        if clip:
            entry |= {"clip": clip, "words": words_in_clip(outcome)}
        entries.append(entry)
    gaps = [
        {
            "start": gap.start,
            "end": gap.end,
            "title": "Speech that the document does not have",
            "note": f"{clock(gap.start)} to {clock(gap.end)} ({gap.end - gap.start:.1f} s)",
        }
        for gap in view.gaps
        if gap.kind == "untranscribed"
    ]
    unread = [
        {"from": each.begin, "to": each.end, "text": each.text, "note": sentence_note(each)}
        for each in view.outcomes
        if each.match is None
    ]
    # Two decimals of a second are less than a pixel at any zoom.
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
    """Where a found sentence lies and how sure the miner is, in one line."""
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
    """The words with times from the start of the clip; the whole text as one where words have no times."""
    match = outcome.match
    if match is None:
        return []
    if not match.words:
        return [(outcome.text, 0.0, round(match.end - match.start, 3))]
    return [(w.word, round(w.start - match.start, 3), round(w.end - match.start, 3)) for w in match.words]
