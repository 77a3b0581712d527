"""`speechkit slue train` and the end-to-end half of `speechkit slue predict`."""

from __future__ import annotations

from collections.abc import Iterator
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
        Path | None, typer.Option(help="Utterances that say when to stop; else a tenth is held out.")
    ] = None,
    documents: Annotated[Path | None, typer.Option(help="qa: the manifest of the documents.")] = None,
    encoder: Annotated[str, typer.Option(help="embedded, log-mel, mfcc, a hub id or a folder.")] = "embedded",
    finetune: Annotated[bool, typer.Option("--finetune", help="Train the encoder along.")] = False,
    init: Annotated[Path | None, typer.Option(help="A system whose head to begin with.")] = None,
    pooling: Annotated[
        Literal["mean", "attention", "peak"], typer.Option(help="Class tasks: how frames become one vector.")
    ] = "attention",
    symbols: Annotated[
        Literal["raw", "combined"], typer.Option(help="ner: the 18 raw symbols or the 7 combined ones.")
    ] = "raw",
    pieces: Annotated[int, typer.Option(help="summarisation: byte-pair pieces; 0 for characters.")] = 0,
    width: Annotated[int, typer.Option(help="Width of the head.")] = 256,
    steps: Annotated[int, typer.Option(help="Most steps.")] = 600,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of the head.")] = 1e-3,
    encoder_rate: Annotated[float, typer.Option(help="The encoder's share of it, with --finetune.")] = 0.05,
    batch_seconds: Annotated[float, typer.Option(help="Seconds of speech a step.")] = 80.0,
    accumulation: Annotated[int, typer.Option(help="Batches a step.")] = 1,
    evaluate_every: Annotated[int, typer.Option(help="Steps between two looks at the development loss.")] = 50,
    patience: Annotated[int, typer.Option(help="Looks without a new best that end training; 0 never.")] = 6,
    max_seconds: Annotated[float, typer.Option(help="Longer utterances are left out and counted.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Train an end-to-end system: a speech encoder with a head. An interrupted run goes on when it is given again.

    Examples:
      speechkit slue train sentiment train.jsonl --dev dev.jsonl --out systems/sentiment

      speechkit slue train ner train.jsonl --encoder facebook/wav2vec2-base --finetune --out systems/ner

      speechkit slue train qa questions.jsonl --documents documents.jsonl --out systems/qa
    """
    from speechkit.errors import ConfigError
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
        save_every=max(evaluate_every, 100),
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
    train_system(
        task,
        manifest,
        out,
        config,
        dev_manifest=dev,
        documents=documents,
        device=choose_device(device),
        log=typer.echo,
    )
    typer.echo(f"the system is in {out}")


def system_predictions(
    task: str,
    manifest: Path,
    system: Path,
    *,
    device: str,
    documents: Path | None,
    threshold: float,
    lm: Path | None,
    lm_weight: float,
    beam: int,
    rescore: str | None,
    include_blank: bool,
    offset: float,
) -> Iterator[dict[str, Any]]:
    """Predictions of an end-to-end system; says at the end how many entity symbols had to be mended."""
    from collections import Counter

    from speechkit.slue.systems.endtoend_prediction import predict_with_system

    mended: Counter[str] = Counter()
    yield from predict_with_system(
        task,
        manifest,
        system,
        device=device,
        documents=documents,
        threshold=threshold,
        decode=_decoder(lm, lm_weight, beam, rescore, device),
        include_blank=include_blank,
        offset=offset,
        mended=mended,
    )
    if sum(mended.values()):
        typer.echo(
            "mended entity symbols: " + ", ".join(f"{kind} {count:,}" for kind, count in mended.items() if count)
        )


def _decoder(lm: Path | None, weight: float, beam: int, rescoring: str | None, device: str) -> Decode | None:
    """Greedy without a language model; else prefix beam search, and the best texts ordered anew where asked."""
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
        found = beam_search(log_probs, vocabulary, model=model, config=config, best=beam)
        return rescore(found, language, weight=weight, bonus=config.bonus)[0].text

    return decode
