"""`speechkit leaderboard`: recognisers on several test sets, with their average over the sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLES = """
Word error rates of several systems on several test sets, their macro average, ranks, intervals, tests and speed.

A SYSTEM is a folder with one file of hypotheses per set, named after it: whisper/ami.jsonl has whisper's hypotheses
for the set ami. --set names a reference file, or a folder of them. All formats of speechkit score are read.

If hypotheses have their recognition time (compute_seconds, as written by speechkit transcribe --out, or time) and the
length of the audio (duration), the table has real-time factors.

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
        typer.Option(help="Missing hypotheses: an error, empty text, or drop the id."),
    ] = "error",
    by: Annotated[
        Literal["auto", "utterance", "speaker", "call"],
        typer.Option(help="Unit of resampling; by default speakers if ten or more are known."),
    ] = "auto",
    reference_field: Annotated[str | None, typer.Option("--ref-field", help="The field of the text in REF.")] = None,
    hypothesis_field: Annotated[
        str | None, typer.Option("--hyp-field", help="The field of the text in hypotheses.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A folder for leaderboard.json, .md, .tex and .csv, and report.html.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
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
