"""Command line of a corpus module, and the table that it prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from speechkit.errors import SpeechkitError

from . import CORPORA, load_corpus
from .corpus import Corpus
from .driver import Summary, prepare

HEADER = ("split", "utterances", "hours", "speakers", "left out")


def rows(summary: Summary) -> list[tuple[str, ...]]:
    """One row per split: name, utterances, hours, speakers, reasons with their counts."""
    return [
        (
            s.split,
            f"{s.utterances:,}",
            f"{s.hours:.2f}",
            f"{s.speakers:,}",
            ", ".join(f"{reason} {count:,}" for reason, count in s.left_out.items()) or "none",
        )
        for s in summary.splits
    ]


def table(summary: Summary) -> str:
    """Format the summary as aligned plain text, followed by the notes and the licence."""
    lines = [HEADER, *rows(summary)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    numeric = (1, 2, 3)
    text = [
        "  ".join(c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    text += [f"note ({s.split}): {note} ({count:,})" for s in summary.splits for note, count in s.notes.items()]
    text.append(f"licence: {summary.licence}; cite {summary.citation}; {summary.homepage}")
    return "\n".join(line.rstrip() for line in text)


def corpora() -> list[dict[str, str]]:
    """Name, title, licence, homepage and citation of every corpus that can be prepared."""
    fields = ("name", "title", "licence", "homepage", "citation")
    return [{f: getattr(load_corpus(name), f) for f in fields} for name in CORPORA]


def run_module(corpus: Corpus, arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m data_prep.<corpus> SRC OUT``; exits with the status of the result."""
    parser = argparse.ArgumentParser(
        prog=f"python -m data_prep.{corpus.name}", description=f"{corpus.title} to manifests ({corpus.homepage})"
    )
    parser.add_argument("source", type=Path, help="the corpus folder as downloaded")
    parser.add_argument("out", type=Path, help="folder of the manifests")
    parser.add_argument("--splits", help="names or patterns, with commas between them")
    parser.add_argument("--lang", help="language code, where the corpus does not say it")
    parser.add_argument("--speaker", help="the one reader, where the corpus does not name them")
    parser.add_argument("--jobs", type=int, default=4, help="threads that read audio headers")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args(arguments)
    try:
        summary = prepare(
            corpus,
            given.source,
            given.out,
            splits=split_names(given.splits),
            lang=given.lang,
            speaker=given.speaker,
            jobs=given.jobs,
            progress=show_progress if sys.stderr.isatty() else None,
        )
    except SpeechkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    print(msgspec.json.encode(summary).decode() if given.json else table(summary))


def show_progress(split: str, utterances: int) -> None:
    """Show a progress counter on one terminal line, overwritten by the next output."""
    print(f"\r{split}: {utterances:,} utterances \r", end="", file=sys.stderr, flush=True)


def split_names(text: str | None) -> list[str] | None:
    """Parse ``a,b`` as a list; None stays None."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None
