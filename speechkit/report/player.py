"""Audio inside the page: small MP3 clips, their waveform, and text whose words light up while it plays."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechkit.report.markup import Markup, element, join

CLIP_RATE = 16000
WAVE_COLUMNS = 160


def encode_clip(waveform: NDArray[np.float32]) -> bytes:
    """A 16 kHz waveform (samples,) as MP3 of about 30 kbit/s, which every browser plays.

    The rate is variable because only then does the header tell the player how much of the start is padding: at a
    small constant rate the words would light up 69 ms early.
    """
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", CLIP_RATE, 1, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE", compression_level=0.85
    ) as file:
        file.write(np.clip(waveform, -1.0, 1.0))
    return buffer.getvalue()


def clip_block(identifier: str, encoded: bytes) -> Markup:
    """The clip as base64 in a block that the browser neither runs nor decodes before it is played."""
    return element("script", Markup(base64.b64encode(encoded).decode()), type="text/plain", id=identifier)


def wave_outline(waveform: NDArray[np.float32], columns: int = WAVE_COLUMNS) -> str:
    """The waveform as the path of a filled shape in ``0 0 columns 40``, scaled to its own loudest sample."""
    if not len(waveform):
        return ""
    bounds = np.linspace(0, len(waveform), columns + 1).astype(int)[:-1]
    loud = np.maximum.reduceat(np.abs(waveform), bounds)
    heights = np.maximum(0.4, 19 * loud / max(1e-6, float(loud.max())))
    upper = [f"{index + 0.5:.1f} {20 - height:.1f}" for index, height in enumerate(heights)]
    lower = [f"{index + 0.5:.1f} {20 + height:.1f}" for index, height in reversed(list(enumerate(heights)))]
    return f"M{'L'.join(upper + lower)}Z"


def player(
    clip: str, words: Sequence[tuple[str, float, float]], outline: str, *, seconds: float, lang: str | None = None
) -> Markup:
    """A play button, a waveform to seek in, and the words with their times in seconds of the clip."""
    text = " ".join(word for word, _, _ in words)
    label = text if len(text) <= 80 else text[:79] + "…"
    wave = element(
        "div",
        _wave(outline, "wave-all"),
        _wave(outline, "wave-played"),
        class_="wave",
        role="slider",
        tabindex=0,
        aria_label=f"Position in: {label}",
        aria_valuemin=0,
        aria_valuemax=round(seconds, 2),
        aria_valuenow=0,
    )
    button = element("button", play_icon(), type="button", class_="play", aria_label=f"Play: {label}")
    spoken = element("p", timed_words(words), class_="words", lang=lang, dir="auto")
    return element("div", element("div", button, wave, class_="controls"), spoken, class_="player", data_clip=clip)


def play_icon() -> Markup:
    """A triangle that the page's style turns into two bars while its clip plays."""
    return element(
        "svg",
        element("path", class_="icon-play", d="M8 5.2v13.6L19 12z"),
        element("path", class_="icon-pause", d="M7 5h3.6v14H7zM13.4 5H17v14h-3.6z"),
        viewBox="0 0 24 24",
        aria_hidden="true",
    )


def timed_words(words: Sequence[tuple[str, float, float]]) -> Markup:
    """Each word in a span with its start and end in seconds of the clip."""
    spans = [element("span", word, data_s=start, data_e=end) for word, start, end in words]
    return join(part for span in spans for part in (span, " "))


def _wave(outline: str, style: str) -> Markup:
    return element(
        "svg",
        element("path", d=outline),
        class_=style,
        viewBox=f"0 0 {WAVE_COLUMNS} 40",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
