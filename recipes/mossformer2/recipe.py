"""The stages of the recipe, and stage 3, training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from speechkit.augment.speakers import SpeakerMixing
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Output,
    Recipe,
    Resources,
    Stage,
    external,
    model,
    stage,
)
from speechkit.separation.config import SeparationLoss
from speechkit.training import TrainingConfig

from .judging import CountingConfig, ScoreConfig, beside_digest, score, teach_counting
from .prepare import DROP_REASONS, MixturesConfig, Positive, SpeakerSplitConfig, mix, prepare

if TYPE_CHECKING:
    from speechkit.training import Objective

# Later stages read the audio through the manifest of the first stage.
SPEECH = external("speech_manifest", schema=Utterance, of="prepare")
Count = Annotated[int, msgspec.Meta(ge=0)]


class TrainConfig(msgspec.Struct, frozen=True):
    """The separator and its training.

    Attributes:
        separator: name of a configuration: ``mossformer2-tiny``, ``conv-tasnet-tiny`` …
        start: folder of a trained separator to start from; by default an untrained one.
        mixing: distribution of the training mixtures; the separator has a track for each of ``mixing.counts``.
        loss: the training loss.
        batch_size: mixtures in a batch.
        noise_manifest: noise recordings; without it, noise is synthetic where ``mixing.noise`` asks for it.
        judged_mixtures: number of validation mixtures, the first of ``dev.jsonl``, by which the weights are chosen.
        memory_gigabytes: size of the cache of decoded speech.
        processes: parallel processes on this machine, 0: one for each GPU.
        tensorboard: also write TensorBoard files (extra).
        loop: duration and optimiser.
    """

    sample_rate: Annotated[int, SHARED] = 8000
    separator: str = "mossformer2-tiny"
    start: str | None = None
    mixing: SpeakerMixing = SpeakerMixing()
    loss: SeparationLoss = SeparationLoss()
    batch_size: Positive = 8
    noise_manifest: str | None = None
    judged_mixtures: Count = 60
    memory_gigabytes: Annotated[float, NEUTRAL, msgspec.Meta(gt=0)] = 1.0
    processes: Count = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(average_decay=0.999)


def start_digest(start: str) -> str:
    """Digest of the separator that training starts from."""
    from speechkit.separation.model import separator_digest

    return separator_digest(start)


def train(context: Context) -> None:
    """Train as configured; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def objective(context: Context) -> Objective:
    """The separator with its loss and its training and validation mixtures."""
    from itertools import islice

    from speechkit.augment.mixing import recorded_noises
    from speechkit.augment.speaker_cuts import ManifestCuts
    from speechkit.augment.speakers import DynamicMixtures
    from speechkit.separation.model import Separator, new_separator, separator_config
    from speechkit.separation.training import read_validation, separation_training

    config: TrainConfig = context.config
    if config.start is not None:
        network = Separator.from_pretrained(config.start)
    else:
        network = new_separator(
            separator_config(config.separator, speakers=config.mixing.tracks, sample_rate=config.sample_rate)
        )
    if (network.speakers, network.sample_rate) != (config.mixing.tracks, config.sample_rate):
        raise UserError(
            f"{config.start}: has {network.speakers} tracks at {network.sample_rate} Hz, not {config.mixing.tracks} at "
            f"{config.sample_rate} Hz; change train.mixing.counts or sample_rate"
        )
    noises = recorded_noises(context.inputs["noise_manifest"], config.sample_rate) if config.noise_manifest else []
    memory = int(config.memory_gigabytes * 2**30)
    cuts = ManifestCuts(list(context.read("train")), context.inputs["speech_manifest"], config.sample_rate, memory)
    rows = list(islice(context.read("dev"), config.judged_mixtures))
    return separation_training(
        network,
        DynamicMixtures(cuts, config.mixing, config.batch_size, config.loop.seed, noises),
        config.loss,
        read_validation(rows, context.inputs["dev"], config.sample_rate),
    )


def check(configs: Mapping[str, Any]) -> Iterator[str]:
    """The error of an unknown separator."""
    from speechkit.separation.model import separator_config

    config = configs.get("train")
    if config is not None and config.start is None:
        try:
            separator_config(config.separator, speakers=config.mixing.tracks, sample_rate=config.sample_rate)
        except ConfigError as error:
            yield f"train.separator: {error}"


recipe = Recipe(
    "mossformer2",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(external("speech_manifest", schema=Utterance),),
            outputs=tuple(
                Output(f"{part}.jsonl", schema=Utterance, min_records=1) for part in ("train", "dev", "test")
            ),
            config=SpeakerSplitConfig,
            drop_reasons=DROP_REASONS,
        ),
        Stage(
            number=2,
            name="mixtures",
            version=2,
            run=mix,
            inputs=(stage("prepare", "dev.jsonl"), stage("prepare", "test.jsonl"), SPEECH),
            outputs=(
                Output("dev.jsonl", schema=Utterance),
                Output("test.jsonl", schema=Utterance),
                Output("dev"),
                Output("test"),
            ),
            config=MixturesConfig,
        ),
        Stage(
            number=3,
            name="train",
            run=train,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("mixtures", "dev.jsonl"),
                SPEECH,
                external("noise_manifest", schema=Utterance),
                model("start", digest=start_digest),
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=4,
            name="counting",
            run=teach_counting,
            inputs=(stage("train", "model"), stage("mixtures", "dev.jsonl")),
            outputs=(Output("model"),),
            config=CountingConfig,
        ),
        Stage(
            number=5,
            name="score",
            run=score,
            inputs=(
                stage("counting", "model"),
                stage("mixtures", "test.jsonl"),
                external("mixtures_manifest", schema=Utterance),
                model("beside", digest=beside_digest),
            ),
            outputs=(Output("scores"),),
            config=ScoreConfig,
        ),
    ),
    check=check,
    description="Train a separator of two or three simultaneous speakers, and score it.",
    next_command="speechkit separate FILE --model {exp}/04-counting/current/model --out tracks",
)
