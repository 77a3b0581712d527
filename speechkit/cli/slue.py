"""`speechkit slue`: scores of spoken language understanding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from speechkit.cli.slue_sensitivity import sensitivity
from speechkit.cli.slue_systems import predict, train, train_text

if TYPE_CHECKING:
    from speechkit.slue.metrics.summaries import CompareTexts
    from speechkit.slue.scoring import SlueComparison

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Score the tasks of SLUE and SLUE Phase-2, corrected or exactly as the reference toolkit does.",
)

app.command("sensitivity")(sensitivity)


@app.command()
def tasks(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the tasks and their main measures."""
    import msgspec

    from speechkit.slue.tasks import TASKS

    if json:
        typer.echo(msgspec.json.encode({name: task.title for name, task in TASKS.items()}).decode())
        return
    width = max(map(len, TASKS))
    for name, task in TASKS.items():
        typer.echo(f"{name:<{width}}  {task.title}")


@app.command()
def score(
    task: Annotated[str, typer.Argument(metavar="TASK", help="One of: speechkit slue tasks.")],
    reference: Annotated[Path, typer.Argument(metavar="REF", help="The truth.")],
    hypotheses: Annotated[list[str], typer.Argument(metavar="HYP...", help="Predictions: PATH or NAME=PATH.")],
    compat: Annotated[bool, typer.Option("--compat", help="Exactly the scores of the reference toolkit.")] = False,
    tags: Annotated[
        Literal["raw", "combined", "any"], typer.Option(help="Entities: the 7 combined tags, the 18 raw ones, or any.")
    ] = "combined",
    symbols: Annotated[Literal["raw", "combined"], typer.Option(help="Entities: symbols used in transcripts.")] = "raw",
    labels: Annotated[str | None, typer.Option(help="All labels, comma-separated.")] = None,
    bertscore: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Summaries: BERTScore by this text encoder, hub id or folder.")
    ] = None,
    bertscore_layer: Annotated[int | None, typer.Option(help="Layer of MODEL; default: 3/4 of its depth.")] = None,
    bertscore_idf: Annotated[bool, typer.Option(help="Weight tokens by inverse document frequency.")] = False,
    device: Annotated[str, typer.Option(help="For MODEL: auto, cpu, cuda, ...")] = "auto",
    missing: Annotated[
        Literal["error", "empty", "drop"],
        typer.Option(help="Missing predictions: an error, empty, or drop the id."),
    ] = "error",
    by: Annotated[
        Literal["utterance", "speaker", "call"], typer.Option(help="Unit of resampling for intervals and p-values.")
    ] = "utterance",
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples; 0 for none.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for scores.json and report.html.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score each HYP of TASK against REF, with intervals and paired differences.

    Files are .jsonl (manifests, Hugging Face rows), .tsv and .csv with a header (released tables, submissions), the
    toolkit's .wrd, .sent and .da files, and JSON by id for entity localisation.

    Examples:
      speechkit slue score ner slue-voxpopuli_dev.tsv submission.tsv --out scores

      speechkit slue score dialog-acts dev.jsonl a=a.jsonl b=b.jsonl --by call

      speechkit slue score localisation dev_tagged_word_alignments.json e2e.json --compat

      speechkit slue score summarisation test.jsonl mine.jsonl --bertscore roberta-large
    """
    import msgspec

    from speechkit.errors import UserError
    from speechkit.slue.fields import Options
    from speechkit.slue.scoring import score_files

    if bertscore is None and (bertscore_layer is not None or bertscore_idf):
        raise UserError("--bertscore-layer and --bertscore-idf need --bertscore MODEL; add it")
    options = Options(
        tags=tags,
        symbols=symbols,
        labels=tuple(part.strip() for part in labels.split(",") if part.strip()) if labels else None,
        compat=compat,
        bert_score=None if bertscore is None else _bert_scorer(bertscore, bertscore_layer, bertscore_idf, device),
    )
    comparison = score_files(
        task,
        reference,
        hypotheses,
        options=options,
        missing=missing,
        by=by,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    written = _write(out, comparison, title) if out is not None else []
    if json:
        typer.echo(msgspec.json.encode(comparison).decode())
        return
    _print(comparison)
    for path in written:
        typer.echo(str(path))


@app.command()
def overall(
    wer_voxpopuli: Annotated[float, typer.Option(help="Word error rate on slue-voxpopuli, percent.")],
    wer_voxceleb: Annotated[float, typer.Option(help="Word error rate on slue-voxceleb, percent.")],
    sentiment: Annotated[float, typer.Option(help="Sentiment macro F1, percent.")],
    ner: Annotated[float, typer.Option(help="Entity F1 with combined tags, percent.")],
) -> None:
    """Print the SLUE score of phase 1 from its four components."""
    from speechkit.slue.metrics.measures import slue_score

    value = slue_score(
        wer_voxpopuli=wer_voxpopuli, wer_voxceleb=wer_voxceleb, sentiment_macro_f1=sentiment, ner_micro_f1=ner
    )
    typer.echo(f"{value:.2f}")


def _bert_scorer(model: str, layer: int | None, idf: bool, device: str) -> CompareTexts:
    from speechkit.runtime import choose_device
    from speechkit.slue.bert_score import BertScorer

    return BertScorer(model, layer=layer, idf=idf, device=choose_device(device))


def _write(out: Path, comparison: SlueComparison, title: str | None) -> list[Path]:
    from speechkit.io.atomic import write_json
    from speechkit.report.slue_page import render_slue_page

    write_json(out / "scores.json", comparison)
    return [out / "scores.json", render_slue_page(out / "report.html", comparison, title=title)]


def _print(comparison: SlueComparison) -> None:
    from rich.console import Console

    from speechkit.report.slue_page import differences, measures_table
    from speechkit.slue.entity_errors import KINDS

    console = Console(width=max(110, Console().width), highlight=False)
    console.print(measures_table(comparison).rich(dash=" - ", around="{0}  {1}"))
    typer.echo()
    if comparison.pairs:
        console.print(differences(comparison, comparison.pairs, between=" - ").rich(dash=" - "))
        typer.echo()
    typer.echo(
        f"{comparison.title}: {comparison.mode} definitions, ranked by {comparison.main}; "
        f"{comparison.utterances:,} utterances; "
        f"{comparison.confidence:.0%} intervals over {comparison.units:,} {comparison.by}s, "
        f"{comparison.resamples:,} resamples"
    )
    for name, entities in comparison.entities.items():
        kinds = ", ".join(f"{kind} {entities.total(kind):,}" for kind in KINDS)
        typer.echo(f"{name}: entities {kinds}, hallucinated {sum(entities.hallucinated.values()):,}")
    settings = comparison.systems[0].score.settings
    typer.echo("; ".join(f"{name}: {value}" for name, value in settings.items()))
    for sentence in (*comparison.warnings, *comparison.notes):
        typer.echo(f"note: {sentence}")


app.command("train-text")(train_text)
app.command("train")(train)
app.command("predict")(predict)
