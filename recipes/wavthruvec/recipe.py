"""Stages 1 to 8: data, target frames, training of text2vec, synthesis of the test texts, scores and a page."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.report.tts_stages import judging_stages
from speechkit.tts.stages import DROP_REASONS as SAY_DROPS
from speechkit.tts.stages import TextRow, clips_stage
from speechkit.tts.target_frames import DROP_REASONS, TargetFrames, TargetFramesConfig
from speechkit.tts.vocoder.load import vocoder_digest

from .speaking import SpeakConfig, SpeakTest
from .stages import PARTS, PREPARE_DROPS, TrainConfig, VoiceDataConfig, prepare, train

# Later stages read the audio through the manifests of the first stage.
MANIFESTS = tuple(external(f"{part}_manifest", schema=Utterance) for part in PARTS)
AUDIO = tuple(external(f"{part}_manifest", schema=Utterance, of="prepare") for part in PARTS)

recipe = Recipe(
    "wavthruvec",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=MANIFESTS,
            outputs=(
                Output("cuts.jsonl", schema=Utterance),
                Output("texts.jsonl", schema=TextRow, min_records=0),
                Output("text.json"),
                Output("dictionary.json"),
            ),
            config=VoiceDataConfig,
            drop_reasons=PREPARE_DROPS,
        ),
        Stage(
            number=2,
            name="features",
            run=TargetFrames,
            inputs=(stage("prepare", "cuts.jsonl"), *AUDIO, model("encoder", digest=encoder_digest)),
            outputs=(Output("features.jsonl", schema=Utterance, min_records=1),),
            config=TargetFramesConfig,
            drop_reasons=DROP_REASONS,
            resources=Resources(cpus=1, gpus=1),
            part_records=1024,
        ),
        Stage(
            number=3,
            name="train",
            run=train,
            inputs=(
                stage("features", "features.jsonl"),
                stage("prepare", "text.json"),
                stage("prepare", "dictionary.json"),
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=4,
            name="say",
            run=SpeakTest,
            inputs=(stage("prepare", "texts.jsonl"), stage("train", "model"), model("vocoder", digest=vocoder_digest)),
            outputs=(Output("spoken.jsonl", schema=Utterance),),
            config=SpeakConfig,
            drop_reasons=SAY_DROPS,
            resources=Resources(cpus=1, gpus=1),
            part_records=32,
        ),
        clips_stage(5),
        *judging_stages(6, "wavthruvec", "WavThruVec"),
    ),
    description="Train text2vec: from text to the input frames of a vocoder, without given alignments.",
    next_command="speechkit say TEXT --voice {exp}/03-train/current/model -o said.wav",
)
