"""Settings and stored specification of end-to-end systems, and construction of their heads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from speechkit.augment.waveforms import NO_AUGMENTATION, AugmentConfig
from speechkit.encoders.spec import EncoderSpec
from speechkit.slue.metrics.entity_tags import TagSet
from speechkit.slue.systems.examples import CLASS_TASKS
from speechkit.training import TrainingConfig

if TYPE_CHECKING:
    from speechkit.slue.systems.heads import ClassHead, CtcHead, SpanHead
    from speechkit.slue.systems.summary_decoder import SummaryDecoder, Symbols

Head: TypeAlias = "ClassHead | CtcHead | SpanHead | SummaryDecoder"
Pooling = Literal["mean", "attention", "peak"]


class SystemConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of encoder, head and training.

    ``init`` is the folder of a system that initializes the head; it must have the same shape and classes. ``finetune``
    also trains the encoder's transformer, at ``encoder_rate`` times the head's learning rate; else its layers are
    computed once. ``pooling`` applies to the class tasks, ``symbols`` to ner, ``pieces`` (0: characters) and ``depth``
    to summarisation, ``longest_answer_seconds`` to qa. Training stops after ``patience`` evaluations without a lower
    development loss (higher accuracy with ``stop_on``); without a development manifest, ``dev_share`` of the training
    examples are held out.
    """

    encoder: str = "embedded"
    finetune: bool = False
    init: str | None = None
    pooling: Pooling = "attention"
    width: int = 256
    depth: int = 2
    dropout: float = 0.2
    symbols: TagSet = "raw"
    pieces: int = 0
    longest_answer_seconds: float = 10.0
    batch_seconds: float = 80.0
    max_seconds: float = 30.0
    encoder_rate: float = 0.05
    patience: int = 6
    dev_share: float = 0.1
    stop_on: Literal["loss", "accuracy"] = "loss"
    augment: AugmentConfig = msgspec.structs.replace(
        NO_AUGMENTATION, speed=0.5, time_mask_every=100, time_width=10, gain_db=(-20.0, 0.0)
    )
    loop: TrainingConfig = TrainingConfig(
        steps=600,
        learning_rates=(1e-3,),
        warmup_steps=30,
        average_decay=0.98,
        evaluate_every=50,
        save_every=100,
        log_every=50,
    )


class SystemSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of ``system.json``: task, settings, encoder, and the classes or vocabulary of the head."""

    task: str
    config: SystemConfig
    encoder: EncoderSpec
    layers: int
    labels: dict[str, list[str]] = {}
    vocabulary: list[str] = []
    pieces: str | None = None


def read_spec(folder: Path) -> SystemSpec:
    """Read the specification of a system's folder.

    Raises:
        OSError: if the file cannot be read.
        msgspec.MsgspecError: if it is invalid.
    """
    return msgspec.json.decode((folder / "system.json").read_bytes(), type=SystemSpec)


def make_head(spec: SystemSpec) -> Head:
    """The head of a system with random weights."""
    from speechkit.slue.systems.heads import ClassHead, CtcHead, SpanHead
    from speechkit.slue.systems.summary_decoder import SummaryDecoder

    config, layers, dim = spec.config, spec.layers, spec.encoder.dim
    if spec.task in CLASS_TASKS:
        return ClassHead(
            layers,
            dim,
            spec.labels,
            multi_label=spec.task == "dialog-acts",
            pooling=config.pooling,
            width=config.width,
            dropout=config.dropout,
        )
    if spec.task == "ner":
        return CtcHead(layers, dim, len(spec.vocabulary), width=config.width, dropout=config.dropout)
    if spec.task == "qa":
        return SpanHead(layers, dim, width=config.width, dropout=config.dropout)
    symbols = summary_symbols(spec)
    return SummaryDecoder(layers, dim, len(symbols), width=config.width, depth=config.depth, dropout=config.dropout)


def summary_symbols(spec: SystemSpec) -> Symbols:
    """The text encoding of a summarisation system."""
    from speechkit.slue.systems.summary_decoder import Symbols

    return Symbols(pieces=spec.pieces) if spec.pieces is not None else Symbols(spec.vocabulary)
