"""Common Voice: sentences read by volunteers in more than a hundred languages.

Layout: ``cv-corpus-<version>/<language>/{train,dev,test,validated}.tsv`` and ``clips/*.mp3``. The source may be one
language folder or the parent of several; splits are named ``<language>-<table>``. ``other`` and ``invalidated`` are not
read, because their sentences were not validated. Sentences in CSV quotes are unquoted. The speaker is the release's
``client_id``, which identifies a device or account.

Licence: CC0. Homepage: https://commonvoice.mozilla.org/datasets
Citation: Ardila et al. 2020, Common Voice: a massively-multilingual speech corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .tables import read_table, require_folder, subfolders, whole_number

TABLES = ("train", "dev", "test", "validated")
KEPT_FIELDS = ("age", "gender", "accent", "accents", "variant", "segment", "sentence_domain")
KEPT_COUNTS = ("up_votes", "down_votes")


def splits(request: Request) -> list[str]:
    """The tables of each language folder."""
    return list(_tables(request.source))


def read(request: Request, split: str) -> Iterator[Item]:
    """Clips in the order of the published table."""
    table = _tables(request.source)[split]
    clips = table.parent / "clips"
    for row in read_table(table, ("client_id", "path", "sentence")):
        if isinstance(row, LeftOut):
            yield row
            continue
        number, fields = row
        name = fields["path"]
        if not name:
            yield LeftOut("", "bad_line", f"{table}:{number}: names no clip")
            continue
        audio = clips / (name if Path(name).suffix else f"{name}.mp3")
        custom: dict[str, object] = {k: fields[k] for k in KEPT_FIELDS if fields.get(k)}
        custom |= {k: votes for k in KEPT_COUNTS if (votes := whole_number(fields.get(k, ""))) is not None}
        yield Clip(
            Path(name).stem,
            audio,
            " ".join(unquoted(fields["sentence"]).split()),
            speaker=fields["client_id"] or None,
            lang=fields.get("locale") or request.lang or table.parent.name,
            custom=custom or None,
        )


def unquoted(sentence: str) -> str:
    """Remove CSV quoting, if present: quotes around the sentence and doubled quotes inside it."""
    inner = sentence[1:-1]
    quoted = len(sentence) > 2 and sentence[0] == sentence[-1] == '"' and '""' in inner
    return inner.replace('""', '"') if quoted and '"' not in inner.replace('""', "") else sentence


def _tables(source: Path) -> dict[str, Path]:
    folders = [source] if (source / "clips").is_dir() else subfolders(source)
    tables: dict[str, Path] = {}
    for folder in folders:
        for name in TABLES:
            path = folder / f"{name}.tsv"
            if path.is_file():
                require_folder(folder / "clips", "unpack the clips of this language too")
                tables[f"{folder.resolve().name}-{name}"] = path
    if not tables:
        raise UserError(
            f"{source}: holds no language folder with {', '.join(f'{t}.tsv' for t in TABLES)}; "
            f"give cv-corpus-<version> or one language folder of it"
        )
    return tables


CORPUS = Corpus(
    name="common_voice",
    title="Common Voice",
    licence="CC0",
    homepage="https://commonvoice.mozilla.org/datasets",
    citation="Ardila et al. 2020",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
