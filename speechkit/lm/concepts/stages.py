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
"""Stages that train, and what their models are called."""


class VectorsConfig(msgspec.Struct, frozen=True):
    """Whose frames a concept is the mean of.

    Attributes:
        encoder: hub id, folder or ``embedded``.
        layer: of it; None for the last.
        compute: format of the arithmetic.
        batch_size: segments encoded together, where that is faster.
    """

    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = None
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[int, NEUTRAL] = 8


class SegmentVectors(Encode):
    """The mean of the frames of each segment, encoded alone, so that nothing of the next segment is in it."""

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
    r"""What is one document.

    Attributes:
        document: a regular expression; recordings of one speaker whose ids begin with the same match are one document,
            such as ``\d+-\d+-`` for the chapters of LibriSpeech. Empty: each recording is one.
    """

    document: Annotated[str, SHARED] = ""


class TrainConfig(DocumentsConfig, frozen=True):
    """A model that foresees the next concept by squared error; all models have the same sizes.

    Attributes:
        speaker_directions: that are taken out of concepts, see `speechkit.lm.concepts.space`.
        concepts: most that it sees at once.
        width: inside.
        heads: of attention.
        feed_width: inside of the feed-forwards.
        layers: that read what was said.
        dropout: of what layers add.
        training: how it learns.
        half: store float16.
        processes: of this machine that share each step; 0 is one for each GPU.
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
    """Diffusion; see `TrainConfig`."""

    variant: TwoTowerConfig = TwoTowerConfig()


class CodesStage(TrainConfig, frozen=True):
    """Code vectors as classes; see `TrainConfig`."""

    variant: QuantizedConfig = QuantizedConfig()


class VectorsStage(TrainConfig, frozen=True):
    """Code vectors by distance; see `TrainConfig`."""

    variant: QuantizedConfig = QuantizedConfig(foresees="vectors")


def train(context: Context) -> None:
    """Train the model; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    train_stage(context, objective, context.config.training.loop, processes=context.config.processes)


def objective(context: Context) -> Objective:
    """The model on the documents of training speakers."""
    from speechkit.lm.concepts.model import parameter_count
    from speechkit.lm.concepts.training import concept_objective, new_model

    config: Any = context.config
    parts, encoder = part_documents(context)
    settings = {
        "speaker_directions": config.speaker_directions,
        "tower": TowerConfig(**{name: getattr(config, name) for name in TowerConfig.__struct_fields__}),
        "variant": getattr(config, "variant", RegressionConfig()),
        "context": config.concepts,
    }
    model = new_model(parts["train"], encoder, settings, context.seed)
    counts = {part: sum(len(each.vectors) for each in rows) for part, rows in parts.items()}
    context.say(
        f"{parameter_count(model):,} weights; {counts['train']} segments of {len(parts['train'])} documents teach, "
        f"{counts['dev']} look on"
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
        UserError: if there is no vector.
    """
    manifest = context.inputs["vectors"]
    rows: dict[str, list[tuple[SegmentVector, Float]]] = {"train": [], "dev": [], "test": []}
    encoder: EncoderSpec | None = None
    for row in context.read("vectors"):
        encoder = row.encoder
        rows[row.part].append((row, read_record_arrays(manifest, row.features)["vector"]))
    if encoder is None:
        raise UserError("there is no segment; give recordings with speech")
    return {part: documents(each, context.config.document) for part, each in rows.items()}, encoder


class EvaluateConfig(DocumentsConfig, frozen=True):
    """``negatives``: most of each target, of the same speaker."""

    negatives: Positive = 99


def evaluate(context: Context) -> None:
    """Evaluate how well each model and baseline predicts the next segment of test speakers."""
    import torch

    from speechkit.io.atomic import write_json
    from speechkit.lm.concepts.baselines import Ridge, context_mean, copy_last
    from speechkit.lm.concepts.model import ConceptModel, parameter_count
    from speechkit.lm.concepts.retrieval import (
        TestDocument,
        chance,
        draw_targets,
        gain,
        score_targets,
        summarize,
    )
    from speechkit.lm.concepts.space import speaker_share

    parts, encoder = part_documents(context)
    models = [ConceptModel.from_pretrained(context.inputs[name]).to(context.device) for name in MODELS]
    space = models[0].space
    concepts = {part: [models[0].concepts(each.vectors) for each in rows] for part, rows in parts.items()}
    test = [
        TestDocument(each.name, each.speaker, rows) for each, rows in zip(parts["test"], concepts["test"], strict=True)
    ]
    targets = draw_targets(test, context.config.negatives, context.seed)
    ridge = Ridge(
        [each for each in concepts["train"] if len(each) > 1], [each for each in concepts["dev"] if len(each) > 1]
    )
    plain: dict[str, Callable[[Float, str], Float]] = {
        "copy of the last": lambda rows, name: copy_last(rows),
        "mean of the context": lambda rows, name: context_mean(rows),
        "ridge regression": lambda rows, name: ridge(rows),
    }
    scores = {name: score_targets(test, targets, foresee) for name, foresee in plain.items()}
    parameters = dict.fromkeys(plain, 0) | {"ridge regression": ridge.parameters}
    for (name, shown), model in zip(MODELS.items(), models, strict=True):
        if any(not torch.equal(one, other) for one, other in zip(model.space.buffers(), space.buffers(), strict=True)):
            raise UserError(f"{name}: its concepts are not those of the stage base; give all one speaker_directions")
        scores[shown] = score_targets(test, targets, partial(_seeded, model, context.seed))
        parameters[shown] = parameter_count(model)
        if context.interrupted:
            raise Interrupted
    vectors = np.concatenate([each.vectors for each in parts["test"]]).astype(np.float64)
    speakers = [each.speaker for each in parts["test"] for _ in each.vectors]
    fit = Fit(
        segments={part: sum(len(each.vectors) for each in rows) for part, rows in parts.items()},
        documents={part: len(rows) for part, rows in parts.items()},
        speakers={part: len({each.speaker for each in rows}) for part, rows in parts.items()},
        segment_seconds=float(np.mean(np.concatenate([each.seconds for each in parts["test"]]))),
        speaker_share_before=speaker_share(vectors, speakers),
        speaker_share_after=speaker_share(np.concatenate(concepts["test"]).astype(np.float64), speakers),
    )
    baselines = list(plain)
    best = max(baselines, key=lambda name: float(np.mean(scores[name].aligned)))
    found = ConceptReport(
        systems=[summarize(name, each, parameters[name]) for name, each in scores.items()],
        best_baseline=best,
        gains={name: Gain(*gain(each, scores[best])) for name, each in scores.items() if name not in plain},
        chance=chance(targets),
        fit=fit,
        encoder=f"{encoder.model}, layer {encoder.layer}",
    )
    write_json(context.output("scores.json"), found)


def _seeded(model: ConceptModel, seed: int, concepts: Float, name: str) -> Float:
    return model.foresee_document(concepts, item_seed(seed, name))
