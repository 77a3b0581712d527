"""`speechkit prepare`: a downloaded corpus into manifests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Write one manifest per split. Every clip is checked, and what is left out is counted by reason.

"speechkit prepare list" lists the corpora. The corpus folder is not modified; archives are unpacked below --out.

Examples:

  speechkit prepare librispeech LibriSpeech --out data/librispeech --splits dev-clean,test-clean

  speechkit prepare common-voice cv-corpus-6.1 --out data/cv --splits 'hi-*'

  speechkit prepare audio-text-folder recordings --out data/mine --lang hi --json
"""


def prepare(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="Name of the corpus, or list.")],
    source: Annotated[Path | None, typer.Argument(metavar="SRC", help="The corpus folder as downloaded.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the manifests.")] = None,
    splits: Annotated[str | None, typer.Option(help="Names or patterns, comma-separated.")] = None,
    lang: Annotated[str | None, typer.Option(help="Language code, if the corpus has none.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Name of a single speaker, if the corpus has none.")] = None,
    jobs: Annotated[int, typer.Option(help="Threads that read audio headers.")] = 4,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prepare CORPUS from SRC."""
    import msgspec

    from speechkit.data.corpora import corpora_module, load_corpus
    from speechkit.data.corpora import prepare as prepare_corpus
    from speechkit.errors import UserError

    command = corpora_module("command")

    if corpus == "list":
        corpora = command.corpora()
        typer.echo(msgspec.json.encode(corpora).decode() if json else _list(corpora))
        return
    chosen = load_corpus(corpus)
    if source is None or out is None:
        raise UserError(f"give the folder of {chosen.title} and --out: speechkit prepare {chosen.name} SRC --out DIR")
    summary = prepare_corpus(
        chosen,
        source,
        out,
        splits=command.split_names(splits),
        lang=lang,
        speaker=speaker,
        jobs=jobs,
        progress=command.show_progress if sys.stderr.isatty() else None,
    )
    typer.echo(msgspec.json.encode(summary).decode() if json else command.table(summary))


prepare.__doc__ = EXAMPLES


def _list(corpora: list[dict[str, str]]) -> str:
    width = max(len(c["name"]) for c in corpora)
    return "\n".join(f"{c['name']:<{width}}  {c['title']}; {c['licence']}; {c['homepage']}" for c in corpora)
