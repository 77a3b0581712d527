"""AISHELL-1: 178 hours of read Mandarin by 400 speakers.

Layout: ``data_aishell/transcript/aishell_transcript_v0.8.txt`` and ``data_aishell/wav/<split>/<speaker>/<id>.wav``, or
the archives ``wav/<speaker>.tar.gz`` as published, which are unpacked below the output folder. Published transcripts
have spaces between words; the manifest text has none, as usual in Chinese, and ``custom.words`` keeps the published
form. Not all recorded clips are transcribed; those without transcript are counted.

Licence: Apache-2.0. Homepage: https://www.openslr.org/33
Citation: Bu et al. 2017, AISHELL-1: an open-source Mandarin speech corpus and a speech recognition baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .archives import unpacked
from .corpus import Clip, Corpus, Item, LeftOut, Request
from .tables import read_map, subfolders

SPLITS = ("train", "dev", "test")
TRANSCRIPT = Path("transcript") / "aishell_transcript_v0.8.txt"


def splits(request: Request) -> list[str]:
    """Splits that are present, after unpacking speakers that are still archives."""
    wav = _root(request.source) / "wav"
    for archive in sorted(wav.glob("S*.tar.gz")):
        unpacked(archive, request.unpacked / archive.name.removesuffix(".tar.gz"))
    present = [name for name in SPLITS if any(_speakers(request, name))]
    if not present:
        raise UserError(f"{wav}: holds neither train, dev or test folders nor S*.tar.gz; unpack data_aishell.tgz")
    return present


def read(request: Request, split: str) -> Iterator[Item]:
    """Clips by speaker; transcripts without audio belong to no split and are not reported."""
    root = _root(request.source)
    texts, repeated = read_map(root / TRANSCRIPT)
    yield from repeated
    for folder in sorted(_speakers(request, split), key=lambda path: path.name):
        for audio in sorted(folder.glob("*.wav")):
            name = audio.stem
            if name not in texts:
                yield LeftOut(name, "transcript_missing", f"{root / TRANSCRIPT}: has no line for {name}")
            else:
                words = texts[name]
                yield Clip(name, audio, words.replace(" ", ""), speaker=folder.name, lang="zh", custom={"words": words})


def _root(source: Path) -> Path:
    for root in (source, source / "data_aishell"):
        if (root / TRANSCRIPT).is_file() and (root / "wav").is_dir():
            return root
    raise UserError(f"{source}: holds no {TRANSCRIPT} and wav; give the folder data_aishell as unpacked")


def _speakers(request: Request, split: str) -> Iterator[Path]:
    """Speaker folders of a split, in the corpus and in unpacked archives."""
    homes = [_root(request.source) / "wav"]
    if request.unpacked.is_dir():
        homes += [p for p in subfolders(request.unpacked) if p.name.startswith("S")]
    for home in homes:
        if (home / split).is_dir():
            yield from subfolders(home / split)


CORPUS = Corpus(
    name="aishell1",
    title="AISHELL-1",
    licence="Apache-2.0",
    homepage="https://www.openslr.org/33",
    citation="Bu et al. 2017",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
