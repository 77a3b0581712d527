"""SLUE-TED: talks with titles and abstracts, for summarisation, 829 hours.

Layout as released: ``slue-ted_{train,dev,test}/slue-ted_<split>.tsv`` (or the tables beside one another) with the
columns id, speaker, title, abstract, transcript, and the audio ``<split>/<id>.flac``; or tars of it; or the Parquet
files of asapp/slue-phase-2, config ted. Title and abstract are in ``custom``, absent if the release withholds
them.

Licence: CC BY-NC-ND 4.0. Homepage: https://github.com/asappresearch/slue-toolkit
Citation: Shon et al. 2023, SLUE Phase-2: a benchmark suite of diverse spoken language understanding tasks.
"""

from __future__ import annotations

from .corpus import Clip, Item
from .slue_source import Reading, Row, slue_corpus


def clip(reading: Reading, row: Row) -> Item:
    """Talk with title and abstract; without text if it has no transcript."""
    identifier = row.text("id") or ""
    custom = {name: text for name in ("title", "abstract") if (text := row.text(name))}
    if len(custom) < 2:
        reading.request.notes["talks without title or abstract (withheld)"] += 1
    return Clip(
        identifier,
        reading.audio(row, identifier),
        row.text("transcript"),
        speaker=row.text("speaker"),
        lang="en",
        custom=custom or None,
    )


CORPUS = slue_corpus(
    clip,
    name="slue_ted",
    title="SLUE-TED",
    licence="CC BY-NC-ND 4.0",
    year=2023,
    tables=("slue-ted",),
    configs=("ted",),
    columns=("id", "transcript"),
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
