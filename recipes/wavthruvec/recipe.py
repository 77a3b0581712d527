"""Prepare, target frames, text2vec, the test spoken, its scores and their page: stages 1 to 8."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.tts.scores.measuring import measure_stage
from speechkit.tts.stages import CLIPS, TextRow, write_clips
from speechkit.tts.stages import DROP_REASONS as SAY_DROPS
from speechkit.tts.target_frames import DROP_REASONS, TargetConfig, TargetFrames
from speechkit.tts.vocoder.load import vocoder_digest

from .judging import ReportConfig, SpeakConfig, SpeakTest, report
from .stages import PARTS, PREPARE_DROPS, PrepareConfig, TrainConfig, prepare, train

# The audio of later stages is where the manifests of the first one say.
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
                Output(
                    "cuts.jsonl",
                    schema=Utterance,
                ),
                Output("texts.jsonl", schema=TextRow, min_records=0),
                Output("text.json"),
                Output("dictionary.json"),
            ),
            config=PrepareConfig,
            drop_reasons=PREPARE_DROPS,
        ),
        Stage(
            number=2,
            name="features",
            run=TargetFrames,
            inputs=(stage("prepare", "cuts.jsonl"), *AUDIO, model("encoder", digest=encoder_digest)),
            outputs=(Output("features.jsonl", schema=Utterance, min_records=1),),
            config=TargetConfig,
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
        Stage(
            number=5,
            name="clips",
            run=write_clips,
            inputs=(stage("say", "spoken.jsonl"),),
            outputs=(Output(CLIPS), Output("manifest.jsonl", schema=Utterance)),
        ),
        # What the judges make of the recordings is the bound that no voice can be expected to pass.
        measure_stage(
            6,
            "recordings",
            external("test_manifest", schema=Utterance, of="prepare", name="manifest"),
            external("references", schema=Utterance),
        ),
        measure_stage(
            7,
            "scores",
            stage("clips", "manifest.jsonl"),
            external("test_manifest", schema=Utterance, of="prepare", name="references"),
        ),
        Stage(
            number=8,
            name="report",
            run=report,
            inputs=(
                stage("recordings", name="recordings"),
                stage("scores", name="scores"),
                stage("clips", "manifest.jsonl"),
                external("test_manifest", schema=Utterance, of="prepare"),
            ),
            outputs=(Output("report"),),
            config=ReportConfig,
        ),
    ),
    description="Learn to speak: text to the frames that a vocoder takes, without alignments.",
)
