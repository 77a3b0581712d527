"""The mining page: what was mined, where the rest went, every alignment as a picture, and pairs to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechkit.mining.records import Outcome
from speechkit.report.alignment_plot import alignment_figure, clock, probability_style, words_in_clip
from speechkit.report.markup import Child, Markup, element
from speechkit.report.mining_charts import distributions
from speechkit.report.mining_clips import Clips, affordable
from speechkit.report.mining_data import MiningReport
from speechkit.report.page import asset, render_page, write_page
from speechkit.report.player import play_icon, player
from speechkit.report.svg import stacked_bar
from speechkit.report.table import table

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
    "low_confidence": ("not sure enough", "rejected"),
    "no_recording": ("no recording", "orphan"),
}
REASONS = {
    "not_found": "No place in any paired recording resembles the sentence.",
    "low_confidence": "Found, but less likely to be right than the threshold asks for.",
    "overlaps_better": "Another, more likely sentence claims the same audio.",
    "too_short": "Fewer characters or less audio than the configuration asks for.",
    "too_long": "Longer audio than the configuration asks for.",
    "no_speech_characters": "Nothing in it can be spoken, for example a table rule.",
    "no_recording": "Its document was paired with no recording.",
    "silence": "No speech was found there.",
    "untranscribed": "Speech that no sentence of the paired documents covers.",
    "rejected_sentence": "A sentence was found here and rejected.",
    "no_document": "The recording was paired with no document.",
}
MAX_TABLE_ROWS = 200


def render_mining_report(out_path: Path | str, data: MiningReport, *, max_megabytes: float = 8.0) -> Path:
    """Write the page of one run and return its path.

    Audio is embedded first for the pairs to listen to, then for the sentences of the alignment plots in turn, as
    long as the page stays under ``max_megabytes``. A recording that cannot be read any more leaves its players out,
    and the page says so.
    """
    data = affordable(data, max_megabytes)
    clips = Clips(data, max_megabytes)
    groups = [
        _group("best", "Best", "The pairs that the miner is most sure of.", data.best, data, clips),
        _group("worst", "Worst kept", "Just above the threshold: what the least sure kept pairs sound like.",
               data.worst, data, clips),
        _group("borderline", "Just rejected", "Found and left out, the likeliest first.",
               data.borderline, data, clips),
    ]  # fmt: skip
    clips.fill(data)
    body: list[Child] = [
        element(
            "main",
            _headline(data),
            _flow(data),
            _alignments(data, clips),
            distributions(data),
            _listening(groups, clips),
            _tables(data),
            _reproduction(data),
        ),
        _overlay(data.lang),
        clips.blocks,
    ]
    page = render_page(f"{data.title}: mining report", body, styles=[asset("mining.css")], scripts=[asset("mining.js")])
    write_page(out_path, page)
    return Path(out_path)


def _headline(data: MiningReport) -> Markup:
    kept, total = data.audio_seconds.get("kept", 0.0), sum(data.audio_seconds.values())
    speech = total - data.audio_seconds.get("silence", 0.0)
    share = kept / speech if speech else 0.0
    figures = [
        _figure("speech kept", _amount(kept), f"{share:.0%} of {_duration(speech)} of speech"),
        _figure(
            "sentences", (f"{data.kept_utterances:,}", ""), f"of {sum(data.sentences.values()):,} in the documents"
        ),
    ]
    if data.expected_precision is not None:
        wanted = "" if data.min_precision is None else f"{_percent(data.min_precision)} was asked for"
        figures.append(_figure("expected precision", (_percent(data.expected_precision), ""), wanted))
    figures.append(_figure("recordings", (f"{len(data.rows):,}", ""), f"{_duration(total)} of audio"))
    if data.seconds_taken:
        pace = f"{total / data.seconds_taken:.1f} times real time" if total else ""
        figures.append(_figure("time taken", _amount(data.seconds_taken), pace))
    return element(
        "header",
        element("p", "speechkit mining report", class_="overline"),
        element("h1", data.title),
        element("dl", figures, class_="figures"),
    )


def _figure(name: str, value: tuple[str, str], note: str) -> Markup:
    number = element("dd", value[0], element("small", value[1]) if value[1] else None)
    return element("div", element("dt", name), number, element("dd", note, class_="note") if note else None)


def _amount(seconds: float) -> tuple[str, str]:
    if seconds < 90:
        return f"{seconds:.0f}", "s"
    return (f"{seconds / 60:.1f}", "min") if seconds < 5400 else (f"{seconds / 3600:.2f}", "h")


def _duration(seconds: float) -> str:
    return " ".join(_amount(seconds))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _flow(data: MiningReport) -> Markup:
    audio = [
        (*AUDIO_PARTS.get(part, (part.replace("_", " "), "other")), value, _duration(value))
        for part, value in _ordered(data.audio_seconds, AUDIO_PARTS)
    ]
    text = [
        (*TEXT_PARTS.get(part, (part.replace("_", " "), "other")), float(value), f"{value:,} characters")
        for part, value in _ordered(data.text_characters, TEXT_PARTS)
    ]
    return element(
        "section",
        element("h2", "Where everything went"),
        element("p", "All of the audio and all of the text, by what became of it.", class_="lead"),
        element(
            "div",
            element("div", element("h3", "Audio"), stacked_bar(audio, label="Where the audio went"), class_="card"),
            element("div", element("h3", "Text"), stacked_bar(text, label="Where the text went"), class_="card"),
            class_="stack-of-cards",
        ),
    )


def _ordered(values: dict[str, float] | dict[str, int], known: dict[str, tuple[str, str]]) -> list[tuple[str, float]]:
    order = list(known)
    return sorted(values.items(), key=lambda item: (order.index(item[0]) if item[0] in order else len(order), item[0]))


def _alignments(data: MiningReport, clips: Clips) -> Markup | None:
    if not data.views:
        return None
    floor = data.threshold or 0.5
    figures = [alignment_figure(n, view, clips.names, floor) for n, view in enumerate(data.views, start=1)]
    names = [f"{view.recording.id} · {view.document}" for view in data.views]
    choice = element(
        "label",
        element("span", "Recording", class_="visually-hidden"),
        element("select", [element("option", name) for name in names], id="alignment-choice"),
        hidden=True,
    )
    ramp = [element("span", class_=f"p{step}") for step in range(5)]
    keys = element(
        "ul",
        element("li", element("span", ramp, class_="ramp"), "kept, a stronger colour is surer"),
        [
            element("li", element("span", class_=f"swatch {style}"), name)
            for name, style in (
                ("rejected", "rejected"),
                ("unread text", "unread"),
                ("speech without text", "untranscribed"),
                ("no speech", "silence"),
            )
        ],
        class_="keys",
    )
    more = len({row.recording for row in data.rows if row.documents}) - len({v.recording.id for v in data.views})
    note = f"{more:,} more recordings are in the table below." if more > 0 else ""
    return element(
        "section",
        element("h2", "Alignments"),
        element(
            "p",
            "Time runs to the right, the document runs down. Where the line descends, text was read; a violet band is "
            f"text that nobody read, a rose one speech that nobody wrote down. {note}",
            class_="lead",
        ),
        element("div", element("div", choice, keys, class_="alignment-head"), _with_zoom(figures), class_="card"),
    )


def _with_zoom(figures: Sequence[Markup]) -> list[Markup]:
    def button(kind: str, text: str, name: str) -> Markup:
        return element("button", text, type="button", data_zoom=kind, aria_label=name, title=name)

    buttons = [button("out", "−", "Zoom out"), button("in", "+", "Zoom in"), button("all", "all", "Show everything")]
    below = element(
        "div",
        element(
            "span",
            "Drag to move, Ctrl + wheel to zoom, or draw a window in the lowest bar. Click a sentence to hear it.",
        ),
        element("div", buttons, class_="zoom", hidden=True),
        class_="below-plot",
    )
    return [Markup(figure.removesuffix("</div>") + below + "</div>") for figure in figures]


def _group(
    identifier: str, title: str, note: str, outcomes: Sequence[Outcome], data: MiningReport, clips: Clips
) -> tuple[str, str, Markup]:
    cards = [_card(outcome, data, clips) for outcome in outcomes]
    content = element("div", cards, class_="clips") if cards else element("p", "None.", class_="lead")
    body = element(
        "div",
        element("h3", title, class_="group-title"),
        element("p", note, class_="lead"),
        content,
        class_="group",
        id=f"group-{identifier}",
        role="tabpanel",
        aria_label=title,
    )
    return identifier, f"{title} ({len(outcomes)})", body


def _card(outcome: Outcome, data: MiningReport, clips: Clips) -> Markup:
    match = outcome.match
    assert match is not None  # only found sentences are listed
    clip = clips.add(outcome)
    words = words_in_clip(outcome)
    if clip:
        outline = clips.outlines[clip]
        heard = player(clip, words, outline, seconds=match.end - match.start, lang=data.lang)
    else:
        heard = element("p", outcome.text, class_="words", lang=data.lang, dir="auto")
    style = probability_style(match.probability, data.threshold or 0.5) if outcome.kept else "rejected"
    swatch = element("span", class_=f"swatch {style}")
    chance = "–" if match.probability is None else f"{match.probability:.3f}"
    facts = {
        "similarity": f"{match.similarity:.2f}",
        "edge CER": f"{match.edge_cer:.2f}",
        "margin": f"{match.margin:.2f}",
        "CTC mean": None if match.ctc_mean is None else f"{match.ctc_mean:.2f}",
        "CTC worst": None if match.ctc_worst is None else f"{match.ctc_worst:.2f}",
        "characters/s": f"{match.characters_per_second:.1f}",
        "rejected": None if outcome.kept else (outcome.reason or "").replace("_", " "),
    }
    evidence = [element("div", element("dt", name), element("dd", value)) for name, value in facts.items() if value]
    where = f"{match.recording} {clock(match.start)}–{clock(match.end)} · {outcome.document}, page {outcome.page}"
    return element(
        "article",
        element(
            "div",
            element("span", where),
            element("span", swatch, chance, class_="probability", title="probability"),
            class_="where",
        ),
        heard,
        element("dl", evidence, class_="evidence"),
        class_="card clip",
    )


def _listening(groups: Sequence[tuple[str, str, Markup]], clips: Clips) -> Markup:
    buttons = [
        element("button", name, type="button", role="tab", aria_controls=f"group-{key}") for key, name, _ in groups
    ]
    silent = None
    if clips.failures:
        first = clips.failures[min(clips.failures)]
        note = f"{len(clips.failures)} recordings could not be read for listening: {first}"
        silent = element("p", note, class_="lead")
    return element(
        "section",
        element("h2", "Listen"),
        element("p", "Click a word to start there. Words light up at the times that were mined.", class_="lead"),
        silent,
        element("noscript", element("p", "Listening needs JavaScript; everything else on this page does not.")),
        element("div", buttons, class_="tabs", role="tablist", hidden=True),
        [body for _, _, body in groups],
    )


def _tables(data: MiningReport) -> Markup:
    rows = []
    for row in data.rows[:MAX_TABLE_ROWS]:
        share = row.kept_seconds / row.speech_seconds if row.speech_seconds else 0.0
        rows.append(
            [
                row.recording,
                ", ".join(row.documents) or "none",
                _duration(row.seconds),
                _duration(row.speech_seconds),
                f"{row.kept:,}",
                f"{row.rejected:,}",
                f"{share:.0%}",
                _spark(share),
            ]
        )
    head = ["recording", "document", "audio", "speech", "kept", "rejected", "of speech", ""]
    hidden = len(data.rows) - len(rows)
    more = element("p", f"and {hidden:,} more recordings in the manifest", class_="lead") if hidden > 0 else None
    reasons: list[list[Child]] = [
        [reason.replace("_", " "), f"{count:,} sentences", REASONS.get(reason, "")]
        for reason, count in sorted(data.sentences.items(), key=lambda item: -item[1])
        if reason != "kept"
    ]
    reasons += [
        [reason.replace("_", " "), _duration(seconds), REASONS.get(reason, "")]
        for reason, seconds in sorted(data.audio_seconds.items(), key=lambda item: -item[1])
        if reason != "kept" and seconds
    ]
    return element(
        "section",
        element("h2", "Recordings and reasons"),
        element(
            "div",
            element(
                "div",
                table(head, rows, caption="Every recording with what was kept of it", numeric=(2, 3, 4, 5, 6)),
                more,
                class_="card",
            ),
            element(
                "div",
                table(["reason", "how much", "meaning"], reasons, caption="Why the rest was left out", numeric=(1,)),
                class_="card",
            ),
            class_="stack-of-cards",
        ),
    )


def _spark(share: float) -> Markup:
    marks = [
        element("rect", class_="silence", width=100, height=1),
        element("rect", class_="kept", width=100 * min(1.0, share), height=1),
    ]
    return element("svg", marks, class_="spark", viewBox="0 0 100 1", preserveAspectRatio="none", aria_hidden="true")


def _reproduction(data: MiningReport) -> Markup | None:
    import msgspec

    parts: list[Child] = []
    if data.commands:
        parts += [element("h3", "Commands"), element("pre", "\n".join(data.commands))]
    if data.config:
        text = msgspec.json.format(msgspec.json.encode(data.config, order="sorted"), indent=2).decode()
        parts.append(element("details", element("summary", "Configuration"), element("pre", text)))
    if data.versions:
        rows = [[name, version] for name, version in sorted(data.versions.items())]
        parts.append(element("h3", "Versions"))
        parts.append(table(["part", "version"], rows, caption="Versions of the parts"))
    if not parts:
        return None
    return element("section", element("h2", "To get this again"), element("div", parts, class_="card stack-of-cards"))


def _overlay(lang: str) -> Markup:
    return element(
        "div",
        element(
            "div",
            _play_button(),
            element("p", class_="words", lang=lang, dir="auto"),
            element("button", "×", type="button", class_="close", aria_label="Close the player"),
            element("div", element("div"), class_="bar"),
            id="now",
            class_="card",
            hidden=True,
        ),
        element("div", id="tip", role="tooltip", hidden=True),
        element("div", id="spoken", class_="visually-hidden", aria_live="polite"),
    )


def _play_button() -> Markup:

    return element("button", play_icon(), type="button", class_="play", aria_label="Play or pause")
