"""Earnings-22: 125 earnings calls in the English of 27 countries, 119 hours.

Layout: ``media/<id>.mp3``, ``transcripts/nlp_references/<id>.nlp``, ``metadata.csv``, and with word times
``transcripts/force_aligned_nlp_references/<id>.aligned.nlp``, which is the split ``aligned``. A call is one utterance;
the company's country and language family are in ``custom``, so that error rates can be grouped by them.

Licence: CC BY-SA 4.0. Homepage: https://github.com/revdotcom/speech-datasets
Citation: Del Rio et al. 2022, Earnings-22: a practical benchmark for accents in the wild.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Corpus, Item, Request
from .earnings_calls import read_about, read_calls

FOLDERS = {"all": ("nlp_references", ".nlp"), "aligned": ("force_aligned_nlp_references", ".aligned.nlp")}
ABOUT = {
    "Country by Ticker": "country",
    "UN Defined": "region",
    "Major Dialect Family": "dialect",
    "Language Family + Area Based": "language_family",
}


def splits(request: Request) -> list[str]:
    """``all``, and ``aligned`` if its folder is present."""
    present = [split for split, (name, _) in FOLDERS.items() if (_home(request.source) / name).is_dir()]
    if not present:
        raise UserError(
            f"{request.source}: holds no transcripts/nlp_references; give the folder earnings22 as downloaded"
        )
    return present


def read(request: Request, split: str) -> Iterator[Item]:
    """Calls sorted by name."""
    name, suffix = FOLDERS[split]
    folder = _home(request.source) / name
    about = read_about(request.source / "metadata.csv", "File ID", ABOUT)
    transcripts = {path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}")}
    yield from read_calls(request, folder, suffix, sorted(transcripts | set(about)), about)


def _home(source: Path) -> Path:
    return source / "transcripts"


CORPUS = Corpus(
    name="earnings22",
    title="Earnings-22",
    licence="CC BY-SA 4.0",
    homepage="https://github.com/revdotcom/speech-datasets",
    citation="Del Rio et al. 2022",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
