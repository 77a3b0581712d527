"""Stages 4 to 6: the encoder to begin with and what it takes for syllables, and the two stages of training."""

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
    """The encoder to begin with, and what stage 1 takes for syllables.

    Attributes:
        encoder: folder or hub id of wav2vec 2.0, HuBERT, WavLM or data2vec-audio, or ``embedded``.
        layers: how many of its layers to keep; all when absent.
        segmenter: ``dynamic``: least squared distance of the encoder's frames at a syllable rate; ``envelope``: the
            loudness alone; ``tier``: the tier ``syllable`` of the training manifest, whatever made it.
        rate: syllables a second of speech, for ``dynamic``.
        shortest: frames, for ``dynamic``.
        longest: frames, for ``dynamic``; at least ``2 * shortest - 1``, so that every stretch can be cut.
        silence_db: a frame so far below the loud ones of its recording is silent.
        silence_frames: shorter silences, as of a stop, belong to the speech around them.
        standardising_batches: of 40 s, to measure the encoder's dimensions on.
        measured_items: recordings to find the duration penalty on.
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
                "every stretch can be cut"
            )


def make_seeds(context: Context) -> None:
    """Write the encoder, cut to its layers and in standard units, and how stage 1 is to cut speech.

    Raises:
        UserError: if stages 2 and 3 left nothing to choose by or to judge by, or a row lacks the tier to be learnt.
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
        every = max(1, len(rows) // config.measured_items)
        network = load_encoder(str(folder), device=context.device)
        penalty = rate_penalty(seeds, rows[::every], manifest, network.encode, config.rate)
        context.say(f"a further segment costs {penalty:.1f}")
        seeds = msgspec.structs.replace(seeds, penalty=penalty)
    write_json(context.output("seeds.json"), seeds)


def _require_truth(context: Context) -> None:
    """Hours of training are for nothing where nothing is left to judge them by."""
    left = {(row.custom or {}).get("part") for row in context.read("silver")}
    for part, whom in (("test", "the test speakers"), ("tune", "the other speakers, to choose settings by,")):
        if part not in left:
            reasons = Counter(drop.reason for name in ("words_drops", "silver_drops") for drop in context.read(name))
            raise UserError(f"no utterance of {whom} is left after stages 2 and 3, {most_dropped(reasons)}")


class TrainConfig(msgspec.Struct, frozen=True):
    """One stage of training.

    Attributes:
        train_front: whether the convolutions learn, too.
        noise_manifest: recorded noise for the student's input, none of it silent; white noise is there in any case.
        batch_seconds: of crops, those of the longest times their number.
        crop_seconds: longer recordings give a piece of this length; at least 0.1, a short syllable.
        judged_batches: batches of ``dev_manifest``; 0 for none.
        processes: of this machine that train together, 0: one for each GPU. A step takes ``loop.accumulation`` batches
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
        merge_range: the cosines from which that of each batch is drawn, the lower first, as 0.8 to 0.9 in the paper;
            when absent, 0.05 to both sides of the one that gives ``rate``, as far as there are such cosines.
        rate: segments a second of speech.
        measured_items: recordings to find the thresholds on.
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
    """Learn the means of the first segments of the encoder to begin with."""
    _train(context, first_objective)


def first_objective(context: Context) -> Objective:
    """The segments that stage 4 chose."""
    seeds = _seeds(context)

    def segments(name: str) -> dict[str, Any]:
        return seeds.settings(list(context.read(name)), context.inputs[f"{name}_manifest"])

    return _objective(context, context.inputs["encoder"], segments("train"), segments("dev"))


def train_second(context: Context) -> None:
    """Learn from the student of stage 1, cut while training with a cosine that changes from batch to batch."""
    from speechkit.data.audio import read_waveform
    from speechkit.encoders import load_encoder
    from speechkit.syllables.training_segments import estimate_teacher_segmentation

    config = context.config
    rows, manifest = list(context.read("train")), context.inputs["train_manifest"]
    # Measured before training, on the same recordings in every run, so that a resumed run cuts alike.
    cutting = estimate_teacher_segmentation(
        load_encoder(str(context.inputs["model"]), device=context.device),
        [read_waveform(row, manifest) for row in rows[:: max(1, len(rows) // config.measured_items)]],
        _seeds(context),
        config.rate,
        config.merge_range,
    )
    context.say(
        f"silence by {cutting.silence_by} ({cutting.separation:.1f} deviations apart), "
        "segments merged from a cosine of {:.2f} to {:.2f}".format(*cutting.merge_range)
    )
    _train(context, partial(second_objective, cutting))
    write_json(context.output("teacher.json"), cutting)


def second_objective(cutting: TeacherSegmentation, context: Context) -> Objective:
    """Segments of the teacher itself."""
    segments = cutting.settings(_seeds(context))
    return _objective(context, context.inputs["model"], segments, segments)


def _seeds(context: Context) -> Seeds:
    from speechkit.syllables.training_segments import Seeds

    return msgspec.json.decode(context.inputs["seeds"].read_bytes(), type=Seeds)


def _train(context: Context, make_objective: Callable[[Context], Objective]) -> None:
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, make_objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def _objective(context: Context, folder: Path, learnt: dict[str, Any], judged: dict[str, Any]) -> Objective:
    """A student that begins as its teacher does, with the segments to learn from and those to judge by."""
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
    family, judge = (
        SelfSegmentation(student, teacher, **segments, mixing=config.mixing, noises=noises, seed=config.loop.seed)
        for segments in (learnt, judged)
    )
    if not family.groups()[0]:
        raise UserError("nothing of the encoder learns; keep at least one layer")
    return pretraining(family, batches("train"), family.save, batches("dev"), config.judged_batches, judge)
