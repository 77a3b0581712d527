"""Picture of a recording with spectrogram, segments, units and words: a block of an HTML report, or a PNG.

Equal units of a quantizer have equal colours, so that two sequences that agree look alike.
"""

from __future__ import annotations

import base64
import colorsys
import struct
import zlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from speechkit.errors import UserError, require
from speechkit.io.atomic import atomic_path
from speechkit.report.svg import WIDTH, nice_ticks, shape, stretched

if TYPE_CHECKING:
    from speechkit.data.records import Utterance

MAX_COLUMNS, ROWS = 1200, 128
DECIBELS = 70.0
GOLDEN = 0.618033988749895


class Ribbon(msgspec.Struct, frozen=True):
    """A named sequence of frame-level units (T,), drawn evenly over the recording."""

    name: str
    units: NDArray[np.integer[Any]]


class UnitPicture(msgspec.Struct, frozen=True):
    """Content of a picture.

    Attributes:
        title: title of the figure.
        waveform: (S,) in [-1, 1].
        sample_rate: in hertz.
        ribbons: one per quantizer and version of the audio.
        words: (word, start, end) in seconds.
        segments: (start, end) in seconds, drawn over the spectrogram.
        caption: below the figure.
    """

    title: str
    waveform: NDArray[np.float32]
    sample_rate: int
    ribbons: Sequence[Ribbon]
    words: Sequence[tuple[str, float, float]] = ()
    segments: Sequence[tuple[float, float]] = ()
    caption: str = ""

    @property
    def seconds(self) -> float:
        """Duration of the recording."""
        return len(self.waveform) / self.sample_rate


def picture_recording(
    row: Utterance,
    manifest: Path | str,
    ribbons: Sequence[Ribbon],
    *,
    aligned: Utterance | None = None,
    tier: str = "word",
    caption: str = "",
) -> UnitPicture:
    """The picture of a manifest's recording, with the words of ``aligned`` and the boundaries of one of its tiers."""
    from speechkit.data.audio import read_waveform

    tiers = (None if aligned is None else aligned.alignment) or {}
    words, edges = (
        [(item.symbol, item.start, item.start + item.duration) for item in tiers.get(name, [])]
        for name in ("word", tier)
    )
    segments = [(start, end) for _, start, end in edges]
    return UnitPicture(row.id, read_waveform(row, manifest), 16_000, ribbons, words, segments, caption)


def unit_figure(picture: UnitPicture) -> Markup:
    """The picture as an HTML block; its page needs unit_picture.css.

    Raises:
        UserError: if the recording has no sample.
    """
    seconds = _checked(picture).seconds
    image = base64.b64encode(grey_png(spectrogram(picture.waveform, picture.sample_rate))).decode()
    edges = sorted({edge for segment in picture.segments for edge in segment})
    lines = "".join(f"M{WIDTH * edge / seconds:.1f} 0V100" for edge in edges)
    over = stretched([shape("path", d=lines, vector_effect="non-scaling-stroke")], "edges", f"0 0 {WIDTH} 100")
    kilohertz = f"{picture.sample_rate / 2000:g} kHz"
    alt = f"Spectrogram of {picture.title}, 0 to {kilohertz}"
    sound = Markup('<div class="sound"><img src="data:image/png;base64,{}" alt="{}">{}</div>').format(image, alt, over)
    rows = [(f"0–{kilohertz}", sound), *((ribbon.name, _ribbon(ribbon, seconds)) for ribbon in picture.ribbons)]
    if picture.words:
        rows.append(("words", _words(picture.words, seconds)))
    ticks = [
        shape("text", f"{tick:g} s", x=f"{100 * tick / seconds:.2f}%", y=14)
        for tick in nice_ticks(0, seconds, 8)
        if 0 < tick < 0.985 * seconds
    ]
    rows.append(("", shape("svg", *ticks, class_="seconds", aria_hidden="true")))
    named = [part for name, row in rows for part in (shape("div", name, class_="row-name"), row)]
    return shape(
        "figure",
        shape("h3", picture.title),
        shape("div", *named, class_="rows"),
        shape("figcaption", picture.caption) if picture.caption else None,
        class_="units",
    )


