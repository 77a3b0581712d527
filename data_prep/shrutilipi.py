"""Shrutilipi: 6,400 hours of All India Radio bulletins in 12 languages, mined from audio and PDF transcripts.

Layout: ``<language>/<bulletin>/sent_<k>.wav`` as unpacked from ``<language>.zip``, and the fairseq manifests of
``shrutilipi_fairseq.zip``: ``<language>/train.tsv`` (a header with the publishers' folder, then path and samples),
``train.wrd`` and ``train.ltr``, aligned line by line. Both may be anywhere below the source folder. The folder in the
header is ignored. Lengths are checked against the audio and words against letters, because a shifted line would give
every later sentence a wrong text. There are no speaker labels.

Licence: the corpus page says MIT. Homepage: https://ai4bharat.iitm.ac.in/shrutilipi
Citation: Bhogale et al. 2022, Effectiveness of mining audio and text pairs from public data (arXiv 2208.12666).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from speechkit.errors import UserError
from speechkit.io.paths import safe_id

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .languages import CODES
from .tables import require_file, subfolders, whole_number

TABLES = ("train", "valid", "test")
MAX_LINE_BYTES = 1 << 20
MAX_FOLDERS = 100


def splits(request: Request) -> list[str]:
    """``<language>-<table>`` for every fairseq manifest."""
    return list(_tables(request.source))


def read(request: Request, split: str) -> Iterator[Item]:
    """Sentences in the order of the fairseq manifest."""
    table = _tables(request.source)[split]
    words = require_file(table.with_suffix(".wrd"), "unpack shrutilipi_fairseq.zip whole")
    letters = table.with_suffix(".ltr")
    language = table.parent.resolve().name
    root: Path | None = None
    for number, (row, text, spelled) in enumerate(_together(table, words, letters), 2):
        name, _, samples = row.partition("\t")
        length = whole_number(samples)
        if not name or length is None:
            yield LeftOut(name[:80], "bad_line", f"{table}:{number}: is not a path and a number of samples")
            continue
        root = root or _audio_root(request.source, table, name)
        sentence = safe_id(f"{language}-{Path(name).with_suffix('').as_posix().replace('/', '-')}")
        if spelled is not None and _joined(spelled) != " ".join(text.split()):
            yield LeftOut(sentence, "transcripts_disagree", f"{letters}:{number - 1}: spells other words than .wrd")
            continue
        yield Clip(
            sentence,
            root / name,
            " ".join(text.split()),
            lang=CODES.get(language, request.lang),
            expected_samples=length,
            custom={"bulletin": Path(name).parent.name},
        )


def _tables(source: Path) -> dict[str, Path]:
    tables: dict[str, Path] = {}
    level = [source]
    for _ in range(4):
        for folder in level:
            for name in TABLES:
                if (folder / f"{name}.tsv").is_file():
                    tables.setdefault(f"{folder.resolve().name}-{name}", folder / f"{name}.tsv")
        below = [subfolders(folder) for folder in level]
        # A folder with very many subfolders contains bulletins, which have no manifests.
        level = [folder for folders in below if len(folders) <= MAX_FOLDERS for folder in folders]
    if not tables:
        raise UserError(f"{source}: holds no train.tsv; unpack shrutilipi_fairseq.zip below it, and <language>.zip")
    return dict(sorted(tables.items()))


def _audio_root(source: Path, table: Path, first: str) -> Path:
    """Root folder of the manifest's paths: the first candidate that contains its first file."""
    language = table.parent.resolve().name
    candidates = [
        table.parent,
        source,
        source / language,
        source / "data" / language,
        source / "newsonair_v5" / language,
    ]
    for candidate in candidates:
        if (candidate / first).is_file():
            return candidate
    # If the first file is missing, the language folder still locates the others.
    for candidate in candidates[2:]:
        if candidate.is_dir() and candidate != table.parent:
            return candidate
    return table.parent


def _together(table: Path, words: Path, letters: Path) -> Iterator[tuple[str, str, str | None]]:
    """Corresponding lines of the three files.

    Raises:
        UserError: if one file has more lines than the others, since the extra line cannot be identified.
    """
    streams = [_all_lines(table), _all_lines(words)]
    next(streams[0], None)
    if letters.is_file():
        streams.append(_all_lines(letters))
    for number, lines in enumerate(zip_longest(*streams), 2):
        if None in lines:
            raise UserError(f"{table}:{number}: .tsv, .wrd and .ltr do not have the same lines; download them again")
        yield lines[0], lines[1], lines[2] if len(lines) == 3 else None


def _all_lines(path: Path) -> Iterator[str]:
    """All lines including empty ones, since lines correspond by position."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            try:
                if len(line) > MAX_LINE_BYTES:
                    raise UserError(f"{path}:{number}: is longer than 1 MiB; this is no manifest")
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number}: byte {error.start} is not UTF-8; download it again") from error


def _joined(letters: str) -> str:
    """Join letters such as ``h e | y o u |`` to words."""
    return " ".join("".join(letters.split()).replace("|", " ").split())


CORPUS = Corpus(
    name="shrutilipi",
    title="Shrutilipi",
    licence="MIT, as the corpus page says",
    homepage="https://ai4bharat.iitm.ac.in/shrutilipi",
    citation="Bhogale et al. 2022",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
