"""Praat TextGrids in the long format: every tier covers the whole recording, gaps are empty intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from speechkit.errors import UserError
from speechkit.io.atomic import write_text
from speechkit.mining.export.recordings import Manifest, RecordingCuts, end_of, recordings, start_of, words_of

Interval = tuple[float, float, str]  # start and end in seconds, text
SHORTEST_SECONDS = 0.001


def write_textgrids(manifest: Manifest, folder: Path | str, durations: Mapping[str, float] | None = None) -> list[Path]:
    """Write ``<recording>.TextGrid`` for every recording, with the tiers ``sentences`` and ``words``.

    ``durations`` gives the length of recordings in seconds; without it a grid ends where its last sentence ends.
    Where sentences overlap, the later ones go to a tier of their own (``sentences 2``): Praat's tiers cannot overlap.
    """
    paths = []
    for cuts in recordings(manifest):
        end = max(end_of(cut) for cut in cuts.utterances)
        end = max(end, (durations or {}).get(cuts.id, 0.0))
        path = Path(folder) / f"{cuts.id}.TextGrid"
        write_text(path, format_textgrid(tiers_of(cuts), end))
        paths.append(path)
    return paths


def tiers_of(cuts: RecordingCuts) -> dict[str, list[Interval]]:
    """The tiers ``sentences`` and ``words`` (and their overflow) of one recording."""
    sentences = [(start_of(cut), end_of(cut), cut.text or "") for cut in cuts.utterances]
    words = [(word.start, word.end, word.text) for cut in cuts.utterances for word in words_of(cut)]
    tiers: dict[str, list[Interval]] = {}
    for name, intervals in (("sentences", sentences), ("words", words)):
        for number, tier in enumerate(_without_overlap(intervals) or [[]], start=1):
            tiers[name if number == 1 else f"{name} {number}"] = tier
    return tiers


def _without_overlap(intervals: Iterable[Interval]) -> list[list[Interval]]:
    tiers: list[list[Interval]] = []
    for start, end, text in sorted(intervals):
        for tier in tiers:
            # Word times are rounded to frames: less than a millisecond of overlap is rounding, not overlap.
            if start > tier[-1][1] - SHORTEST_SECONDS:
                start = max(start, tier[-1][1])
                tier.append((start, max(end, start + SHORTEST_SECONDS), text))
                break
        else:
            tiers.append([(start, max(end, start + SHORTEST_SECONDS), text)])
    return tiers


def format_textgrid(tiers: Mapping[str, Sequence[Interval]], end: float) -> str:
    """A TextGrid from 0 to at least ``end`` seconds.

    Each tier's intervals are ordered and disjoint; the gaps between them are filled with empty ones.

    Raises:
        UserError: if the intervals of a tier overlap or run backwards.
    """
    end = max([end, SHORTEST_SECONDS, *(tier[-1][1] for tier in tiers.values() if tier)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_number(end)}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, tier) in enumerate(tiers.items(), start=1):
        full = _covering(name, tier, end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {_number(end)}", f"        intervals: size = {len(full)}"]
        for index, (start, stop, text) in enumerate(full, start=1):
            lines += [f"        intervals [{index}]:", f"            xmin = {_number(start)}"]
            lines += [f"            xmax = {_number(stop)}", f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def _covering(name: str, tier: Sequence[Interval], end: float) -> list[Interval]:
    full: list[Interval] = []
    at = 0.0
    for start, stop, text in tier:
        start, stop = round(start, 6), round(stop, 6)
        if start < at or stop <= start:
            raise UserError(
                f"tier {name}: interval {start} to {stop} overlaps or runs backwards after {at}; correct its times"
            )
        if start > at:
            full.append((at, start, ""))
        full.append((start, stop, text))
        at = stop
    if round(end, 6) > at or not full:
        full.append((at, round(end, 6), ""))
    return full


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
