"""Draw spectrograms with phones, syllables and words, to inspect alignments and segments.

    python scripts/draw_alignments.py SILVER.jsonl MANIFEST.jsonl --out DIR [--ids ID …] [--seconds 5] [--tiers …]

SILVER has the tiers; audio paths are relative to MANIFEST. Needs the extra ``plots``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechkit.data.audio import read_cut
from speechkit.data.manifest import read_manifest
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import SpeechkitError, UserError

SAMPLE_RATE = 16_000
COLOURS = {"phone": "white", "syllable": "cyan", "word": "yellow"}


def draw(
    row: Utterance, audio: Path, target: Path, seconds: float, tiers: Sequence[str] = ("phone", "syllable", "word")
) -> None:
    """Write a PNG of the first seconds of an utterance: each tier in a ribbon, its boundaries through the spectrogram.

    Raises:
        UserError: if matplotlib is absent or the row lacks a tier.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("drawing needs matplotlib: pip install 'speechkit[plots]'") from error
    alignment = row.alignment or {}
    if missing := [tier for tier in tiers if tier not in alignment]:
        raise UserError(f"{row.id} has no tier {missing[0]!r}; it has {', '.join(alignment) or 'none'}")
    waveform = read_cut(audio, row, sample_rate=SAMPLE_RATE)[: round(seconds * SAMPLE_RATE)]
    length = len(waveform) / SAMPLE_RATE
    figure = Figure(figsize=(4 * length, 6))
    parts = figure.subplots(len(tiers) + 1, 1, sharex=True, height_ratios=[6, *[1] * len(tiers)])
    parts[0].imshow(
        _spectrogram(waveform), origin="lower", aspect="auto", extent=(0, length, 0, SAMPLE_RATE / 2), cmap="magma"
    )
    parts[0].set_ylabel("Hz")
    parts[0].set_title(f"{row.id}: {row.text or ''}"[:150], fontsize=9)
    for position, (tier, part) in enumerate(zip(tiers, parts[1:], strict=True)):
        items = [item for item in alignment[tier] if item.start < length]
        for item in items:
            _ribbon(part, item)
            for time in (item.start, item.start + item.duration):
                # The coarser the tier, the higher its lines reach.
                height = SAMPLE_RATE / 2 * (position + 1) / len(tiers)
                parts[0].plot([time, time], [0, height], color=COLOURS.get(tier, "white"), linewidth=0.6)
        part.set_ylabel(tier, rotation=0, ha="right", va="center")
        part.set_yticks([])
        part.set_ylim(0, 1)
    parts[-1].set_xlim(0, length)
    parts[-1].set_xlabel("seconds")
    figure.savefig(target, dpi=80, bbox_inches="tight")


def _ribbon(part: object, item: AlignmentItem) -> None:
    part.axvspan(item.start, item.start + item.duration, alpha=0.3)  # type: ignore[attr-defined]
    part.text(  # type: ignore[attr-defined]
        item.start + item.duration / 2, 0.5, item.symbol, ha="center", va="center", fontsize=7, clip_on=True
    )


def _spectrogram(waveform: np.ndarray, size: int = 400, hop: int = 80) -> np.ndarray:
    """Levels in dB (bins, frames), 60 dB down to the floor."""
    padded = np.pad(waveform, (size // 2, size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    levels = 20 * np.log10(np.abs(np.fft.rfft(frames, 512)) + 1e-8).T
    return np.asarray(np.maximum(levels, levels.max() - 60))


def chosen_rows(silver: Path, ids: Sequence[str]) -> list[Utterance]:
    """The utterances with these ids, or five equally spaced ones if no id is given.

    Raises:
        UserError: if there is no utterance, or none of a given id.
    """
    rows = list(read_manifest(silver))
    if not rows:
        raise UserError(f"{silver}: has no utterance; there is nothing to draw")
    if not ids:
        return rows[:: max(1, len(rows) // 5)][:5]
    if unknown := [name for name in ids if name not in {row.id for row in rows}]:
        raise UserError(f"{silver}: has no utterance {unknown[0]!r}; give ids such as {rows[0].id!r}")
    return [row for row in rows if row.id in ids]


def main() -> int:
    """Draw the given utterances, or five equally spaced ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("silver", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ids", nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tiers", nargs="*", default=["phone", "syllable", "word"])
    arguments = parser.parse_args()
    try:
        chosen = chosen_rows(arguments.silver, arguments.ids)
        arguments.out.mkdir(parents=True, exist_ok=True)
        for row in chosen:
            target = arguments.out / f"{row.id}.png"
            draw(row, arguments.manifest.parent / row.audio_filepath, target, arguments.seconds, arguments.tiers)
            print(target)
    except SpeechkitError as error:
        print(f"draw_alignments: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
