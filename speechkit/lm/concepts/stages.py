"""Stages of the recipe concept_lm: segment vectors, training of several models, and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np

from speechkit.data import Utterance
from speechkit.encoders.spec import EncoderSpec
from speechkit.encoders.stages import Encode
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.lm.concepts.config import (
    Layers,
    QuantizedConfig,
    RegressionConfig,
    Size,
    TowerConfig,
    TwoTowerConfig,
)
from speechkit.lm.concepts.documents import Document, SegmentVector, documents
from speechkit.lm.concepts.records import ConceptReport, Fit, Gain
from speechkit.lm.concepts.training import LoopConfig
from speechkit.pipeline import NEUTRAL, SHARED, Context, Drop, Interrupted, Value, read_record_arrays
from speechkit.runtime import item_seed

if TYPE_CHECKING:
    from speechkit.lm.concepts.model import ConceptModel
    from speechkit.training import Objective

Positive = Annotated[int, msgspec.Meta(ge=1)]
MODELS = {
    "base": "base (squared error)",
    "two_tower": "two towers (diffusion)",
    "quantized_codes": "quantized, codes",
    "quantized_vectors": "quantized, vectors",
}
"""Training stages, and the names of their models in the report."""


class VectorsConfig(msgspec.Struct, frozen=True):
    """Encoder of the segment vectors.

    Attributes:
        encoder: hub id, folder or ``embedded``.
        layer: of the encoder; None for the last.
        compute: number format of the computation.
        batch_size: segments encoded together, where that is faster.
    """

    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = None
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[int, NEUTRAL] = 8


class SegmentVectors(Encode):
    """Mean frame of each segment; segments are encoded alone, so that no context of the next one leaks in."""

    def _row(self, row: Utterance, frames: Float) -> Value | Drop:
        from speechkit.encoders.feature_writer import why_unfit

        unfit = why_unfit(frames, "float32")
        if unfit is not None:
            return Drop(*unfit)
        custom = row.custom or {}
        record = SegmentVector(
            id=row.id,
            recording=custom["id"],
            part=custom["part"],
            speaker=row.speaker or custom["id"],
            start=custom["start"],
            seconds=row.duration,
            frames=len(frames),
            encoder=self.encoder.spec,
        )
        return Value(record, {"vector": frames.mean(0, dtype=np.float64).astype(np.float32)})


class DocumentsConfig(msgspec.Struct, frozen=True):
    r"""How recordings are grouped into documents.

    Attributes:
        document: a regular expression; recordings of one speaker whose ids begin with the same match are one document,
            such as ``\d+-\d+-`` for the chapters of LibriSpeech. Empty: each recording is one.
    """

    document: Annotated[str, SHARED] = ""


class TrainConfig(DocumentsConfig, frozen=True):
    """Settings of the base model, which predicts the next concept by regression; the other models share its sizes.

    Attributes:
        speaker_directions: number removed from concepts, see `speechkit.lm.concepts.space`.
        concepts: maximum number in a training window.
        width: hidden width.
        heads: attention heads.
        feed_width: inner width of the feed-forward networks.
        layers: of the context encoder.
        dropout: on the output of each block.
        training: settings of training.
        half: store float16.
        processes: on this machine that share each step; 0 is one per GPU.
    """

    speaker_directions: Annotated[int, SHARED, msgspec.Meta(ge=0, le=4096)] = 16
    concepts: Annotated[int, SHARED, msgspec.Meta(ge=2, le=65_536)] = 128
    width: Annotated[Size, SHARED] = 192
    heads: Annotated[Size, SHARED] = 4
    feed_width: Annotated[Size, SHARED] = 512
    layers: Annotated[Layers, SHARED] = 3
    dropout: Annotated[float, SHARED, msgspec.Meta(ge=0, lt=1)] = 0.1
    training: LoopConfig = LoopConfig()
    half: bool = False
    processes: int = 1


class TwoTowerStage(TrainConfig, frozen=True):
    """Settings of the diffusion model; see `TrainConfig`."""

    variant: TwoTowerConfig = TwoTowerConfig()


class CodesStage(TrainConfig, frozen=True):
    """Settings of the quantized model with codes as classes; see `TrainConfig`."""

    variant: QuantizedConfig = QuantizedConfig()


class VectorsStage(TrainConfig, frozen=True):
    """Settings of the quantized model with codes by distance; see `TrainConfig`."""

    variant: QuantizedConfig = QuantizedConfig(foresees="vectors")


def train(context: Context) -> None:
    """Train the model; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    train_stage(context, objective, context.config.training.loop, processes=context.config.processes)


