"""Embedded audio: small MP3 clips with waveform, and text whose words are highlighted during playback."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from speechkit.report.svg import shape, shortened

CLIP_RATE = 16000
WAVE_COLUMNS = 160


class Clip(msgspec.Struct, frozen=True):
    """Data of a player: name of its audio block, SVG path of its waveform, and words with times in seconds."""

    name: str
    outline: str
    seconds: float
    words: Sequence[tuple[str, float, float]]

    @property
    def label(self) -> str:
        """Abbreviated words."""
        return shortened(" ".join(word for word, _, _ in self.words), 80)


def read_clip(
    path: Path,
    start: float = 0.0,
    end: float | None = None,
    longest: float = math.inf,
    *,
    channel: int | None = None,
) -> NDArray[np.float32] | None:
    """Seconds ``start`` to ``end`` of a recording at 16 kHz; None if that is empty or longer than ``longest``.

    ``channel`` is counted from 0; None averages all channels. It is ignored for a file of one channel, which may have
    been extracted from a larger one.

    Raises:
        AudioError: if it cannot be read.
    """
    from speechkit.io.audio import audio_info, read_audio

    info = audio_info(path)
    first = min(info.num_samples, max(0, round(start * info.sample_rate)))
    last = info.num_samples if end is None else min(info.num_samples, round(end * info.sample_rate))
    if not 0 < last - first <= longest * info.sample_rate:
        return None
    return read_audio(
        path,
        offset_samples=first,
        num_samples=last - first,
        sample_rate=CLIP_RATE,
        channel=channel if info.channels > 1 else None,
    )


def encode_clip(waveform: NDArray[np.float32]) -> bytes:
    """Encode a 16 kHz waveform (samples,) as MP3 of about 30 kbit/s, which every browser plays.

    The bitrate is variable because only then does the header contain the encoder delay: at a low constant bitrate,
    words would be highlighted 69 ms early.
    """
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", CLIP_RATE, 1, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE", compression_level=0.85
    ) as file:
        file.write(np.clip(waveform, -1.0, 1.0))
    return buffer.getvalue()


def clip_block(identifier: str, encoded: bytes) -> Markup:
    """The clip as base64 in a block that the browser neither executes nor decodes before playback."""
    return shape("script", base64.b64encode(encoded).decode(), type="text/plain", id=identifier)


def wave_outline(waveform: NDArray[np.float32], columns: int = WAVE_COLUMNS) -> str:
    """The waveform as an SVG path in the view box ``0 0 columns 40``, normalised to its peak."""
    if not len(waveform):
        return ""
    bounds = np.linspace(0, len(waveform), columns + 1).astype(int)[:-1]
    loud = np.maximum.reduceat(np.abs(waveform), bounds)
    heights = np.maximum(0.4, 19 * loud / max(1e-6, float(loud.max())))
    upper = [f"{index + 0.5:.1f} {20 - height:.1f}" for index, height in enumerate(heights)]
    lower = [f"{index + 0.5:.1f} {20 + height:.1f}" for index, height in reversed(list(enumerate(heights)))]
    return f"M{'L'.join(upper + lower)}Z"
