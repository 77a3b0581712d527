"""`speechkit slue`: scores of spoken language understanding, and what they owe to the recogniser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from speechkit.cli.slue_endtoend import system_predictions, train
from speechkit.cli.slue_sensitivity import sensitivity

if TYPE_CHECKING:
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
    """List the tasks and the measure that systems are ranked by."""
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
    compat: Annotated[bool, typer.Option("--compat", help="The reference toolkit's scores, defects included.")] = False,
    tags: Annotated[
        Literal["raw", "combined", "any"], typer.Option(help="Entities: the 7 combined tags, the 18 raw ones, or any.")
    ] = "combined",
    symbols: Annotated[Literal["raw", "combined"], typer.Option(help="Entities: the symbols of transcripts.")] = "raw",
    labels: Annotated[str | None, typer.Option(help="The set of labels, with commas between them.")] = None,
    missing: Annotated[
        Literal["error", "empty", "drop"],
        typer.Option(help="A missing prediction is an error, empty, or drops its id."),
    ] = "error",
    by: Annotated[
        Literal["utterance", "speaker", "call"], typer.Option(help="What is drawn for intervals and p-values.")
    ] = "utterance",
    confidence: Annotated[float, typer.Option(help="Share that the interval covers.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws; 0 for none.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for scores.json and report.html.")] = None,
    title: Annotated[str | None, typer.Option(help="The heading of the page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score each HYP of TASK against REF, with intervals and paired differences.

    Files are .jsonl (manifests, Hugging Face rows), .tsv and .csv with a header (released tables, submissions), the
    toolkit's .wrd, .sent and .da files, and JSON by id for entity localisation.

    Examples:
      speechkit slue score ner slue-voxpopuli_dev.tsv submission.tsv --out scores

      speechkit slue score dialog-acts dev.jsonl a=a.jsonl b=b.jsonl --by call

      speechkit slue score localisation dev_tagged_word_alignments.json e2e.json --compat
    """
    import msgspec

    from speechkit.slue.fields import Options
    from speechkit.slue.scoring import score_files

    options = Options(
        tags=tags,
        symbols=symbols,
        labels=tuple(part.strip() for part in labels.split(",") if part.strip()) if labels else None,
        compat=compat,
    )
    found = score_files(
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
    written = _write(out, found, title) if out is not None else []
    if json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    _print(found)
    for path in written:
        typer.echo(str(path))


@app.command()
def overall(
    wer_voxpopuli: Annotated[float, typer.Option(help="Word error rate on slue-voxpopuli, percent.")],
    wer_voxceleb: Annotated[float, typer.Option(help="Word error rate on slue-voxceleb, percent.")],
    sentiment: Annotated[float, typer.Option(help="Sentiment macro F1, percent.")],
    ner: Annotated[float, typer.Option(help="Entity F1 with combined tags, percent.")],
) -> None:
    """Print the SLUE score of phase 1 from its four parts."""
    from speechkit.slue.metrics.measures import slue_score

    value = slue_score(
        wer_voxpopuli=wer_voxpopuli, wer_voxceleb=wer_voxceleb, sentiment_macro_f1=sentiment, ner_micro_f1=ner
    )
    typer.echo(f"{value:.2f}")


def _write(out: Path, found: SlueComparison, title: str | None) -> list[Path]:
    from speechkit.io.atomic import write_json
    from speechkit.report.slue_page import render_slue_page

    write_json(out / "scores.json", found)
    return [out / "scores.json", render_slue_page(out / "report.html", found, title=title)]


def _print(found: SlueComparison) -> None:
    from rich.console import Console

    from speechkit.report.slue_page import differences, measures_table
    from speechkit.slue.entity_errors import KINDS

    console = Console(width=max(110, Console().width), highlight=False)
    console.print(measures_table(found).rich(dash=" - ", around="{0}  {1}"))
    typer.echo()
    if found.pairs:
        console.print(differences(found, found.pairs, between=" - ").rich(dash=" - "))
        typer.echo()
    typer.echo(
        f"{found.title}: {found.mode} definitions, ranked by {found.main}; {found.utterances:,} utterances; "
        f"{found.confidence:.0%} intervals over {found.units:,} {found.by}s, {found.resamples:,} draws"
    )
    for name, entities in found.entities.items():
        kinds = ", ".join(f"{kind} {entities.total(kind):,}" for kind in KINDS)
        typer.echo(f"{name}: entities {kinds}, hallucinated {sum(entities.hallucinated.values()):,}")
    settings = found.systems[0].score.settings
    typer.echo("; ".join(f"{name}: {value}" for name, value in settings.items()))
    for sentence in (*found.warnings, *found.notes):
        typer.echo(f"note: {sentence}")


@app.command("train-text")
def train_text(
    task: Annotated[str, typer.Argument(metavar="TASK", help="ner, intent, sentiment, dialog-acts, qa-text ...")],
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help="Rows of text with labels to train on.")],
    dev: Annotated[Path, typer.Argument(metavar="DEV", help="Rows that choose the weights and end the training.")],
    out: Annotated[Path, typer.Option(help="A folder: the model goes to its model/, and a run goes on there.")],
    init: Annotated[str, typer.Option(help="Hub id or folder of a model, or scratch: a small new one.")] = "scratch",
    text_field: Annotated[str | None, typer.Option(help="The field of the text (qa-text: of the passage).")] = None,
    steps: Annotated[int, typer.Option(help="Most steps.")] = 1500,
    batch_size: Annotated[int, typer.Option(help="Rows of a step.")] = 16,
    learning_rate: Annotated[float | None, typer.Option(help="Peak; 1e-3 from scratch, else 3e-5.")] = None,
    evaluate_every: Annotated[int, typer.Option(help="Steps between two scores of DEV.")] = 100,
    patience: Annotated[int, typer.Option(help="Scores without a better one that end the training.")] = 5,
    max_pieces: Annotated[int, typer.Option(help="Longest input in word pieces.")] = 256,
    layers: Annotated[int, typer.Option(help="From scratch: transformer layers.")] = 2,
    width: Annotated[int, typer.Option(help="From scratch: width of the layers.")] = 128,
    vocabulary: Annotated[int, typer.Option(help="From scratch: most word pieces.")] = 4000,
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Train or fine-tune a text model on TRAIN, choosing the weights that score best on DEV.

    Examples:
      speechkit slue train-text ner train.jsonl dev.jsonl --init bert-base-cased --out exp/tagger

      speechkit slue train-text intent train.jsonl dev.jsonl --out exp/intents
    """
    from speechkit.runtime import choose_device
    from speechkit.slue.systems.small_text_model import SmallTextModel
    from speechkit.slue.systems.text_examples import read_examples
    from speechkit.slue.systems.text_training import TextTrainingConfig, train_text_model

    config = TextTrainingConfig(
        init=init,
        small=SmallTextModel(layers=layers, width=width, vocabulary=vocabulary, positions=max_pieces),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        evaluate_every=evaluate_every,
        patience=patience,
        max_pieces=max_pieces,
        seed=seed,
    )
    known, chosen_by = (read_examples(task, path, text_field=text_field) for path in (train, dev))
    result = train_text_model(task, known, chosen_by, config, out, device=choose_device(device), log=typer.echo)
    if result.unseen_labels:
        typer.echo(f"note: {dev} has labels that {train} has not: {', '.join(result.unseen_labels)}")
    typer.echo(f"best {result.measure} on {dev}: {100 * result.best:.2f} %; model: {out / 'model'}")


app.command()(train)


@app.command()
def predict(
    task: Annotated[str, typer.Argument(metavar="TASK", help="ner, sentiment, intent, dialog-acts, qa ...")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The utterances; for qa the questions.")],
    out: Annotated[Path, typer.Option(help="The predictions, .jsonl.")],
    model: Annotated[str | None, typer.Option(help="A pipeline's text model: hub id or folder.")] = None,
    system: Annotated[Path | None, typer.Option(help="An end-to-end system: folder of slue train.")] = None,
    recognizer: Annotated[str, typer.Option(help="Recogniser, as in speechkit transcribe.")] = "embedded",
    oracle: Annotated[bool, typer.Option("--oracle", help="Take the transcripts: the top line of the model.")] = False,
    text: Annotated[bool, typer.Option("--text", help="MANIFEST is rows of text; no audio is looked at.")] = False,
    text_field: Annotated[str | None, typer.Option(help="With --text: the field of the text or passage.")] = None,
    documents: Annotated[Path | None, typer.Option(help="qa: the manifest of the documents.")] = None,
    threshold: Annotated[float, typer.Option(help="dialog-acts: least probability of a label.")] = 0.5,
    lang: Annotated[str, typer.Option(help="Language of the recordings.")] = "en",
    lm: Annotated[Path | None, typer.Option(help="ner, end to end: n-gram model (.arpa) for beam search.")] = None,
    lm_weight: Annotated[float, typer.Option(help="How much the language model says.")] = 0.5,
    beam: Annotated[int, typer.Option(help="Texts that beam search keeps.")] = 32,
    rescore: Annotated[str | None, typer.Option(help="Order the best texts anew: .arpa, hub id or folder.")] = None,
    include_blank: Annotated[bool, typer.Option("--include-blank", help="localisation: with silence around.")] = False,
    offset: Annotated[float, typer.Option(help="localisation: seconds added to all times.")] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Predict with a pipeline (a recogniser, or the transcripts, before a text model) or an end-to-end system.

    Examples:
      speechkit slue predict slots test.jsonl --system systems/slots --out hyp.jsonl

      speechkit slue predict ner dev.jsonl --system systems/ner --lm words.arpa --out hyp.jsonl

      speechkit slue predict ner dev.jsonl --model my/bert-ner --out hyp.jsonl

      speechkit slue predict ner dev.jsonl --model my/bert-ner --oracle --out top.jsonl

      speechkit slue predict qa-text squad.jsonl --model exp/reader/model --text --out answers.jsonl
    """
    from speechkit.data.manifest import write_jsonl
    from speechkit.errors import UserError
    from speechkit.runtime import choose_device
    from speechkit.slue.systems import pipeline

    chosen = choose_device(device)
    if system is not None:
        if model is not None or text or oracle:
            raise UserError("--system hears for itself; leave out --model, --text and --oracle")
        said = system_predictions(
            task,
            manifest,
            system,
            device=chosen,
            documents=documents,
            threshold=threshold,
            lm=lm,
            lm_weight=lm_weight,
            beam=beam,
            rescore=rescore,
            include_blank=include_blank,
            offset=offset,
        )
        typer.echo(f"{write_jsonl(out, said):,} predictions in {out}")
        return
    if model is None:
        raise UserError("give --model, the text model of a pipeline, or --system, an end-to-end system")
    if text:
        if oracle:
            raise UserError("--text and --oracle say two things about where the text is from; give one")
        rows = pipeline.predict_texts(task, manifest, model, text_field=text_field, device=chosen, threshold=threshold)
        count = write_jsonl(out, rows)
        typer.echo(f"{count:,} predictions in {out}")
        return
    listen: pipeline.Listen
    if oracle:
        listen = pipeline.oracle
    else:
        from speechkit.asr.load import load_recognizer

        listen = pipeline.listen_with(load_recognizer(recognizer, lang, device))
    rows = pipeline.predict(task, manifest, model, listen, device=chosen, documents=documents, threshold=threshold)
    count = write_jsonl(out, rows)
    typer.echo(f"{count:,} predictions in {out}")
