"""TED-LIUM 3: 452 hours of TED talks, segmented and transcribed.

Layout: ``TEDLIUM_release-3/{legacy,speaker-adaptation}/{train,dev,test}/{sph,stm}``; recordings are NIST SPHERE, one
STM file per talk. Splits are named ``legacy-train`` etc. Segments that the STM marks with ``inter_segment_gap`` or
``ignore_time_segment_in_scoring`` are left out, as are those with only ``<unk>``. Other ``<unk>`` are kept in the text
and counted; ``custom.unknown_words`` is the number per segment. Detached apostrophes in the STM (``it 's``) are joined
to the preceding word. Segments that overlap the previous one are kept and counted.

Licence: CC BY-NC-ND 3.0. Homepage: https://www.openslr.org/51
Citation: Hernandez et al. 2018, TED-LIUM 3: twice as much data and corpus repartition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .tables import read_lines

PARTS = ("legacy", "speaker-adaptation")
SPLITS = ("train", "dev", "test")
IGNORED = "ignore_time_segment_in_scoring"
GAP = "inter_segment_gap"
UNKNOWN = "<unk>"
LONE_APOSTROPHE = re.compile(r" '(?=\w)")


def splits(request: Request) -> list[str]:
    """``<part>-<split>`` for every folder with STM files."""
    return list(_folders(request.source))


def read(request: Request, split: str) -> Iterator[Item]:
    """Segments by talk, in the order of the STM files."""
    folder = _folders(request.source)[split]
    talks = {p.stem: p for p in sorted((folder / "sph").glob("*.sph"))}
    tables = sorted((folder / "stm").glob("*.stm"))
    for table in tables:
        yield from _talk(table, talks.get(table.stem, folder / "sph" / f"{table.stem}.sph"), request)
    for name in sorted(talks.keys() - {t.stem for t in tables}):
        yield LeftOut(name, "transcript_missing", f"{folder / 'stm' / name}.stm: is missing")


def _talk(table: Path, audio: Path, request: Request) -> Iterator[Item]:
    last_end = 0.0
    for number, line in read_lines(table):
        if line.startswith(";;"):
            continue
        fields = line.split()
        name, location = f"{table.stem}-{number:05d}", f"{table}:{number}"
        try:
            channel, speaker, begin, end = int(fields[1]), fields[2], float(fields[3]), float(fields[4])
        except (IndexError, ValueError):
            yield LeftOut(name, "bad_line", f"{location}: is not: talk, channel, speaker, start, end, label, words")
            continue
        if fields[0] != table.stem or channel < 1:
            yield LeftOut(name, "bad_line", f"{location}: is of the talk {fields[0]}, channel {channel}")
            continue
        # The label in angle brackets is optional in STM.
        words = fields[6:] if len(fields) > 5 and re.fullmatch(r"<[^<>]*,[^<>]*>", fields[5]) else fields[5:]
        if speaker == GAP or IGNORED in words:
            yield LeftOut(name, "marked_ignore", f"{location}: {GAP if speaker == GAP else IGNORED}")
            continue
        unknown = words.count(UNKNOWN)
        if words and unknown == len(words):
            yield LeftOut(name, "no_words", f"{location}: has no word but {UNKNOWN}")
            continue
        if unknown:
            request.notes["segments with <unk>"] += 1
        if begin < last_end:
            request.notes["segments that overlap the one before"] += 1
        last_end = max(last_end, end)
        yield Clip(
            name,
            audio,
            LONE_APOSTROPHE.sub("'", " ".join(words)),
            speaker=speaker,
            lang="en",
            start_seconds=begin,
            end_seconds=end,
            channel=channel - 1,
            custom={"unknown_words": unknown} if unknown else None,
        )


def _folders(source: Path) -> dict[str, Path]:
    for root in (source, source / "TEDLIUM_release-3"):
        folders = {
            f"{part}-{name}": root / part / name
            for part in PARTS
            for name in SPLITS
            if (root / part / name / "stm").is_dir()
        }
        if folders:
            return folders
    raise UserError(f"{source}: holds no legacy/<split>/stm; give the folder TEDLIUM_release-3 as unpacked")


CORPUS = Corpus(
    name="tedlium3",
    title="TED-LIUM 3",
    licence="CC BY-NC-ND 3.0",
    homepage="https://www.openslr.org/51",
    citation="Hernandez et al. 2018",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
