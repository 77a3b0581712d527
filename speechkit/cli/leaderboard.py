"""`speechkit leaderboard`: recognisers on several test sets, with their average over the sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLES = """
Word error rates of several systems on several test sets, their macro average, ranks, intervals, tests and speed.

A SYSTEM is a folder with one file of hypotheses for each set, named after it: whisper/ami.jsonl is what whisper heard
in the set ami. --set names a reference file, or a folder of them. All forms of speechkit score are read.

Where hypotheses say how long they took (compute_seconds, as speechkit transcribe --out writes it, or time) and how long
the audio is (duration), the table has real-time factors.

Examples:

  speechkit leaderboard hyps/whisper hyps/conformer --set references --out board

  speechkit leaderboard w=hyps/w c=hyps/c --set ami=ami.stm --set calls=calls.jsonl --normalizer english
"""


def leaderboard(
    systems: Annotated[list[str], typer.Argument(metavar="SYSTEM...", help="FOLDER or NAME=FOLDER of hypotheses.")],
    sets: Annotated[list[str], typer.Option("--set", help="A test set: NAME=REF, REF, or a folder of references.")],
    normalizer: Annotated[str, typer.Option(help="Normaliser of both sides.")] = "whisper",
    missing: Annotated[
        Literal["error", "empty", "drop"],
        typer.Option(help="A missing hypothesis is an error, empty, or drops its id."),
    ] = "error",
    by: Annotated[
        Literal["auto", "utterance", "speaker", "call"],
        typer.Option(help="What is drawn for intervals and p-values: speakers where ten or more are known."),
    ] = "auto",
    reference_field: Annotated[str | None, typer.Option("--ref-field", help="The field of the text in REF.")] = None,
    hypothesis_field: Annotated[
        str | None, typer.Option("--hyp-field", help="The field of the text in hypotheses.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Share that intervals cover.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A folder for leaderboard.json, .md, .tex and .csv, and report.html.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="The heading of the page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score each SYSTEM on each set."""
    import msgspec

    from speechkit.cli.progress import progress_line
    from speechkit.metrics import leaderboard as boards
    from speechkit.metrics.set_files import read_sets

    read = read_sets(systems, sets, missing=missing, reference_field=reference_field, hypothesis_field=hypothesis_field)
    board = boards.leaderboard(
        read,
        normalizer=normalizer,
        by=by,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        progress=progress_line("alignments"),
    )
    if out is not None:
        from speechkit.report.leaderboard_page import write_leaderboard

        write_leaderboard(out, board, title=title)
    if json:
        typer.echo(msgspec.json.encode(board).decode())
        return
    from rich.console import Console

    from speechkit.report.leaderboard_page import board_table, pairs_table, sentence

    console = Console(width=max(110, Console().width), highlight=False)
    console.print(board_table(board).rich(dash=" - "))
    typer.echo()
    if board.pairs:
        console.print(pairs_table(board, between=" - ").rich(dash=" - "))
        typer.echo()
    typer.echo(sentence(board))
    for line in (*board.warnings, *board.notes):
        typer.echo(f"note: {line}")
    if out is not None:
        typer.echo(f"{out / 'leaderboard.json'}\n{out / 'report.html'}")


leaderboard.__doc__ = EXAMPLES
