"""Earnings-21: 44 earnings calls of nine sectors, 39 hours, with entities.

Layout: ``media/<id>.mp3``, ``transcripts/nlp_references/<id>.nlp``, ``transcripts/wer_tags/<id>.wer_tag.json``,
``earnings21-file-metadata.csv`` and ``eval10-file-metadata.csv`` (the Eval-10 subset). A call is one utterance; its
speaker numbers are local to the call, so the manifest has no speakers.

Licence: CC BY-SA 4.0. Homepage: https://github.com/revdotcom/speech-datasets
Citation: Del Rio et al. 2021, Earnings-21: a practical benchmark for ASR in the wild.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Corpus, Item, Request
from .earnings_calls import read_about, read_calls

TABLES = {"all": "earnings21-file-metadata.csv", "eval10": "eval10-file-metadata.csv"}
ABOUT = {"company_name": "company", "sector": "sector", "financial_quarter": "quarter"}


def splits(request: Request) -> list[str]:
    """``all``, and ``eval10`` if its table is present."""
    _transcripts(request.source)
    return ["all", *(["eval10"] if (request.source / TABLES["eval10"]).is_file() else [])]


def read(request: Request, split: str) -> Iterator[Item]:
    """Calls sorted by number."""
    folder = _transcripts(request.source)
    about = read_about(request.source / TABLES[split], "file_id", ABOUT)
    transcripts = {path.stem for path in folder.glob("*.nlp")}
    names = sorted(about if split == "eval10" else transcripts | set(about))
    yield from read_calls(request, folder, ".nlp", names, about)


def _transcripts(source: Path) -> Path:
    folder = source / "transcripts" / "nlp_references"
    if not folder.is_dir():
        raise UserError(f"{source}: holds no transcripts/nlp_references; give the folder earnings21 as downloaded")
    return folder


CORPUS = Corpus(
    name="earnings21",
    title="Earnings-21",
    licence="CC BY-SA 4.0",
    homepage="https://github.com/revdotcom/speech-datasets",
    citation="Del Rio et al. 2021",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