def objective(context: Context) -> Objective:
    """The model on the documents of training speakers."""
    from speechkit.lm.concepts.training import concept_objective, new_model
    from speechkit.lm.unit_model import parameter_count

    config: Any = context.config
    parts, encoder = part_documents(context)
    settings = {
        "speaker_directions": config.speaker_directions,
        "tower": TowerConfig(**{name: getattr(config, name) for name in TowerConfig.__struct_fields__}),
        "variant": getattr(config, "variant", RegressionConfig()),
        "context": config.concepts,
    }
    model = new_model(parts["train"], encoder, settings, context.seed)
    counts = {part: sum(len(document.vectors) for document in rows) for part, rows in parts.items()}
    context.say(
        f"{parameter_count(model):,} parameters; {counts['train']} training segments in {len(parts['train'])} "
        f"documents, {counts['dev']} validation segments"
    )
    return concept_objective(
        model,
        parts["train"],
        parts["dev"],
        config.training,
        lambda folder: model.save_pretrained(folder, half=config.half),
    )


def part_documents(context: Context) -> tuple[dict[str, list[Document]], EncoderSpec]:
    """The documents of each part, and the encoder of their vectors.

    Raises:
        UserError: if there are no vectors.
    """
    manifest = context.inputs["vectors"]
    rows: dict[str, list[tuple[SegmentVector, Float]]] = {"train": [], "dev": [], "test": []}
    encoder: EncoderSpec | None = None
    for row in context.read("vectors"):
        encoder = row.encoder
        rows[row.part].append((row, read_record_arrays(manifest, row.features)["vector"]))
    if encoder is None:
        raise UserError("no speech segments were found; give recordings with speech")
    return {part: documents(segments, context.config.document) for part, segments in rows.items()}, encoder


class EvaluateConfig(DocumentsConfig, frozen=True):
    """``negatives``: maximum number per target, from the same speaker."""

    negatives: Positive = 99


def evaluate(context: Context) -> None:
    """Evaluate how well each model and baseline predicts the next segment of test speakers."""
    import torch

    from speechkit.io.atomic import write_json
    from speechkit.lm.concepts.baselines import Ridge, context_mean, copy_last
    from speechkit.lm.concepts.model import ConceptModel
    from speechkit.lm.concepts.retrieval import (
        TestDocument,
        chance,
        draw_targets,
        gain,
        score_targets,
        summarize,
    )
    from speechkit.lm.concepts.space import speaker_share
    from speechkit.lm.unit_model import parameter_count

    parts, encoder = part_documents(context)
    models = [ConceptModel.from_pretrained(context.inputs[name]).to(context.device) for name in MODELS]
    space = models[0].space
    concepts = {part: [models[0].concepts(document.vectors) for document in rows] for part, rows in parts.items()}
    test = [
        TestDocument(document.name, document.speaker, rows)
        for document, rows in zip(parts["test"], concepts["test"], strict=True)
    ]
    targets = draw_targets(test, context.config.negatives, context.seed)
    ridge = Ridge(
        [rows for rows in concepts["train"] if len(rows) > 1], [rows for rows in concepts["dev"] if len(rows) > 1]
    )
    baselines: dict[str, Callable[[Float, str], Float]] = {
        "copy of the last": lambda rows, name: copy_last(rows),
        "mean of the context": lambda rows, name: context_mean(rows),
        "ridge regression": lambda rows, name: ridge(rows),
    }
    scores = {name: score_targets(test, targets, predictor) for name, predictor in baselines.items()}
    parameters = dict.fromkeys(baselines, 0) | {"ridge regression": ridge.parameters}
    for (name, label), model in zip(MODELS.items(), models, strict=True):
        if any(not torch.equal(one, other) for one, other in zip(model.space.buffers(), space.buffers(), strict=True)):
            raise UserError(
                f"{name}: its concept space differs from that of base; set the same speaker_directions for all"
            )
        scores[label] = score_targets(test, targets, partial(_predict_seeded, model, context.seed))
        parameters[label] = parameter_count(model)
        if context.interrupted:
            raise Interrupted
    vectors = np.concatenate([document.vectors for document in parts["test"]]).astype(np.float64)
    speakers = [document.speaker for document in parts["test"] for _ in document.vectors]
    fit = Fit(
        segments={part: sum(len(document.vectors) for document in rows) for part, rows in parts.items()},
        documents={part: len(rows) for part, rows in parts.items()},
        speakers={part: len({document.speaker for document in rows}) for part, rows in parts.items()},
        segment_seconds=float(np.mean(np.concatenate([document.seconds for document in parts["test"]]))),
        speaker_share_before=speaker_share(vectors, speakers),
        speaker_share_after=speaker_share(np.concatenate(concepts["test"]).astype(np.float64), speakers),
    )
    best = max(baselines, key=lambda name: float(np.mean(scores[name].aligned)))
    report = ConceptReport(
        systems=[summarize(name, system, parameters[name]) for name, system in scores.items()],
        best_baseline=best,
        gains={name: Gain(*gain(system, scores[best])) for name, system in scores.items() if name not in baselines},
        chance=chance(targets),
        fit=fit,
        encoder=f"{encoder.model}, layer {encoder.layer}",
    )
    write_json(context.output("scores.json"), report)


def _predict_seeded(model: ConceptModel, seed: int, concepts: Float, name: str) -> Float:
    return model.predict_document(concepts, item_seed(seed, name))
