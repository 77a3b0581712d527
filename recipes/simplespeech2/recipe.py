"""Stages 1 to 10: data, codec, latents, sentence durations, training, synthesis, scores and a page."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.pipeline import Output, Recipe, Resources, Stage, model, stage
from speechkit.report.tts_stages import judging_stages
from speechkit.tts.corpus import AUDIO, prepare_stage
from speechkit.tts.latents import DROP_REASONS as LATENT_DROPS
from speechkit.tts.latents import EncodeLatents, LatentConfig
from speechkit.tts.stages import DROP_REASONS as SAY_DROPS
from speechkit.tts.stages import clips_stage

from .codec import CodecConfig, train_codec
from .durations import DurationConfig, learn_durations
from .training import SpeakConfig, SpeakTest, TrainConfig, train

MACHINE = Resources(cpus=1, gpus=1)

recipe = Recipe(
    "simplespeech2",
    (
        prepare_stage(),
        Stage(
            number=2,
            name="codec",
            run=train_codec,
            inputs=(stage("prepare", "cuts.jsonl"), *AUDIO, model("folder")),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=CodecConfig,
            resources=MACHINE,
        ),
        Stage(
            number=3,
            name="latents",
            run=EncodeLatents,
            inputs=(stage("prepare", "cuts.jsonl"), *AUDIO, stage("codec", "model", name="codec")),
            outputs=(Output("latents.jsonl", schema=Utterance),),
            config=LatentConfig,
            drop_reasons=LATENT_DROPS,
            resources=MACHINE,
            part_records=512,
        ),
        Stage(
            number=4,
            name="durations",
            run=learn_durations,
            inputs=(stage("prepare", "cuts.jsonl"),),
            outputs=(Output("model"), Output("scores.json")),
            config=DurationConfig,
        ),
        Stage(
            number=5,
            name="train",
            run=train,
            inputs=(
                stage("latents", "latents.jsonl"),
                stage("codec", "model", name="codec"),
                stage("durations", "model", name="duration"),
                *AUDIO,
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            resources=MACHINE,
        ),
        Stage(
            number=6,
            name="say",
            run=SpeakTest,
            inputs=(stage("prepare", "texts.jsonl"), stage("train", "model")),
            outputs=(Output("spoken.jsonl", schema=Utterance),),
            config=SpeakConfig,
            drop_reasons=SAY_DROPS,
            resources=MACHINE,
            part_records=64,
        ),
        clips_stage(7),
        *judging_stages(8, "SimpleSpeech 2"),
    ),
    description="Train speech synthesis without alignments: flow matching in the latent frames of a scalar codec.",
    next_command="speechkit say TEXT --voice {exp}/05-train/current/model -o said.wav",
)
