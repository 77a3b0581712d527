"""`speechkit score-tts`: scores of synthetic speech, compared with recordings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from speechkit.tts.scores.summary import SynthesisScores

EXAMPLES = """
Score the speech of one or more systems: manifests whose rows have the intended text.

Word and character error rates of a recogniser, with those of the recordings as topline; skipped and repeated words by
CTC alignment; speaker similarity between its bounds (extra speaker-similarity); DNSMOS, a measure of noise and not of
synthesis quality (extra tts-scores); against the recordings (same ids) mel-cepstral distortion, F0, voicing and
duration. All with bootstrap intervals. Finished work is reused.

Examples:

  speechkit score-tts spoken/02-clips/current/manifest.jsonl --references test.jsonl --out scores

  speechkit score-tts small=a/manifest.jsonl large=b/manifest.jsonl --references test.jsonl --out scores

  speechkit score-tts german.jsonl --lang de --recognizer faster-whisper:base --aligner none --measures words,noise
"""


def score_tts(
    systems: Annotated[list[str], typer.Argument(metavar="MANIFEST...", help="Speech: PATH or NAME=PATH.")],
    out: Annotated[Path, typer.Option(help="A folder for scores.json, table.md, .csv and .tex, and report.html.")],
    references: Annotated[Path | None, typer.Option(help="Recordings of the same texts, with the same ids.")] = None,
    recognizer: Annotated[
        str, typer.Option(help="Recogniser for error rates: embedded, faster-whisper:MODEL, a CTC name or folder.")
    ] = "embedded",
    aligner: Annotated[str, typer.Option(help="CTC recogniser for skipped and repeated words, or none.")] = "embedded",
    lang: Annotated[str, typer.Option(help="Language of the texts.")] = "en",
    normalizer: Annotated[
        str | None, typer.Option(help="Text normaliser; default: english for en, else simple.")
    ] = None,
    measures: Annotated[
        str | None, typer.Option(help="Some of words,reading,speaker,noise,acoustics; default: those installed.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Texts with players on the page.")] = 12,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Synthetic speech",
    backend: Annotated[str, typer.Option(help="inline, pool or ray.")] = "inline",
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score synthetic speech."""
    from speechkit.errors import UserError
    from speechkit.metrics.bootstrap import check_settings
    from speechkit.metrics.sides import name_systems
    from speechkit.report.tts_page import write_report
    from speechkit.text import get_normalizer
    from speechkit.tts.scores.measuring import choose_measures
    from speechkit.tts.scores.summary import RECORDINGS, BootstrapSettings

    asked = None if measures is None else [name.strip() for name in measures.split(",") if name.strip()]
    chosen, absent = choose_measures(asked)
    for note in absent:
        print(f"speechkit: {note}", file=sys.stderr)
    manifests = name_systems(systems)
    if RECORDINGS in manifests:
        raise UserError(f"a system cannot be called {RECORDINGS}; give the recordings by --references")
    if references is not None:
        manifests = {RECORDINGS: references, **manifests}
    for path in manifests.values():
        if not path.is_file():
            raise UserError(f"{path}: no such file; give a manifest")
    normalizer = normalizer or ("english" if lang == "en" else "simple")
    get_normalizer(normalizer)  # refuse an unknown name before any work
    check_settings(confidence, resamples, seed)
    settings = {
        "references": None if references is None else str(references),
        "recognizer": recognizer,
        "aligner": None if aligner == "none" else aligner,
        "lang": lang,
        "normalizer": normalizer,
        "measures": chosen,
    }
    measured = {name: _measure(name, path, settings, out, backend, workers, device) for name, path in manifests.items()}
    scores, page = write_report(
        out,
        measured,
        manifests,
        normalizer=normalizer,
        lang=lang,
        judge=recognizer,
        aligner=settings["aligner"] if "reading" in chosen else None,  # type: ignore[arg-type]
        intervals=BootstrapSettings(confidence, resamples, seed),
        title=title,
        samples=samples,
    )
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(scores).decode())
    else:
        _print(scores)
        typer.echo(f"{out / 'scores.json'}\n{page} ({page.stat().st_size / 1e6:.1f} MB)")


score_tts.__doc__ = EXAMPLES


def _measure(
    name: str, manifest: Path, settings: dict[str, Any], out: Path, backend: str, workers: int, device: str
) -> tuple[Any, Any]:
    """Measurements of one system and its speaker embeddings, from its run in ``out``."""
    from speechkit.data.records import Utterance
    from speechkit.io.paths import safe_id
    from speechkit.pipeline import Recipe, external, outputs, run_recipe
    from speechkit.tts.scores.measuring import measure_stage, read_measured
    from speechkit.tts.scores.summary import RECORDINGS

    inputs = (external("manifest", schema=Utterance), external("references", schema=Utterance))
    recipe = Recipe("score_tts", (measure_stage(1, "measure", *inputs),))
    if name == RECORDINGS:  # no distances to themselves
        settings = {**settings, "references": None}
    exp = out / "measured" / safe_id(name)
    arguments = {**settings, "measure": {"manifest": str(manifest)}}
    run_recipe(recipe, exp, backend=backend, workers=workers, device=device, arguments=arguments, show_results=False)
    return read_measured(outputs(recipe, exp, "measure"))


def _print(scores: SynthesisScores) -> None:
    from rich.console import Console

    from speechkit.report.tts_page import bounds_lines, figures_table

    console = Console(width=max(110, Console().width), highlight=False)
    console.print(figures_table(scores).rich(dash=" - "))
    for line in bounds_lines(scores):
        typer.echo(line)
