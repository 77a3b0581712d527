"""The work of the stages; heavy libraries load when they run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError
from speechkit.pipeline import Context, Interrupted

if TYPE_CHECKING:
    from recipes.ssl_pretrain.config import TrainConfig
    from speechkit.encoders.pretraining.objective import Objective


def prepare(context: Context) -> None:
    """Drop what is too short to learn from."""
    config = context.config
    for field in ("train_manifest", "dev_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")

    def kept(name: str) -> Iterator[Utterance]:
        for row in context.read(name):
            if row.duration < config.min_seconds:
                context.drop(row.id, "too_short", f"{row.duration:.2f} s")
            else:
                yield row

    context.write("train.jsonl", kept("train_manifest"))
    context.write("dev.jsonl", kept("dev_manifest"))


def train_encoder(context: Context) -> None:
    """Train for as long as the configuration says; an interrupted run goes on from its checkpoint."""
    import torch

    from speechkit.runtime import seed_everything
    from speechkit.training import train

    config: TrainConfig = context.config
    seed_everything(context.seed)
    objective = build_objective(config, context)
    judged = [objective.make_batch(number) for number in range(config.dev_batches)]

    def evaluate(network: Any) -> dict[str, float]:
        losses = []
        for number, batch in enumerate(judged):
            torch.manual_seed(number)
            with torch.no_grad():
                losses.append(float(objective.loss(network, batch)[0]))
        return {"dev_loss": sum(losses) / len(losses)}

    done = train(
        objective.network,
        objective.groups(),
        objective.make_batch,
        objective.loss,
        config.loop,
        context.scratch,
        evaluate=evaluate,
        should_stop=lambda: context.interrupted,
        device=context.device,
        tensorboard=config.tensorboard,
        log=context.say,
    )
    if not done:
        raise Interrupted
    shutil.copy(context.scratch / "metrics.jsonl", context.output("metrics.jsonl"))
    objective.save(context.output("model"))


def build_objective(config: TrainConfig, context: Context) -> Objective:
    """The chosen family over the prepared recordings."""
    import numpy as np
    from transformers import Wav2Vec2Model

    from speechkit.data.manifest import read_manifest
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.encoders.pretraining.distillation import DistillationObjective, small_config
    from speechkit.encoders.pretraining.teacher import read_whisper_encoder
    from speechkit.training.augment import augment_waveform

    def damage(waveform: Any, generator: np.random.Generator) -> Any:
        return augment_waveform(waveform, config.damage, generator)

    batches = WaveformBatches(
        list(read_manifest(context.inputs["train"])),
        Path(context.inputs["train_manifest"]),
        config.batch_seconds,
        config.crop_seconds,
        config.loop.seed,
        damage,
    )
    if config.teacher is None:
        raise ConfigError("train.teacher is not set; give a Whisper model by hub id, folder or model.bin")
    encoder = read_whisper_encoder(config.teacher)
    student = Wav2Vec2Model(small_config()) if config.init is None else Wav2Vec2Model.from_pretrained(config.init)
    return DistillationObjective(encoder, student, batches, config.teacher_layers, take_over=config.init is None)
