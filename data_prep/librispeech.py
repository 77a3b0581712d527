"""LibriSpeech: 1,000 hours of English audiobooks read by volunteers.

Layout: ``LibriSpeech/<split>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`` (MP3, Opus and WAV copies are also
read) with ``<speaker>-<chapter>.trans.txt`` beside it, and ``SPEAKERS.TXT`` at the top.

Licence: CC BY 4.0. Homepage: https://www.openslr.org/12
Citation: Panayotov, Chen, Povey, Khudanpur 2015, Librispeech: an ASR corpus based on public domain audio books.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .tables import read_lines, read_map, subfolders

SPLITS = (
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
)
SUFFIXES = (".flac", ".mp3", ".opus", ".ogg", ".wav")


def splits(request: Request) -> list[str]:
    """Published splits that are present."""
    root = _root(request.source)
    return [name for name in SPLITS if (root / name).is_dir()]


def read(request: Request, split: str) -> Iterator[Item]:
    """Utterances by chapter; both audio and transcript are required."""
    root = _root(request.source)
    sexes = _speakers(root / "SPEAKERS.TXT", request)
    for speaker in subfolders(root / split):
        for chapter in subfolders(speaker):
            yield from _chapter(chapter, speaker.name, sexes.get(speaker.name))


def _root(source: Path) -> Path:
    for root in (source, source / "LibriSpeech"):
        if any((root / name).is_dir() for name in SPLITS):
            return root
    raise UserError(f"{source}: holds none of {', '.join(SPLITS)}; give the folder LibriSpeech as unpacked")


def _speakers(path: Path, request: Request) -> dict[str, str]:
    """Gender (F or M) by speaker id; SPEAKERS.TXT may be absent."""
    if not path.is_file():
        request.notes["SPEAKERS.TXT is absent: no sex of the readers"] += 1
        return {}
    sexes: dict[str, str] = {}
    for _, line in read_lines(path):
        columns = [c.strip() for c in line.split("|")]
        if not line.startswith(";") and len(columns) >= 2 and columns[1] in ("F", "M"):
            sexes[columns[0]] = columns[1]
    return sexes


def _chapter(folder: Path, speaker: str, sex: str | None) -> Iterator[Item]:
    audio = {p.stem: p for p in sorted(folder.iterdir(), reverse=True) if p.suffix.lower() in SUFFIXES}
    path = folder / f"{speaker}-{folder.name}.trans.txt"
    if not path.is_file():
        for name in sorted(audio):
            yield LeftOut(name, "transcript_missing", f"{path}: is missing")
        return
    texts, repeated = read_map(path)
    yield from repeated
    custom = {"chapter": folder.name} | ({"sex": sex} if sex else {})
    for name in sorted(audio.keys() | texts.keys()):
        if name not in texts:
            yield LeftOut(name, "transcript_missing", f"{path}: has no line for {audio[name].name}")
        elif name not in audio:
            yield LeftOut(name, "audio_missing", f"{folder / name}.flac: is not there and {path.name} names it")
        else:
            yield Clip(name, audio[name], texts[name], speaker=speaker, lang="en", custom=custom)


CORPUS = Corpus(
    name="librispeech",
    title="LibriSpeech",
    licence="CC BY 4.0",
    homepage="https://www.openslr.org/12",
    citation="Panayotov et al. 2015",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
