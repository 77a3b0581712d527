"""FLEURS: FLoRes sentences read in 102 languages, about ten hours each.

Layout, as in the Hugging Face repository google/fleurs: ``data/<language>/{train,dev,test}.tsv`` without header
(sentence id, file name, raw transcription, transcription, characters, samples, gender) and
``data/<language>/audio/<split>.tar.gz``, or that archive unpacked as ``audio/<split>/``. Archives are unpacked below
the output folder. The text is the normalised transcription; the raw one is in ``custom``. There are no speaker labels.

Licence: CC BY 4.0. Homepage: https://arxiv.org/abs/2205.12446
Citation: Conneau et al. 2022, FLEURS: few-shot learning evaluation of universal representations of speech.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .archives import unpacked
from .corpus import Clip, Corpus, Item, LeftOut, Request
from .tables import read_fields, subfolders, whole_number

SPLITS = ("train", "dev", "test")
FIELDS = 7


def splits(request: Request) -> list[str]:
    """``<language>-<split>`` for every table."""
    return list(_tables(request.source))


def read(request: Request, split: str) -> Iterator[Item]:
    """Clips in the order of the published table."""
    table = _tables(request.source)[split]
    language = table.parent.resolve().name
    folder = _audio_folder(table, request.unpacked / split)
    for row in read_fields(table, FIELDS):
        if isinstance(row, LeftOut):
            yield row
            continue
        number, (sentence, name, raw, text, _, samples, gender) = row
        length = whole_number(samples)
        if not name or length is None:
            yield LeftOut(name[:80], "bad_line", f"{table}:{number}: lacks a file name or a number of samples")
            continue
        yield Clip(
            f"{language}-{Path(name).stem}",
            folder / name,
            " ".join(text.split()),
            lang=language.split("_")[0],
            expected_samples=length,
            custom={"sentence": sentence, "raw_text": raw, "gender": gender.lower(), "locale": language},
        )


def _tables(source: Path) -> dict[str, Path]:
    top = source / "data" if (source / "data").is_dir() else source
    folders = [source] if any((source / f"{s}.tsv").is_file() for s in SPLITS) else subfolders(top)
    tables = {
        f"{folder.resolve().name}-{name}": folder / f"{name}.tsv"
        for folder in folders
        for name in SPLITS
        if (folder / f"{name}.tsv").is_file()
    }
    if not tables:
        raise UserError(f"{source}: holds no data/<language>/train.tsv; give the folder of the FLEURS repository")
    return tables


def _audio_folder(table: Path, target: Path) -> Path:
    split = table.stem
    folder = table.parent / "audio" / split
    if folder.is_dir():
        return folder
    archive = table.parent / "audio" / f"{split}.tar.gz"
    if not archive.is_file():
        raise UserError(f"{archive}: is missing; download the audio of {table.parent.name} too")
    content = unpacked(archive, target)
    inner = content / split
    return inner if inner.is_dir() else content


CORPUS = Corpus(
    name="fleurs",
    title="FLEURS",
    licence="CC BY 4.0",
    homepage="https://arxiv.org/abs/2205.12446",
    citation="Conneau et al. 2022",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
