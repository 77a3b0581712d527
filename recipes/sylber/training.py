"""Stages 4 to 6: the initial encoder with its segmentation, and the two stages of training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from speechkit.augment.mixing import MixingConfig, recorded_noises
from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import NEUTRAL, SHARED, Context
from speechkit.training import TrainingConfig

from .prepare import most_dropped

if TYPE_CHECKING:
    from pathlib import Path

    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.syllables.training_segments import Seeds, TeacherSegmentation
    from speechkit.training import Objective

Count = Annotated[int, msgspec.Meta(ge=1)]
Above = Annotated[float, msgspec.Meta(gt=0)]
Cosine = Annotated[float, msgspec.Meta(ge=-1, le=1)]


class SeedsConfig(msgspec.Struct, frozen=True):
    """The initial encoder, and the segments that the first training stage learns.

    Attributes:
        encoder: folder or hub id of wav2vec 2.0, HuBERT, WavLM or data2vec-audio, or ``embedded``.
        layers: number of its layers to keep; all by default.
        segmenter: ``dynamic``: least squared distance of the encoder's frames to segment means at a syllable rate;
            ``envelope``: the amplitude envelope alone; ``tier``: the tier ``syllable`` of the training manifest.
        rate: syllables per second of speech, for ``dynamic``.
        shortest: shortest segment in frames, for ``dynamic``.
        longest: longest segment in frames, for ``dynamic``; at least ``2 * shortest - 1``, so that a speech region of
            any length can be segmented.
        silence_db: frames this far below the loud frames of their recording are silent.
        silence_frames: shorter silences, such as closures of stops, are part of the surrounding speech.
        standardising_batches: batches of 40 s from which mean and deviation of the encoder's dimensions are estimated.
        measured_items: recordings from which the segment penalty is estimated.
    """

    encoder: Annotated[str, SHARED] = "embedded"
    layers: Count | None = None
    segmenter: Literal["dynamic", "envelope", "tier"] = "dynamic"
    rate: Above = 4.8
    shortest: Count = 4
    longest: Count = 30
    silence_db: Above = 32.0
    silence_frames: Annotated[int, msgspec.Meta(ge=0)] = 6
    standardising_batches: Count = 12
    measured_items: Count = 40

    def __post_init__(self) -> None:
        if self.longest < 2 * self.shortest - 1:
            raise ConfigError(
                f"seeds.longest is {self.longest}; give at least {2 * self.shortest - 1}, 2 * shortest - 1, so that "
                "speech of any length can be segmented"
            )


def make_seeds(context: Context) -> None:
    """Write the encoder, truncated to its layers and standardised, and the segmentation of the first training stage.

    Raises:
        UserError: if stages 2 and 3 left no utterance for tuning or testing, or a row lacks the tier ``syllable``.
    """
    from speechkit.encoders import load_encoder
    from speechkit.encoders.load import checkpoint_name
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.syllables.syllable_encoder import SyllableEncoder
    from speechkit.syllables.training_segments import Seeds, rate_penalty, tier_spans

    config = context.config
    manifest = context.inputs["train_manifest"]
    _require_truth(context)
    rows = list(context.read("train"))
    if config.segmenter == "tier":
        for row in (*rows, *context.read("dev")):
            tier_spans(row)
    encoder = SyllableEncoder(checkpoint_name(config.encoder), config.layers).to(context.device)
    batches = WaveformBatches(rows, manifest, 40.0, 10.0, context.seed % 2**32)
    encoder.standardise(batches(number) for number in range(config.standardising_batches))
    folder = context.output("encoder")
    encoder.save(folder)
    seeds = Seeds(config.segmenter, config.shortest, config.longest, config.silence_db, config.silence_frames)
    if config.segmenter == "dynamic":
        step = max(1, len(rows) // config.measured_items)
        network = load_encoder(str(folder), device=context.device)
        penalty = rate_penalty(seeds, rows[::step], manifest, network.encode, config.rate)
        context.say(f"penalty per segment: {penalty:.1f}")
        seeds = msgspec.structs.replace(seeds, penalty=penalty)
    write_json(context.output("seeds.json"), seeds)


def _require_truth(context: Context) -> None:
    """Fail before hours of training if no utterance is left to evaluate them."""
    parts = {(row.custom or {}).get("part") for row in context.read("silver")}
    for part, whom in (("test", "the test speakers"), ("tune", "the other speakers, for tuning,")):
        if part not in parts:
            reasons = Counter(drop.reason for name in ("words_drops", "silver_drops") for drop in context.read(name))
            raise UserError(f"no utterance of {whom} is left after stages 2 and 3, {most_dropped(reasons)}")


class TrainConfig(msgspec.Struct, frozen=True):
    """One stage of training.

    Attributes:
        train_front: whether the convolutions are trained too.
        noise_manifest: recorded noise for the student's input, without silent recordings; white noise is always used.
        batch_seconds: size of a padded batch: number of crops times the longest.
        crop_seconds: longer recordings are cropped to this length; at least 0.1, a short syllable.
        judged_batches: validation batches, of ``dev_manifest``; 0 for none.
        processes: parallel processes on this machine, 0: one for each GPU. A step takes ``loop.accumulation`` batches
            from each.
    """

    noise_manifest: Annotated[str | None, SHARED] = None
    train_front: bool = False
    batch_seconds: Above = 40.0
    crop_seconds: Annotated[float, msgspec.Meta(ge=0.1)] = 5.0
    mixing: MixingConfig = MixingConfig()
    judged_batches: Annotated[int, NEUTRAL, msgspec.Meta(ge=0)] = 6
    processes: Annotated[int, msgspec.Meta(ge=0)] = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(1e-4,), weight_decay=0.1, clip_norm=0.5)


class SecondConfig(TrainConfig, frozen=True):
    """The same for stage 2: a lower rate and no warm-up.

    Attributes:
        merge_range: range of the merge threshold (a cosine), which is drawn for each batch, such as 0.8 to 0.9 in the
            paper; by default, 0.05 to both sides of the threshold that gives ``rate``, within -1 to 1.
        rate: segments per second of speech.
        measured_items: recordings from which the thresholds are estimated.
    """

    merge_range: tuple[Cosine, Cosine] | None = None
    rate: Above = 4.8
    measured_items: Count = 30
    loop: TrainingConfig = TrainingConfig(learning_rates=(5e-5,), warmup_steps=0, weight_decay=0.1, clip_norm=0.5)

    def __post_init__(self) -> None:
        if self.merge_range is not None and not -1 <= self.merge_range[0] <= self.merge_range[1] <= 1:
            raise ConfigError(
                f"train2.merge_range is {list(self.merge_range)}; give two cosines from -1 to 1, the lower first"
            )


def train_first(context: Context) -> None:
    """Train to predict the initial encoder's means over the segments of stage 4."""
    _train(context, first_objective)


