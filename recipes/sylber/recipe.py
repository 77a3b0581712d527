"""The stages of the recipe: data, alignment, initial segments, two stages of training, segments, tokens and scores."""

from __future__ import annotations

from speechkit.asr.load import recognizer_digest
from speechkit.asr.stages import AlignWords, WordsConfig
from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.syllables.comparison import UtteranceSegments
from speechkit.syllables.tokens import TokenRow

from .judging import ScoreConfig, SegmentConfig, TokensConfig, make_tokens, score, segment
from .prepare import SyllableDataConfig, prepare
from .training import SecondConfig, SeedsConfig, TrainConfig, make_seeds, train_first, train_second
from .truth import AlignSilver, SilverConfig

NOISE = external("noise_manifest", schema=Utterance)
# Later stages read the audio through the manifests of the first stage.
TRAIN = external("train_manifest", schema=Utterance, of="prepare")
DEV = external("dev_manifest", schema=Utterance, of="prepare")
TRUTH = external("truth_manifest", schema=Utterance, of="prepare")

recipe = Recipe(
    "sylber",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=tuple(
                external(name, schema=Utterance) for name in ("train_manifest", "dev_manifest", "truth_manifest")
            ),
            outputs=(
                Output("train.jsonl", schema=Utterance),
                Output("dev.jsonl", schema=Utterance),
                Output("truth.jsonl", schema=Utterance),
            ),
            config=SyllableDataConfig,
            version=2,
            drop_reasons=("test_speaker", "too_short", "too_long", "no_text", "beyond_limit", "unreadable_audio"),
        ),
        Stage(
            number=2,
            name="words",
            run=AlignWords,
            inputs=(stage("prepare", "truth.jsonl"), TRUTH, model("recognizer", digest=recognizer_digest)),
            outputs=(Output("words.jsonl", schema=Utterance, min_records=0),),
            config=WordsConfig,
            resources=Resources(cpus=2, gpus=1),
            drop_reasons=("no_alignment", "unreadable_audio"),
            version=2,
            part_records=64,
        ),
        Stage(
            number=3,
            name="silver",
            run=AlignSilver,
            inputs=(stage("words", "words.jsonl"), TRUTH),
            outputs=(Output("silver.jsonl", schema=Utterance, min_records=0),),
            config=SilverConfig,
            drop_reasons=("no_alignment", "unreadable_audio", "disagreement"),
            part_records=64,
        ),
        Stage(
            number=4,
            name="seeds",
            run=make_seeds,
            # The test utterances are an input so that training does not begin without any.
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "dev.jsonl"),
                stage("silver", "silver.jsonl"),
                stage("words", "drops.jsonl", name="words_drops"),
                stage("silver", "drops.jsonl", name="silver_drops"),
                TRAIN,
                model("encoder", digest=encoder_digest),
            ),
            outputs=(Output("encoder"), Output("seeds.json")),
            config=SeedsConfig,
            version=2,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=5,
            name="train1",
            run=train_first,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "dev.jsonl"),
                stage("seeds", "encoder"),
                stage("seeds", "seeds.json"),
                TRAIN,
                DEV,
                NOISE,
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            version=2,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=6,
            name="train2",
            run=train_second,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "dev.jsonl"),
                stage("train1", "model"),
                stage("seeds", "seeds.json"),
                TRAIN,
                DEV,
                NOISE,
            ),
            outputs=(Output("model"), Output("metrics.jsonl"), Output("teacher.json")),
            config=SecondConfig,
            version=2,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=7,
            name="segment",
            run=segment,
            inputs=(
                stage("silver", "silver.jsonl"),
                stage("seeds", "encoder"),
                stage("train1", "model", name="first"),
                stage("train2", "model", name="second"),
                TRUTH,
            ),
            outputs=(
                Output("choices.json"),
                Output("segments.jsonl", schema=UtteranceSegments),
                Output("tuning.jsonl", schema=UtteranceSegments),
            ),
            config=SegmentConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=8,
            name="tokens",
            run=make_tokens,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("silver", "silver.jsonl"),
                stage("segment", "choices.json"),
                stage("train2", "model"),
                TRAIN,
                TRUTH,
            ),
            outputs=(
                Output("codebook"),
                Output("syllables"),
                Output("tokens.jsonl", schema=TokenRow),
                Output("tokens.json"),
            ),
            config=TokensConfig,
            version=2,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=9,
            name="score",
            run=score,
            inputs=(
                stage("silver", "silver.jsonl"),
                stage("segment", "choices.json"),
                stage("segment", "segments.jsonl"),
                stage("segment", "tuning.jsonl"),
                stage("tokens", "tokens.jsonl"),
                stage("tokens", "tokens.json", name="rates"),
            ),
            outputs=(Output("scores.json"),),
            config=ScoreConfig,
        ),
    ),
    description="Learn syllables without labels and evaluate them against silver alignments.",
    next_command="speechkit units encode FILE --codebook {exp}/08-tokens/current/syllables "
    "--encoder {exp}/06-train2/current/model --out tokens.jsonl",
)
