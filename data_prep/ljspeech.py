"""LJ Speech, and any single-speaker corpus in its layout.

Layout: ``metadata.csv`` with ``id|text|normalised text`` (or ``id|text``) and ``wavs/<id>.wav`` (FLAC, Opus, OGG and
MP3 copies are also read). The manifest text is the normalised (spoken) form if present; the written form is kept in
``custom.written`` if it differs. The speaker of LJ Speech is named LJ; for other corpora give ``--speaker`` and
``--lang``, which the layout does not contain.

Licence: public domain (other corpora in this layout have their own). Homepage: https://keithito.com/LJ-Speech-Dataset
Citation: Ito and Johnson 2017, The LJ Speech Dataset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .tables import read_lines, require_folder

SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")
LJ_ID = re.compile(r"LJ\d{3}-\d{4}$")


def splits(request: Request) -> list[str]:
    """A single split, ``all``: the corpus has no official splits."""
    root = _root(request.source)
    require_folder(root / "wavs", "unpack the archive of the corpus whole")
    return ["all"]


def read(request: Request, split: str) -> Iterator[Item]:
    """Clips in the order of metadata.csv, then audio that is not listed."""
    root = _root(request.source)
    table = root / "metadata.csv"
    audio = {p.stem: p for p in sorted((root / "wavs").iterdir(), reverse=True) if p.suffix.lower() in SUFFIXES}
    named: set[str] = set()
    for number, line in read_lines(table):
        fields = line.split("|")
        if len(fields) not in (2, 3) or not fields[0]:
            detail = f"{table}:{number}: has {len(fields)} fields and not id|text|normalised text"
            yield LeftOut(fields[0][:80], "bad_line", detail)
            continue
        name, written, spoken = fields[0], " ".join(fields[1].split()), " ".join(fields[-1].split())
        named.add(name)
        if name not in audio:
            yield LeftOut(name, "audio_missing", f"{table}:{number}: wavs holds no audio of {name}")
            continue
        reader = ("LJ", "en") if LJ_ID.match(name) else (None, None)
        yield Clip(
            name,
            audio[name],
            spoken,
            speaker=request.speaker or reader[0],
            lang=request.lang or reader[1],
            custom={"written": written} if written != spoken else None,
        )
    for name in sorted(audio.keys() - named):
        yield LeftOut(name, "transcript_missing", f"{audio[name]}: metadata.csv does not name it")


def _root(source: Path) -> Path:
    for root in (source, source / "LJSpeech-1.1"):
        if (root / "metadata.csv").is_file():
            return root
    raise UserError(f"{source}: holds no metadata.csv; give the folder LJSpeech-1.1 as unpacked")


CORPUS = Corpus(
    name="ljspeech",
    title="LJ Speech",
    licence="public domain (LJ Speech; other corpora in its layout have their own)",
    homepage="https://keithito.com/LJ-Speech-Dataset",
    citation="Ito and Johnson 2017",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
