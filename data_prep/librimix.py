"""Libri2Mix and Libri3Mix: clean and noisy mixtures of two or three LibriSpeech speakers, with sources.

Layout: ``Libri2Mix/wav8k/min/<part>/{mix_clean,mix_both,mix_single,s1,s2,noise}/<utterance>_<utterance>.wav`` and
``Libri2Mix/wav8k/min/metadata/mixture_<part>_mix_clean.csv``, which lists the mixtures and their lengths; mixtures
without a table are read from the folder. Texts come from a folder ``LibriSpeech`` inside or beside it, gains from
the tables that the mixtures were generated from, ``metadata/Libri2Mix/libri2mix_<part>.csv``, if present.

Licence: CC BY 4.0 (noise: CC BY-NC 4.0). Homepage: https://github.com/JorisCos/LibriMix
Citation: Cosentino, Pariente, Cornell, Deleforge, Vincent 2020, LibriMix.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from speechkit.errors import UserError

from .corpus import Corpus, Item, LeftOut, Request
from .mixture_sets import Description, chosen, read_set, sets_below
from .tables import read_lines, read_map, whole_number

NAMES = ("Libri2Mix", "Libri3Mix")
SPEECH_SPLITS = ("dev-clean", "test-clean", "train-clean-100", "train-clean-360")


def splits(request: Request) -> list[str]:
    """Every combination of rate, length, part and mixture type that is present."""
    return [mixtures.name for mixtures in sets_below(request.source, NAMES)]


def read(request: Request, split: str) -> Iterator[Item]:
    """Mixtures in the order of their table, or sorted by file name."""
    mixtures = chosen(sets_below(request.source, NAMES), split)
    part = mixtures.mixtures.parent
    gains = _gains(request, part)
    speech = next(
        (f for f in (request.source / "LibriSpeech", request.source.parent / "LibriSpeech") if f.is_dir()), None
    )
    if speech is None:
        request.notes["no folder LibriSpeech inside or beside: no texts"] += 1

    def describe(stem: str) -> Description:
        utterances = stem.split("_")
        texts = [_text(speech, utterance) for utterance in utterances] if speech else [None]
        return Description(
            speakers=[utterance.split("-")[0] for utterance in utterances],
            gains=gains.get(stem),
            texts=[text for text in texts if text is not None] if None not in texts else None,
        )

    listed: list[tuple[str, int | None]] = []
    table = part.parent / "metadata" / f"mixture_{part.name}_{mixtures.mixtures.name}.csv"
    if not table.is_file():
        request.notes[f"no {table.name}: mixtures of the folder"] += 1
        yield from read_set(mixtures, describe)
        return
    for number, row in _rows(table, ("mixture_ID", "mixture_path", "length")):
        # Paths are from the machine that generated the corpus; only the file name is valid here.
        name = PurePosixPath(row["mixture_path"].replace("\\", "/")).name
        samples = whole_number(row["length"].removesuffix(".0"))
        if not name or samples is None:
            yield LeftOut(row["mixture_ID"][:80], "bad_line", f"{table}:{number}: has no file name or no length")
        else:
            listed.append((name, samples))
    yield from read_set(mixtures, describe, listed)


def _gains(request: Request, part: Path) -> dict[str, list[float]]:
    """Source gains by mixture name, from the tables that the corpus was generated from."""
    root = part.parents[2]  # of wav8k/min/PART
    for folder in (
        request.source / "metadata" / root.name,
        root / "metadata" / root.name,
        root.parent / "metadata" / root.name,
    ):
        for table in sorted(folder.glob(f"{root.name.lower()}_{_speech_split(part.name)}.csv")):
            columns = [f"source_{number}_gain" for number in (1, 2, 3)]
            gains: dict[str, list[float]] = {}
            for _, row in _rows(table, ("mixture_ID", *columns[:2])):
                try:
                    gains[row["mixture_ID"]] = [float(row[column]) for column in columns if row.get(column)]
                except ValueError:
                    request.notes[f"{table.name}: gains that are no numbers"] += 1
            return gains
    return {}


def _speech_split(part: str) -> str:
    """LibriSpeech split of a part: test comes from test-clean, train-100 from train-clean-100."""
    name, _, hours = part.partition("-")
    return f"{name}-clean" + (f"-{hours}" if hours else "")


def _rows(table: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header, with line numbers."""
    lines = read_lines(table)
    header: list[str] = []
    for number, line in lines:
        row = next(csv.reader([line]))
        if not header:
            header = row
            lacking = [name for name in required if name not in header]
            if lacking:
                raise UserError(f"{table}:{number}: the header lacks {', '.join(lacking)}; use the table as published")
        else:
            yield number, dict(zip(header, [*row, *[""] * len(header)], strict=False))


def _text(speech: Path, utterance: str) -> str | None:
    """Transcript of a LibriSpeech utterance, None if absent."""
    speaker, _, rest = utterance.partition("-")
    chapter = rest.partition("-")[0]
    if not (speaker.isalnum() and chapter.isalnum()):
        return None
    return _chapter(speech, speaker, chapter).get(utterance)


@lru_cache(maxsize=4096)
def _chapter(speech: Path, speaker: str, chapter: str) -> dict[str, str]:
    for split in SPEECH_SPLITS:
        path = speech / split / speaker / chapter / f"{speaker}-{chapter}.trans.txt"
        if path.is_file():
            return read_map(path)[0]
    return {}


CORPUS = Corpus(
    name="librimix",
    title="LibriMix",
    licence="CC BY 4.0; noise CC BY-NC 4.0",
    homepage="https://github.com/JorisCos/LibriMix",
    citation="Cosentino et al. 2020",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
