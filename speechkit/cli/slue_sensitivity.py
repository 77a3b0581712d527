"""`speechkit slue sensitivity` and `entity-errors`: the effect of recognition errors on a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from speechkit.slue.sensitivity import Sensitivity


def sensitivity(
    task: Annotated[str, typer.Argument(metavar="TASK", help="ner, sentiment, intent, dialog-acts or qa-text.")],
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Rows with text and labels.")],
    model: Annotated[str, typer.Option(help="The text model: hub id or folder.")],
    out: Annotated[Path, typer.Option(help="A folder for sensitivity.json and report.html.")],
    system: Annotated[list[str] | None, typer.Option(help="Recognised texts of REF: PATH or NAME=PATH.")] = None,
    pairs: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Reference and recognised texts for fitting the noise.")
    ] = None,
    levels: Annotated[str, typer.Option(help="Word error rates of the noise in percent.")] = "5,10,20,30,40,60",
    text_field: Annotated[str | None, typer.Option(help="The field of the text (qa-text: of the passage).")] = None,
    tags: Annotated[str, typer.Option(help="Entities: combined, raw or any.")] = "combined",
    labels: Annotated[str | None, typer.Option(help="All labels, comma-separated.")] = None,
    normalizer: Annotated[str, typer.Option(help="Normaliser for word errors and noise.")] = "simple",
    by: Annotated[str, typer.Option(help="Unit of resampling: utterance or speaker.")] = "utterance",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and the noise.")] = 0,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a task against the word error rate: real recognisers, noise fitted to their errors, and toplines.

    Examples:
      speechkit slue sensitivity ner test.jsonl --model exp/tagger/model --system a=a.jsonl --out sensitivity

      speechkit slue sensitivity intent test.jsonl --model exp/intents/model --pairs dev.jsonl heard.jsonl --out sens
    """
    import msgspec

    from speechkit.errors import UserError
    from speechkit.io.atomic import write_json
    from speechkit.metrics.sides import name_systems, read_text_pairs
    from speechkit.report.sensitivity_page import render_sensitivity_page
    from speechkit.runtime import choose_device
    from speechkit.slue.fields import Options
    from speechkit.slue.metrics.measures import Resampling
    from speechkit.slue.rows import read_rows
    from speechkit.slue.sensitivity import read_recognised, sensitivity
    from speechkit.slue.systems.pipeline import cached_predictor
    from speechkit.slue.tasks import check_options

    rows = read_rows(reference)
    groups = None
    if by == "speaker":
        if any(row.speaker is None for row in rows):
            raise UserError(f"{reference}: has rows without a speaker; add speakers, or use --by utterance")
        groups = tuple(str(row.speaker) for row in rows)
    elif by != "utterance":
        raise UserError(f"--by {by}: unknown unit; give utterance or speaker")
    options = check_options(
        Options(
            tags=tags,  # type: ignore[arg-type]  # checked here
            labels=tuple(part.strip() for part in labels.split(",") if part.strip()) if labels else None,
        )
    )
    result = sensitivity(
        task,
        rows,
        cached_predictor(task, model, rows, choose_device(device)),
        systems={name: read_recognised(path) for name, path in name_systems(system or []).items()},
        pairs=None if pairs is None else read_text_pairs(*pairs),
        fitted_on="" if pairs is None else pairs[1].name,
        levels=_levels(levels),
        text_field=text_field,
        options=options,
        normalizer=normalizer,
        resampling=Resampling(resamples, seed, groups=groups),
    )
    write_json(out / "sensitivity.json", result)
    page = render_sensitivity_page(out / "report.html", result, title=title)
    if json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    _print(result)
    typer.echo(f"{out / 'sensitivity.json'}\n{page}")


def _levels(text: str) -> list[float]:
    from speechkit.errors import UserError

    try:
        levels = [float(part) / 100 for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"--levels {text}: not percentages; give for example 5,10,20") from error
    if not levels:
        raise UserError("--levels names no rate; give for example 5,10,20")
    return levels


def _print(result: Sensitivity) -> None:
    from rich.console import Console

    from speechkit.report.sensitivity_page import points_table

    table = points_table(result, "perfect", signed=False).rich(dash=" – ")
    Console(width=max(110, Console().width), highlight=False).print(table)
    interval = result.slope.interval
    around = "" if interval is None else f" ({interval.low:+.2f} to {interval.high:+.2f})"
    slope = "–" if result.slope.value is None else f"{result.slope.value:+.2f}"
    typer.echo(
        f"\n{slope}{around} points of {result.measure} per point of word error rate; {result.utterances:,} utterances"
    )
    for note in result.notes:
        typer.echo(f"note: {note}")
