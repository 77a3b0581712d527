"""Stages 1 to 3 of pre-training an encoder: data, targets and training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from speechkit.augment.waveforms import AugmentConfig
from speechkit.data.records import Utterance
from speechkit.encoders.pretraining.families import Family, FamilyConfig
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Interrupted,
    Output,
    Recipe,
    Resources,
    Stage,
    external,
    model,
    stage,
)
from speechkit.training import TrainingConfig

if TYPE_CHECKING:
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.training import Objective

MANIFESTS = ("train_manifest", "dev_manifest")
# Later stages read the audio through the manifests of the first stage.
TRAIN, DEV = (external(field, schema=Utterance, of="prepare") for field in MANIFESTS)


class PretrainingDataConfig(msgspec.Struct, frozen=True):
    """Training recordings, and ``dev_manifest`` for the validation loss.

    ``check_audio`` decodes every recording first, and drops unreadable ones; otherwise training stops at them.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    min_seconds: float = 1.0
    check_audio: bool = True


def prepare(context: Context) -> None:
    """Drop recordings that are too short or unreadable: a single one would stop days of training.

    Raises:
        ConfigError: if a manifest is not given.
        UserError: if no recording of a manifest is usable.
        Interrupted: if the user asked to stop.
    """
    config = context.config
    for field in MANIFESTS:
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    rows = {field: list(context.read(field)) for field in MANIFESTS}
    done, total = 0, sum(map(len, rows.values()))
    for field, output in zip(MANIFESTS, ("train.jsonl", "dev.jsonl"), strict=True):
        kept, reasons = [], []
        for row in rows[field]:
            reason = _why_unfit(row, Path(context.inputs[field]), config)
            if reason is None:
                kept.append(row)
            else:
                context.drop(row.id, *reason)
                reasons.append(f"the first, {row.id}: {': '.join(reason)}")
            done += 1
            context.progress.update(done, total)
            if context.interrupted:
                raise Interrupted
        if not kept:
            raise UserError(
                f"{context.inputs[field]}: none of {len(rows[field])} recordings is usable; "
                + (reasons[0] if reasons else "give a manifest with rows")
            )
        context.write(output, kept)


def _why_unfit(row: Utterance, manifest: Path, config: PretrainingDataConfig) -> tuple[str, str] | None:
    """Reason and detail if a recording is unusable; None if it is usable."""
    from speechkit.data import audio_path
    from speechkit.data.audio import why_unreadable

    if row.duration < config.min_seconds:
        return "too_short", f"{row.duration:.2f} s"
    if config.check_audio and (reason := why_unreadable(audio_path(manifest, row), row)):
        return "unreadable_audio", reason
    return None


class TargetsConfig(msgspec.Struct, frozen=True):
    """Targets of the predictive family: k-means clusters of an encoder's frames; the other families have none.

    The first iteration uses ``mfcc`` and 100 clusters, the second one the folder of the first, a middle layer and 500.
    """

    family: Annotated[Family, SHARED] = "predictive"
    encoder: str = "mfcc"
    layer: int | None = None
    clusters: int = 100
    sampled_frames: int = 300_000
    passes: int = 10


def make_targets(context: Context) -> None:
    """Cluster the training frames by k-means, and write the cluster of each training and validation frame."""
    from speechkit.encoders import load_encoder
    from speechkit.encoders.pretraining.targets import cluster_frames, no_targets

    config, path = context.config, context.output("targets.safetensors")
    if config.family != "predictive":
        no_targets(path)
        context.say(f"the {config.family} family has no targets")
        return
    train, held_out = (
        [(row, context.inputs[f"{part}_manifest"]) for row in context.read(part)] for part in ("train", "dev")
    )
    used = cluster_frames(
        load_encoder(config.encoder, layer=config.layer, device=context.device),
        train,
        held_out,
        path,
        clusters=config.clusters,
        sampled_frames=config.sampled_frames,
        passes=config.passes,
        seed=context.seed,
        progress=context.progress.update,
    )
    context.say(f"{used} of {config.clusters} clusters are in use")


class TrainConfig(FamilyConfig, frozen=True):
    """The family, the encoder and its training.

    Attributes:
        half: store float16 weights.
        batch_seconds: size of a padded batch: number of crops times the longest.
        crop_seconds: longer recordings are cropped to this length.
        augment: augmentation of the crops.
        processes: parallel processes on this machine, 0: one for each GPU. A step takes ``loop.accumulation`` batches
            from each.
        judged_batches: number of validation batches, of ``dev_manifest``.
    """

    family: Annotated[Family, SHARED] = "predictive"
    half: bool = False
    batch_seconds: float = 40.0
    crop_seconds: float = 10.0
    augment: AugmentConfig = AugmentConfig(speed=0.0, room=0.2, noise=0.4, noise_db=(5.0, 25.0), gain_db=(0.0, 0.0))
    processes: Annotated[int, msgspec.Meta(ge=0)] = 1
    judged_batches: Annotated[int, NEUTRAL] = 10
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(5e-4,))


def train(context: Context) -> None:
    """Train as configured; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def objective(context: Context) -> Objective:
    """The pre-training objective of the configured family."""
    from speechkit.augment.waveforms import augment_waveform
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.encoders.pretraining.families import make_family
    from speechkit.encoders.pretraining.memory import step_memory
    from speechkit.encoders.pretraining.objective import pretraining

    config: TrainConfig = context.config
    rows = {part: list(context.read(part)) for part in ("train", "dev")}

    def batches(part: str, first_item: int) -> WaveformBatches:
        return WaveformBatches(
            rows[part],
            context.inputs[f"{part}_manifest"],
            config.batch_seconds,
            config.crop_seconds,
            config.loop.seed,
            lambda waveform, generator: augment_waveform(waveform, config.augment, generator),
            first_item,
        )

    training, validation = batches("train", 0), batches("dev", len(rows["train"]))
    family = make_family(config, training, context.inputs["targets"], config.loop.seed)
    context.log(step_memory(family.network, config.batch_seconds, config.crop_seconds).sentence())
    save = partial(family.save, half=config.half)
    return pretraining(family, training, save, validation, config.judged_batches)


recipe = Recipe(
    "ssl_pretrain",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=tuple(external(field, schema=Utterance) for field in MANIFESTS),
            outputs=(
                Output("train.jsonl", schema=Utterance, min_records=1),
                Output("dev.jsonl", schema=Utterance, min_records=1),
            ),
            config=PretrainingDataConfig,
            drop_reasons=("too_short", "unreadable_audio"),
        ),
        Stage(
            number=2,
            name="targets",
            run=make_targets,
            inputs=(stage("prepare", "train.jsonl"), stage("prepare", "dev.jsonl"), TRAIN, DEV, model("encoder")),
            outputs=(Output("targets.safetensors"),),
            config=TargetsConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=3,
            name="train",
            run=train,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "dev.jsonl"),
                stage("targets", "targets.safetensors"),
                TRAIN,
                DEV,
                model("init"),
                model("teacher"),
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
    ),
    description="Pre-train a speech encoder on recordings alone.",
    next_command="speechkit probe {exp}/03-train/current/model --speech MANIFEST",
)
