"""`speechkit probe`: probes of frozen encoders in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from speechkit.encoders.probing.results import ProbeReport

BASELINES = ("log-mel", "mfcc")
EXAMPLES = """
Probe frozen encoders: characters, phones, speakers, digits, commands and word discrimination, with intervals.

ENCODER is embedded, log-mel, mfcc, or a hub id or folder of wav2vec 2.0, HuBERT, WavLM, data2vec-audio, Wav2Vec2-BERT
or Whisper; log-mel and mfcc are always in the table unless --no-baselines. Recordings are manifests of speechkit
prepare; tasks without a manifest are left out. Finished work is kept in --exp and reused.

Examples:

  speechkit probe embedded --speech dev-clean.jsonl

  speechkit probe embedded facebook/hubert-base-ls960 --speech dev-clean.jsonl --speakers speechocean.jsonl

  speechkit probe embedded --speech dev-clean.jsonl --phones

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
    labels: Annotated[str, typer.Option(help="Fields of custom with the classes, comma-separated.")] = "intent",
    test_speakers: Annotated[str, typer.Option(help="Test speakers of --speech; default: a random fifth.")] = "",
    phones: Annotated[
        bool, typer.Option("--phones", help="Also phone ABX of --speech; needs the extras align and abx.")
    ] = False,
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Include log-mel and mfcc.")] = True,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of a stage, such as probe.character_epochs=5.")
    ] = None,
    exp: Annotated[Path, typer.Option(help="Working folder.")] = Path("exp/ssl_probing"),
    out: Annotated[Path | None, typer.Option(help="A folder for probes.json, .md, .csv, .tex and .html.")] = None,
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
    if phones:
        _require_phones(speech)
    for path in given.values():
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such manifest; speechkit prepare makes one from a corpus")
    recipe = load_recipe(shipped_recipe("ssl_probing"))
    shared = [f"{name}={path}" for name, path in given.items() if path is not None]
    shared += [f"seed={seed}", f"prepare.command_labels={labels}"]
    shared += [f"prepare.test_speakers={test_speakers}"] if test_speakers else []
    shared += ["words.phones=true"] if phones else []
    reports = []
    for encoder in dict.fromkeys([*(BASELINES if baselines else ()), *encoders]):
        overrides = [*shared, *(settings or []), f"encoder={encoder}"]
        code = run_recipe(recipe, exp, overrides, device=device, quiet=json, show_results=False)
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


def _require_phones(speech: Path | None) -> None:
    """What phone ABX needs, before hours of other work.

    Raises:
        ConfigError: if there is no read speech.
        MissingExtraError: if a library is not installed.
    """
    from speechkit.encoders.probing.phone_abx import load_fastabx
    from speechkit.errors import ConfigError, require

    if speech is None:
        raise ConfigError("--phones compares phones of read speech; give --speech too")
    require("pocketsphinx")
    load_fastabx()


def _print(reports: list[ProbeReport]) -> None:
    from rich.console import Console

    from speechkit.report.probes_page import left_out_lines, probes_table

    console = Console(width=max(110, Console().width), highlight=False)
    console.print(probes_table(reports).rich(around="{0} {1}"))
    confidence = reports[0].scores[0].interval.confidence if reports[0].scores else 0.95
    typer.echo(f"\nunseen speakers, except for the tasks speakers and commands; {confidence:.0%} bootstrap intervals")
    for line in left_out_lines(reports):
        typer.echo(line)
    for report in reports:
        for score in report.scores:
            if len(score.layer_weights) > 1:
                shown = " ".join(f"{weight:.2f}" for weight in score.layer_weights)
                typer.echo(f"layers  {report.encoder}  {score.task}: {shown}")


def _write(out: Path, reports: list[ProbeReport]) -> None:
    import msgspec

    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.probes_page import markdown, probes_table, write_probes_page

    write_json(out / "probes.json", msgspec.to_builtins(reports))
    write_text(out / "probes.md", markdown(reports))
    write_text(out / "probes.csv", probes_table(reports).csv())
    write_text(out / "probes.tex", probes_table(reports).latex())
    write_probes_page(out / "probes.html", reports)
