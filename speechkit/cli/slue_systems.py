"""`speechkit slue train`, `train-text` and `predict`: SLU systems, from speech or from text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from speechkit.slue.systems.endtoend_prediction import Decode


def train(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="sentiment, intent, slots, dialog-acts, ner, qa or summarisation.")
    ],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Training utterances; for qa the questions.")],
    out: Annotated[Path, typer.Option(help="The system's folder.")],
    dev: Annotated[
        Path | None, typer.Option(help="Development utterances for early stopping; default: a random tenth.")
    ] = None,
    documents: Annotated[Path | None, typer.Option(help="qa: the manifest of the documents.")] = None,
    encoder: Annotated[str, typer.Option(help="embedded, log-mel, mfcc, a hub id or a folder.")] = "embedded",
    finetune: Annotated[bool, typer.Option("--finetune", help="Fine-tune the encoder.")] = False,
    init: Annotated[Path | None, typer.Option(help="Initialise the head from this system.")] = None,
    pooling: Annotated[
        Literal["mean", "attention", "peak"], typer.Option(help="Class tasks: pooling of the frames.")
    ] = "attention",
    symbols: Annotated[
        Literal["raw", "combined"], typer.Option(help="ner: the 18 raw symbols or the 7 combined ones.")
    ] = "raw",
    pieces: Annotated[int, typer.Option(help="summarisation: byte-pair pieces; 0 for characters.")] = 0,
    width: Annotated[int, typer.Option(help="Width of the head.")] = 256,
    steps: Annotated[int, typer.Option(help="Most steps.")] = 600,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of the head.")] = 1e-3,
    encoder_rate: Annotated[float, typer.Option(help="Learning rate of the encoder relative to it.")] = 0.05,
    batch_seconds: Annotated[float, typer.Option(help="Seconds of speech per batch.")] = 80.0,
    accumulation: Annotated[int, typer.Option(help="Batches per step.")] = 1,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations of the development loss.")] = 50,
    patience: Annotated[int, typer.Option(help="Evaluations without improvement before stopping; 0: never.")] = 6,
    max_seconds: Annotated[float, typer.Option(help="Longest utterance; longer ones are left out.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Train an end-to-end system: a speech encoder with a head. The same command resumes an interrupted run.

    Examples:
      speechkit slue train sentiment train.jsonl --dev dev.jsonl --out systems/sentiment

      speechkit slue train ner train.jsonl --encoder facebook/wav2vec2-base --finetune --out systems/ner

      speechkit slue train qa questions.jsonl --documents documents.jsonl --out systems/qa
    """
    from speechkit.errors import ConfigError
    from speechkit.pipeline.interrupt import Interrupted, listen
    from speechkit.runtime import choose_device
    from speechkit.slue.systems.endtoend import train_system
    from speechkit.slue.systems.system_spec import SystemConfig
    from speechkit.training import TrainingConfig

    if width < 4 or width % 4:
        raise ConfigError(f"--width is {width}; give a multiple of 4")
    loop = TrainingConfig(
        steps=steps,
        learning_rates=(learning_rate,),
        warmup_steps=min(100, steps // 20),
        average_decay=0.98,
        accumulation=accumulation,
        evaluate_every=evaluate_every,
        save_every=evaluate_every,
        log_every=min(50, evaluate_every),
        seed=seed,
    )
    config = SystemConfig(
        encoder=encoder,
        finetune=finetune,
        init=None if init is None else str(init),
        pooling=pooling,
        symbols=symbols,
        pieces=pieces,
        width=width,
        encoder_rate=encoder_rate,
        batch_seconds=batch_seconds,
        patience=patience,
        max_seconds=max_seconds,
        loop=loop,
    )
    with listen() as stop:
        done = train_system(
            task,
            manifest,
            out,
            config,
            dev_manifest=dev,
            documents=documents,
            device=choose_device(device),
            should_stop=lambda: bool(stop),
            log=typer.echo,
        )
    if not done:
        raise Interrupted(f"interrupted; a checkpoint is in {out / 'work'}, and the same command resumes from it")
    typer.echo(f"the system is in {out}")


def train_text(
    task: Annotated[str, typer.Argument(metavar="TASK", help="ner, intent, sentiment, dialog-acts, qa-text ...")],
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help="Rows of text with labels to train on.")],
    dev: Annotated[Path, typer.Argument(metavar="DEV", help="Rows for early stopping.")],
    out: Annotated[Path, typer.Option(help="Output folder: model/ and checkpoints for resuming.")],
    init: Annotated[str, typer.Option(help="Hub id or folder of a model, or scratch: a small new one.")] = "scratch",
    text_field: Annotated[str | None, typer.Option(help="The field of the text (qa-text: of the passage).")] = None,
    steps: Annotated[int, typer.Option(help="Most steps.")] = 1500,
    batch_size: Annotated[int, typer.Option(help="Rows per batch.")] = 16,
    learning_rate: Annotated[float | None, typer.Option(help="Peak; 1e-3 from scratch, else 3e-5.")] = None,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations on DEV.")] = 100,
    patience: Annotated[int, typer.Option(help="Evaluations without improvement before stopping.")] = 5,
    max_pieces: Annotated[int, typer.Option(help="Longest input in word pieces.")] = 256,
    layers: Annotated[int, typer.Option(help="From scratch: transformer layers.")] = 2,
    width: Annotated[int, typer.Option(help="From scratch: width of the layers.")] = 128,
    vocabulary: Annotated[int, typer.Option(help="From scratch: vocabulary size.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Train or fine-tune a text model on TRAIN, keeping the weights with the best score on DEV.

    Examples:
      speechkit slue train-text ner train.jsonl dev.jsonl --init bert-base-cased --out exp/tagger

      speechkit slue train-text intent train.jsonl dev.jsonl --out exp/intents
    """
    from speechkit.runtime import choose_device
    from speechkit.slue.systems.small_text_model import SmallTextModel
    from speechkit.slue.systems.text_examples import read_text_examples
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
    known, chosen_by = (read_text_examples(task, path, text_field=text_field) for path in (train, dev))
    result = train_text_model(task, known, chosen_by, config, out, device=choose_device(device), log=typer.echo)
    if result.unseen_labels:
        typer.echo(f"note: {dev} has labels that are not in {train}: {', '.join(result.unseen_labels)}")
    typer.echo(f"best {result.measure} on {dev}: {100 * result.best:.2f} %; model: {out / 'model'}")


def predict(
    task: Annotated[str, typer.Argument(metavar="TASK", help="ner, sentiment, intent, dialog-acts, qa ...")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The utterances; for qa the questions.")],
    out: Annotated[Path, typer.Option(help="The predictions, .jsonl.")],
    model: Annotated[str | None, typer.Option(help="A pipeline's text model: hub id or folder.")] = None,
    system: Annotated[Path | None, typer.Option(help="An end-to-end system: folder of slue train.")] = None,
    recognizer: Annotated[str, typer.Option(help="Recogniser, as in speechkit transcribe.")] = "embedded",
    oracle: Annotated[bool, typer.Option("--oracle", help="Use reference transcripts: the topline.")] = False,
    text: Annotated[bool, typer.Option("--text", help="MANIFEST has texts; no audio is read.")] = False,
    text_field: Annotated[str | None, typer.Option(help="With --text: the field of the text or passage.")] = None,
    documents: Annotated[Path | None, typer.Option(help="qa: the manifest of the documents.")] = None,
    threshold: Annotated[float, typer.Option(help="dialog-acts: least probability of a label.")] = 0.5,
    lang: Annotated[str, typer.Option(help="Language of the recordings.")] = "en",
    lm: Annotated[Path | None, typer.Option(help="ner, end to end: n-gram model (.arpa) for beam search.")] = None,
    lm_weight: Annotated[float, typer.Option(help="Weight of the language model.")] = 0.5,
    beam: Annotated[int, typer.Option(help="Beam width.")] = 32,
    rescore: Annotated[str | None, typer.Option(help="Rescore the n-best list: .arpa, hub id or folder.")] = None,
    include_blank: Annotated[bool, typer.Option("--include-blank", help="localisation: include silence.")] = False,
    offset: Annotated[float, typer.Option(help="localisation: seconds added to all times.")] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Predict with a pipeline (a recogniser, or the transcripts, and a text model) or an end-to-end system.

    Examples:
      speechkit slue predict slots test.jsonl --system systems/slots --out hyp.jsonl

      speechkit slue predict ner dev.jsonl --system systems/ner --lm words.arpa --out hyp.jsonl

      speechkit slue predict ner dev.jsonl --model my/bert-ner --out hyp.jsonl

      speechkit slue predict ner dev.jsonl --model my/bert-ner --oracle --out top.jsonl

      speechkit slue predict qa-text squad.jsonl --model exp/reader/model --text --out answers.jsonl
    """
    from collections import Counter

    from speechkit.asr.load import load_recognizer
    from speechkit.data.manifest import write_jsonl
    from speechkit.errors import UserError
    from speechkit.runtime import choose_device
    from speechkit.slue.systems import pipeline
    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    if not text and task != "qa":  # questions may be text, about recorded documents
        _require_audio(manifest)
    chosen = choose_device(device)
    repairs: Counter[str] = Counter()
    if system is not None:
        if model is not None or text or oracle:
            raise UserError("--system needs no transcripts; leave out --model, --text and --oracle")
        rows = predict_with_system(
            task,
            manifest,
            system,
            device=chosen,
            documents=documents,
            threshold=threshold,
            decode=_decoder(lm, lm_weight, beam, rescore, chosen),
            include_blank=include_blank,
            offset=offset,
            repairs=repairs,
        )
    elif model is None:
        raise UserError("give --model, the text model of a pipeline, or --system, an end-to-end system")
    elif text:
        if oracle:
            raise UserError("--text and --oracle exclude each other; give one")
        rows = pipeline.predict_texts(task, manifest, model, text_field=text_field, device=chosen, threshold=threshold)
    else:
        transcribe = (
            pipeline.oracle_transcript
            if oracle
            else pipeline.recogniser_transcriber(load_recognizer(recognizer, lang, device))
        )
        rows = pipeline.predict(
            task, manifest, model, transcribe, device=chosen, documents=documents, threshold=threshold
        )
    count = write_jsonl(out, rows)
    if counts := [f"{kind} {number:,}" for kind, number in repairs.items() if number]:
        typer.echo(f"repaired entity symbols: {', '.join(counts)}")
    typer.echo(f"{count:,} predictions in {out}")


def _require_audio(manifest: Path) -> None:
    """Point to ``--text`` if rows have no audio, before a recogniser is loaded."""
    from speechkit.data.manifest import read_jsonl
    from speechkit.errors import UserError

    first = next(iter(read_jsonl(manifest, dict[str, Any])), {}) if manifest.name.endswith(".jsonl") else None
    if first is None or not first.get("audio_filepath"):
        raise UserError(
            f"{manifest}: has no audio_filepath in its first row, so there is no recording to recognise; add --text to "
            "predict from its texts (with --model), or give a manifest of recordings"
        )


def _decoder(lm: Path | None, weight: float, beam: int, rescoring: str | None, device: str) -> Decode | None:
    """Greedy decoding, or prefix beam search with a language model, optionally rescored."""
    if lm is None and rescoring is None:
        return None
    from speechkit.asr.beam import BeamConfig, beam_search, rescore
    from speechkit.lm.ngram import NgramModel
    from speechkit.lm.text_scorer import text_scorer

    model = None if lm is None else NgramModel.read(lm)
    config = BeamConfig(beam=beam, weight=weight)
    if rescoring is None:
        return lambda log_probs, vocabulary: beam_search(log_probs, vocabulary, model=model, config=config)[0].text
    language = text_scorer(rescoring, device)

    def decode(log_probs: Any, vocabulary: tuple[str, ...]) -> str:
        hypotheses = beam_search(log_probs, vocabulary, model=model, config=config, best=beam)
        return rescore(hypotheses, language, weight=weight, bonus=config.bonus)[0].text

    return decode