def write_unit_png(path: Path | str, picture: UnitPicture) -> None:
    """Write the picture as a PNG, with the extra ``plots``.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        UserError: if the recording has no sample.
    """
    seconds = _checked(picture).seconds
    require("matplotlib")
    from matplotlib.figure import Figure

    count = len(picture.ribbons) + bool(picture.words)
    figure = Figure(figsize=(max(8.0, min(24.0, 1.6 * seconds)), 2.6 + 0.34 * count), dpi=140, layout="constrained")
    sound, *strips = figure.subplots(1 + count, 1, sharex=True, height_ratios=[6] + [1] * count, squeeze=False)[:, 0]
    nyquist = picture.sample_rate / 2000
    image = spectrogram(picture.waveform, picture.sample_rate)
    sound.imshow(image, aspect="auto", cmap="gray_r", extent=(0, seconds, 0, nyquist))
    sound.vlines(sorted({e for s in picture.segments for e in s}), 0, nyquist, color="#0f766e", linewidth=0.8)
    sound.set(title=picture.title, ylabel="kHz", xlim=(0, seconds), ylim=(0, nyquist))
    for axis, ribbon in zip(strips, picture.ribbons, strict=False):
        for unit, first, last in runs(ribbon.units):
            left, right = (seconds * frame / len(ribbon.units) for frame in (first, last))
            axis.axvspan(left, right, color=unit_colour(unit), linewidth=0)
        axis.set_ylabel(ribbon.name, rotation=0, ha="right", va="center")
        axis.set_yticks([])
    if picture.words:
        for word, start, end in picture.words:
            strips[-1].axvline(start, color="0.8", linewidth=0.8)
            # Matplotlib would read dollar signs as formulas.
            shown = word.replace("$", r"\$")
            strips[-1].text((start + end) / 2, 0.5, shown, ha="center", va="center", fontsize=8, clip_on=True)
        strips[-1].set(yticks=[], ylim=(0, 1))
        strips[-1].set_ylabel("words", rotation=0, ha="right", va="center")
    (strips[-1] if strips else sound).set_xlabel("seconds")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def spectrogram(
    waveform: NDArray[np.floating[Any]], sample_rate: int, loudest: float | None = None
) -> NDArray[np.uint8]:
    """Image (ROWS, M) of levels from 0, `DECIBELS` below the maximum, to 255; the highest frequency is the first row.

    ``loudest`` is the level of 255 in units of `band_levels`; by default the maximum of the waveform itself.
    """
    decibels = band_levels(waveform, sample_rate)
    shade = 1 + (decibels - (decibels.max() if loudest is None else loudest)) / DECIBELS
    return np.asarray(np.round(255 * np.clip(shade, 0, 1)).T[::-1], np.uint8)


def band_levels(waveform: NDArray[np.floating[Any]], sample_rate: int) -> NDArray[np.floating[Any]]:
    """Power in decibels (M, ROWS), the lowest frequency first."""
    window = max(2 * ROWS, round(0.025 * sample_rate))
    hop = max(sample_rate // 200, -(-len(waveform) // MAX_COLUMNS))
    padded = np.pad(np.asarray(waveform, np.float32), (window // 2, window // 2 + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][: max(1, -(-len(waveform) // hop))]
    power = np.abs(np.fft.rfft(frames * np.hanning(window).astype(np.float32), axis=1)) ** 2
    edges = np.linspace(0, power.shape[1], ROWS + 1).astype(int)
    bands = np.maximum.reduceat(power, edges[:-1], axis=1)
    return np.asarray(10 * np.log10(np.maximum(bands, 1e-12)))


def grey_png(image: NDArray[np.uint8]) -> bytes:
    """A greyscale PNG of (rows, columns) in which 255 is black."""
    height, width = image.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), 255 - image], axis=1).tobytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def unit_colour(unit: int) -> str:
    """The colour of a unit; hues follow the golden ratio, so that consecutive numbers differ."""
    hue = (unit * GOLDEN) % 1.0
    light = (0.42, 0.58, 0.74)[unit % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, light, 0.55)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def runs(units: NDArray[np.integer[Any]]) -> list[tuple[int, int, int]]:
    """Runs of equal units: unit, first frame, end frame (exclusive)."""
    stretches: list[tuple[int, int, int]] = []
    at = 0
    for unit, group in groupby(units.tolist()):
        length = sum(1 for _ in group)
        stretches.append((int(unit), at, at + length))
        at += length
    return stretches


def _checked(picture: UnitPicture) -> UnitPicture:
    if not len(picture.waveform):
        raise UserError(f"{picture.title}: has no samples; give a recording that is not empty")
    return picture


def _ribbon(ribbon: Ribbon, seconds: float) -> Markup:
    width = WIDTH / max(1, len(ribbon.units))
    stretches = runs(ribbon.units)
    marks = [
        shape(
            "rect",
            shape("title", f"unit {unit}, {seconds * begin / len(ribbon.units):.2f} s"),
            x=round(begin * width, 2),
            y=0,
            width=round((end - begin) * width, 2),
            height=10,
            fill=unit_colour(unit),
        )
        for unit, begin, end in stretches
    ]
    return stretched(marks, "ribbon", f"0 0 {WIDTH} 10", f"{ribbon.name}: {len(stretches)} units")


def _words(words: Sequence[tuple[str, float, float]], seconds: float) -> Markup:
    marks = [shape("text", word, x=f"{100 * (start + end) / 2 / seconds:.2f}%", y=14) for word, start, end in words]
    return shape("svg", *marks, class_="words", role="img", aria_label="words: " + " ".join(w for w, _, _ in words))
