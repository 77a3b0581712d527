"""`speechkit score-meetings`: error rates of speaker-attributed transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
cpWER, ORC-WER and tcpWER of meetings, computed by MeetEval.

Files are .stm, or .jsonl and .csv rows with recording (session_id), speaker, offset, duration and text (of a hypothesis
pred_text). Speaker names of REF and HYP need not match.

Examples:

  speechkit score-meetings ref.stm hyp.stm

  speechkit score-meetings ref.stm one=one.stm two=two.jsonl --measure tcpwer --collar 2 --out scores
"""


def score_meetings(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Reference segments with speakers.")],
    hypotheses: Annotated[list[str], typer.Argument(metavar="HYP...", help="Hypotheses: PATH or NAME=PATH.")],
    measure: Annotated[
        list[str] | None, typer.Option(help="cpwer, orcwer or tcpwer; repeatable, default: all.")
    ] = None,
    normalizer: Annotated[str, typer.Option(help="Normaliser of both sides.")] = "simple",
    collar: Annotated[
        float, typer.Option(help="tcpWER: greatest distance of matching words in seconds.", min=0.0)
    ] = 5.0,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of recordings.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for scores.json, .md, .tex and .csv.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score each HYP against REF."""
    import msgspec

    from speechkit.metrics.meetings import compare_meetings, known_measures, read_segments
    from speechkit.metrics.sides import name_systems

    scores = compare_meetings(
        read_segments(reference),
        {name: read_segments(path, "hypothesis") for name, path in name_systems(hypotheses).items()},
        measures=known_measures(measure),
        normalizer=normalizer,
        collar_seconds=collar,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    from speechkit.report.meeting_tables import meeting_tables

    tables = meeting_tables(scores)
    if out is not None:
        from speechkit.io.atomic import write_json, write_text

        write_json(out / "scores.json", scores)
        write_text(out / "scores.md", "\n".join(f"{table.caption}\n\n{table.markdown()}" for table in tables))
        write_text(out / "scores.tex", "\n".join(table.latex() for table in tables))
        write_text(out / "scores.csv", tables[0].csv())
    if json:
        typer.echo(msgspec.json.encode(scores).decode())
        return
    from rich.console import Console

    console = Console(width=max(110, Console().width), highlight=False)
    for table in tables:
        console.print(table.rich(dash=" - "))
        typer.echo()
    typer.echo(
        f"{scores.recordings:,} recordings; {scores.confidence:.0%} intervals over them, {scores.resamples:,} "
        "resamples; "
        f"normaliser {scores.normalizer.name} version {scores.normalizer.version}; collar {scores.collar_seconds:g} s"
    )
    for note in scores.notes:
        typer.echo(f"note: {note}")


score_meetings.__doc__ = EXAMPLES
