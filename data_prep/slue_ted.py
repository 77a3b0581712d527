"""SLUE-TED: talks with titles and abstracts, for summarisation, 829 hours.

Layout as released: ``slue-ted_{train,dev,test}/slue-ted_<split>.tsv`` (or the tables beside one another) with the
columns id, speaker, title, abstract, transcript, and the audio ``<split>/<id>.flac``; or tars of it; or the Parquet
files of asapp/slue-phase-2, config ted. Title and abstract stand in ``custom``, absent where the release withholds
them.

Licence: CC BY-NC-ND 4.0. Homepage: https://github.com/asappresearch/slue-toolkit
Citation: Shon et al. 2023, SLUE Phase-2: a benchmark suite of diverse spoken language understanding tasks.
"""

from __future__ import annotations

from collections.abc import Iterator

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .slue_source import AudioFiles, find_splits, read_rows

NAMES = ("slue-ted",)
CONFIGS = ("ted",)


def splits(request: Request) -> list[str]:
    """The splits that are there."""
    return list(find_splits(request, NAMES, CONFIGS))


def read(request: Request, split: str) -> Iterator[Item]:
    """Talks in the order of the table; a talk without transcript has no text."""
    found = find_splits(request, NAMES, CONFIGS)[split]
    audio = None if found.is_parquet else AudioFiles(found.home, (split,))
    for row in read_rows(request, found, ("id", "transcript"), "id"):
        if isinstance(row, LeftOut):
            yield row
            continue
        identifier = row.text("id") or ""
        custom = {name: text for name in ("title", "abstract") if (text := row.text(name))}
        if len(custom) < 2:
            request.notes["talks without title or abstract (withheld)"] += 1
        yield Clip(
            identifier,
            row.fields["audio"] if audio is None else audio.get(identifier),
            row.text("transcript"),
            speaker=row.text("speaker"),
            lang="en",
            custom=custom or None,
        )


CORPUS = Corpus(
    name="slue_ted",
    title="SLUE-TED",
    licence="CC BY-NC-ND 4.0",
    homepage="https://github.com/asappresearch/slue-toolkit",
    citation="Shon et al. 2023",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
