"""NIST CTM: one word a line, ``recording channel start duration word confidence``."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import IO

from speechkit.io.atomic import atomic_path
from speechkit.mining.export.recordings import Manifest, recordings, words_of


def write_ctm(manifest: Manifest, path: Path | str) -> int:
    """Write the words of all recordings as CTM and return how many utterances had word times.

    Lines are sorted by recording, channel and start, as sclite wants them. Times are seconds with three decimals;
    channels count from 1. The confidence is ``exp`` of the word's mean log-probability a frame where it is known.
    White space inside a word becomes ``_``. Utterances without word times have no lines.
    """
    timed = 0
    blocks: list[tuple[str, int, int]] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as unsorted, atomic_path(path) as temporary:
        for recording, cuts in recordings(manifest):
            lines: list[tuple[int, float, str]] = []
            for cut in cuts:
                words = words_of(cut)
                timed += bool(words)
                for text, start, end, score in words:
                    token = "_".join(text.split()) or "<eps>"
                    line = f"{recording} {cut.channel + 1} {start:.3f} {max(0.0, end - start):.3f} {token}"
                    lines.append((cut.channel, start, line + _confidence(score)))
            begin = unsorted.tell()
            lines.sort(key=lambda line: line[:2])
            unsorted.writelines(f"{line}\n" for _, _, line in lines)
            blocks.append((recording, begin, unsorted.tell()))
        _copy_sorted(unsorted, blocks, temporary)
    return timed


def _confidence(score: float | None) -> str:
    if score is None or math.isnan(score):
        return ""
    return f" {math.exp(min(score, 0.0)):.3f}"


def _copy_sorted(source: IO[str], blocks: list[tuple[str, int, int]], path: Path) -> None:
    source.flush()
    with path.open("wb") as file:
        raw = source.buffer  # type: ignore[attr-defined]
        for _, begin, end in sorted(blocks):
            raw.seek(begin)
            left = end - begin
            while left:
                block = raw.read(min(left, 1 << 20))
                file.write(block)
                left -= len(block)
