"""Stages 1 to 8: data, units and frames, training, resynthesis, scores and a page."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.report.tts_stages import judging_stages
from speechkit.tts.corpus import AUDIO, prepare_stage
from speechkit.tts.stages import clips_stage
from speechkit.tts.unit_frames import DROP_REASONS, SAY_DROPS, SayUnits, SayUnitsConfig, UnitFrames, UnitFramesConfig
from speechkit.tts.vocoder.load import vocoder_digest
from speechkit.units.quantizers import quantizer_digest

from .training import TrainConfig, train

recipe = Recipe(
    "unit_decoder",
    (
        prepare_stage(),
        Stage(
            number=2,
            name="features",
            run=UnitFrames,
            inputs=(
                stage("prepare", "cuts.jsonl"),
                *AUDIO,
                external("sequences"),
                model("codebook", digest=quantizer_digest),
                model("encoder", digest=encoder_digest),
            ),
            outputs=(Output("features.jsonl", schema=Utterance),),
            config=UnitFramesConfig,
            drop_reasons=DROP_REASONS,
            resources=Resources(cpus=1, gpus=1),
            part_records=512,
        ),
        Stage(
            number=3,
            name="train",
            run=train,
            inputs=(
                stage("features", "features.jsonl"),
                *AUDIO,
                external("sequences", of="features"),
                model("codebook", digest=quantizer_digest),
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=4,
            name="say",
            run=SayUnits,
            inputs=(
                stage("features", "features.jsonl"),
                stage("train", "model"),
                *AUDIO,
                model("vocoder", digest=vocoder_digest),
            ),
            outputs=(Output("spoken.jsonl", schema=Utterance),),
            config=SayUnitsConfig,
            drop_reasons=SAY_DROPS,
            resources=Resources(cpus=1, gpus=1),
            part_records=512,
        ),
        clips_stage(5),
        *judging_stages(6, "units"),
    ),
    description="Train a decoder from units or syllable tokens to speech, and score its resynthesis.",
    next_command="speechkit units say UNITS --decoder {exp}/03-train/current/model -o said",
)