def first_objective(context: Context) -> Objective:
    """Objective with the segments of stage 4."""
    seeds = _seeds(context)

    def segments(name: str) -> dict[str, Any]:
        return seeds.settings(list(context.read(name)), context.inputs[f"{name}_manifest"])

    return _objective(context, context.inputs["encoder"], segments("train"), segments("dev"))


def train_second(context: Context) -> None:
    """Train with the first student as teacher, which also segments, with a merge threshold drawn for each batch."""
    from speechkit.data.audio import read_waveform
    from speechkit.encoders import load_encoder
    from speechkit.syllables.training_segments import estimate_teacher_segmentation

    config = context.config
    rows, manifest = list(context.read("train")), context.inputs["train_manifest"]
    # Estimated before training from the same recordings in every run, so that a resumed run segments identically.
    cutting = estimate_teacher_segmentation(
        load_encoder(str(context.inputs["model"]), device=context.device),
        [read_waveform(row, manifest) for row in rows[:: max(1, len(rows) // config.measured_items)]],
        _seeds(context),
        config.rate,
        config.merge_range,
    )
    context.say(
        f"silence by {cutting.silence_by} (separation {cutting.separation:.1f} deviations), "
        "segments merged above a cosine of {:.2f} to {:.2f}".format(*cutting.merge_range)
    )
    _train(context, partial(second_objective, cutting))
    write_json(context.output("teacher.json"), cutting)


def second_objective(cutting: TeacherSegmentation, context: Context) -> Objective:
    """Objective with the teacher's own segments."""
    segments = cutting.settings(_seeds(context))
    return _objective(context, context.inputs["model"], segments, segments)


def _seeds(context: Context) -> Seeds:
    from speechkit.syllables.training_segments import Seeds

    return msgspec.json.decode(context.inputs["seeds"].read_bytes(), type=Seeds)


def _train(context: Context, make_objective: Callable[[Context], Objective]) -> None:
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, make_objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def _objective(context: Context, folder: Path, training: dict[str, Any], validation: dict[str, Any]) -> Objective:
    """A student initialised from its teacher, with the segments for training and validation."""
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.encoders.pretraining.objective import pretraining
    from speechkit.syllables.self_distillation import SelfSegmentation
    from speechkit.syllables.syllable_encoder import SyllableEncoder

    config = context.config

    def batches(name: str) -> WaveformBatches:
        rows, manifest = list(context.read(name)), context.inputs[f"{name}_manifest"]
        return WaveformBatches(rows, manifest, config.batch_seconds, config.crop_seconds, config.loop.seed)

    student, teacher = SyllableEncoder(folder, train_front=config.train_front), SyllableEncoder(folder)
    noises = recorded_noises(context.inputs["noise_manifest"]) if "noise_manifest" in context.inputs else []
    family, validator = (
        SelfSegmentation(student, teacher, **segments, mixing=config.mixing, noises=noises, seed=config.loop.seed)
        for segments in (training, validation)
    )
    if not family.groups()[0]:
        raise UserError("no weight of the encoder is trained; keep at least one layer with seeds.layers")
    return pretraining(family, batches("train"), family.save, batches("dev"), config.judged_batches, validator)
