"""Prepare, features, two trainings, copy synthesis, scores and their page: stages 1 to 8."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.pipeline.stage import Input
from speechkit.tts.scores.measuring import measure_stage
from speechkit.tts.vocoder.load import vocoder_digest

from .judging import ReportConfig, SynthesisConfig, report, synthesize
from .prepare import DROP_REASONS, VocoderDataConfig, prepare
from .training import (
    AdversarialConfig,
    FeaturesConfig,
    SpectralConfig,
    make_features,
    train_adversarial,
    train_spectral,
)

MANIFESTS = ("train_manifest", "extra_manifest", "test_manifest")
# The audio of later stages is where the manifests of the first one say.
AUDIO = tuple(external(name, schema=Utterance, of="prepare") for name in MANIFESTS)
PARTS = tuple(stage("prepare", f"{part}.jsonl") for part in ("train", "dev"))


def recorded(name: str) -> Input:
    """The recordings that were made again, under a stage's own name for them."""
    return stage("synthesis", "recorded.jsonl", name=name)


recipe = Recipe(
    "vocoder",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=tuple(external(name, schema=Utterance) for name in MANIFESTS),
            outputs=tuple(Output(f"{part}.jsonl", schema=Utterance) for part in ("train", "dev", "test")),
            config=VocoderDataConfig,
            drop_reasons=DROP_REASONS,
        ),
        Stage(
            number=2,
            name="features",
            run=make_features,
            inputs=(
                *PARTS,
                stage("prepare", "test.jsonl"),
                *AUDIO,
                model("encoder", digest=encoder_digest),
            ),
            outputs=(Output("frames"),),
            config=FeaturesConfig,
            resources=Resources(cpus=2, gpus=1),
            drop_reasons=("unreadable_audio", "shorter_than_a_frame"),
        ),
        Stage(
            number=3,
            name="spectral",
            run=train_spectral,
            inputs=(*PARTS, stage("features", "frames"), *AUDIO, model("init", digest=vocoder_digest)),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=SpectralConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=4,
            name="adversarial",
            run=train_adversarial,
            inputs=(*PARTS, stage("features", "frames"), stage("spectral", "model"), *AUDIO),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=AdversarialConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=5,
            name="synthesis",
            run=synthesize,
            inputs=(
                stage("prepare", "test.jsonl"),
                stage("adversarial", "model"),
                external("test_manifest", schema=Utterance, of="prepare"),
                model("encoder", digest=encoder_digest),
            ),
            outputs=(
                Output("made"),
                Output("recorded"),
                Output("made.jsonl", schema=Utterance),
                Output("recorded.jsonl", schema=Utterance),
                Output("speed.json"),
            ),
            config=SynthesisConfig,
            drop_reasons=("unreadable_audio", "too_short"),
        ),
        # Recordings have no others beside them: the setting ``references`` stays empty.
        measure_stage(6, "recordings", recorded("manifest"), external("references", schema=Utterance)),
        measure_stage(7, "evaluation", stage("synthesis", "made.jsonl", name="manifest"), recorded("references")),
        Stage(
            number=8,
            name="report",
            run=report,
            inputs=(
                stage("recordings", name="recorded"),
                stage("evaluation", name="made"),
                stage("synthesis", name="clips"),
            ),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=ReportConfig,
        ),
    ),
    description="Train a vocoder and judge it by the speech that it makes again.",
    next_command="speechkit vocode features FILE --vocoder {exp}/04-adversarial/current/model --out again.wav",
)
