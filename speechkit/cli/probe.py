"""`speechkit probe`: what frozen encoders make easy to read, one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from speechkit.encoders.probing.results import ProbeReport

BASELINES = ("log-mel", "mfcc")
EXAMPLES = """
Probe frozen encoders: characters, phones, speakers, digits, commands, and telling words apart, each with an interval.

ENCODER is embedded, log-mel, mfcc, or a hub id or folder of wav2vec 2.0, HuBERT, WavLM, data2vec-audio, Wav2Vec2-BERT
or Whisper; log-mel and mfcc are always in the table unless --no-baselines. Recordings are manifests of speechkit
prepare; tasks whose manifest is not given are left out. What is done is kept in --exp and not done again.

Examples:

  speechkit probe embedded --speech dev-clean.jsonl

  speechkit probe embedded facebook/hubert-base-ls960 --speech dev-clean.jsonl --speakers speechocean.jsonl

  speechkit probe embedded --commands commands.jsonl --labels intent,slots.size --json

  speechkit probe exp/ssl_pretrain/03-train/current/model --speech dev-clean.jsonl --test-speakers 84,2428 --out probes
"""


def probe(
    encoders: Annotated[list[str], typer.Argument(metavar="ENCODER...", help="Encoders to compare.")],
    speech: Annotated[Path | None, typer.Option(help="Read speech with texts and speakers: characters, words.")] = None,
    speakers: Annotated[
        Path | None, typer.Option(help="Many speakers: speakers; with texts and phones also digits and phones.")
    ] = None,
    commands: Annotated[Path | None, typer.Option(help="Recordings with classes in custom.")] = None,
    labels: Annotated[str, typer.Option(help="The fields of custom that are classes, with commas.")] = "intent",
    test_speakers: Annotated[str, typer.Option(help="Speakers of --speech to judge by; else a fifth is drawn.")] = "",
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Put log-mel and mfcc beside.")] = True,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of a stage, such as probe.character_epochs=5.")
    ] = None,
    exp: Annotated[Path, typer.Option(help="Where work is kept.")] = Path("exp/ssl_probing"),
    out: Annotated[Path | None, typer.Option(help="A folder for probes.json, probes.md and probes.html.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of splits and heads.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Probe each ENCODER."""
    import msgspec

    from speechkit.encoders.probing.results import ProbeReport
    from speechkit.errors import UserError
    from speechkit.pipeline import outputs, run_recipe
    from speechkit.pipeline.discover import load_recipe, shipped_recipe

    given = {"speech_manifest": speech, "speakers_manifest": speakers, "commands_manifest": commands}
    if all(path is None for path in given.values()):
        raise UserError("no recordings to probe with; give --speech, --speakers or --commands, manifests each")
    for path in given.values():
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such manifest; speechkit prepare makes one from a corpus")
    file = shipped_recipe("ssl_probing")
    recipe = load_recipe(file)
    shared = [f"{name}={path}" for name, path in given.items() if path is not None]
    shared += [f"seed={seed}", f"prepare.command_labels={labels}"]
    shared += [f"prepare.test_speakers={test_speakers}"] if test_speakers else []
    reports = []
    for encoder in dict.fromkeys([*(BASELINES if baselines else ()), *encoders]):
        overrides = [*shared, *(settings or []), f"encoder={encoder}"]
        code = run_recipe(recipe, exp, overrides, recipe_file=file, device=device, quiet=json)
        if code:
            raise typer.Exit(code)
        scores = outputs(recipe, exp, "probe") / "scores.json"
        reports.append(msgspec.json.decode(scores.read_bytes(), type=ProbeReport))
    if out is not None:
        _write(out, reports)
    if json:
        typer.echo(msgspec.json.encode(reports).decode())
    else:
        _print(reports)


probe.__doc__ = EXAMPLES


def _print(reports: list[ProbeReport]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from speechkit.encoders.probing.table import left_out_lines, table_rows

    grid = Table(box=None, pad_edge=False)
    grid.add_column("task", no_wrap=True)
    grid.add_column("metric", no_wrap=True)
    grid.add_column("chance", justify="right")
    for report in reports:
        grid.add_column(Text(report.encoder), justify="right", overflow="fold")
    for row in table_rows(reports):
        cells = [
            Text("–")
            if cell is None
            else Text.assemble((cell.value, "bold" if cell.best else ""), (f" {cell.interval}", "dim"))
            for cell in row.cells
        ]
        grid.add_row(Text(row.task), row.metric, row.chance or "–", *cells)
    Console(width=max(110, Console().width), highlight=False).print(grid)
    confidence = reports[0].scores[0].interval.confidence if reports[0].scores else 0.95
    typer.echo(f"\nunseen speakers but for speakers and commands; {confidence:.0%} bootstrap intervals")
    for line in left_out_lines(reports):
        typer.echo(line)
    for report in reports:
        for score in report.scores:
            if len(score.layer_weights) > 1:
                shown = " ".join(f"{weight:.2f}" for weight in score.layer_weights)
                typer.echo(f"layers  {report.encoder}  {score.task}: {shown}")


def _write(out: Path, reports: list[ProbeReport]) -> None:
    import msgspec

    from speechkit.encoders.probing.table import left_out_lines, markdown, table_rows
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.markup import element
    from speechkit.report.page import render_page, write_page
    from speechkit.report.table import table

    write_json(out / "probes.json", msgspec.to_builtins(reports))
    write_text(out / "probes.md", markdown(reports) + "\n")
    body: list[Any] = [
        element("h1", "Probes of frozen encoders"),
        table(
            ["task", "metric", "chance", *(report.encoder for report in reports)],
            [
                [
                    row.task,
                    row.metric,
                    row.chance or "–",
                    *(
                        "–"
                        if cell is None
                        else element("strong" if cell.best else "span", f"{cell.value} [{cell.interval}]")
                        for cell in row.cells
                    ),
                ]
                for row in table_rows(reports)
            ],
            caption="Scores in percent with bootstrap intervals; the best of each row is bold",
            numeric=range(2, 3 + len(reports)),
        ),
        *(element("p", line) for line in left_out_lines(reports)),
        *(_layers(report) for report in reports),
    ]
    write_page(out / "probes.html", render_page("Probes of frozen encoders", body))


def _layers(report: ProbeReport) -> Any:
    """The weight that each task gives to each layer; nothing for an encoder of one."""
    from speechkit.report.markup import element
    from speechkit.report.table import table

    scores = [score for score in report.scores if len(score.layer_weights) > 1]
    if not scores:
        return ""
    count = len(scores[0].layer_weights)
    rows = [[score.task, *(f"{weight:.2f}" for weight in score.layer_weights)] for score in scores]
    return element(
        "section",
        element("h2", f"Layers of {report.encoder}"),
        table(
            ["task", *(str(layer) for layer in range(count))],
            rows,
            caption=f"Weight of each layer of {report.encoder}; words use one",
            numeric=range(1, count + 1),
        ),
    )
