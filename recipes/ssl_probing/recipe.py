"""Prepare tasks, align words, compute all layers and probe them: stages 1 to 4."""

from __future__ import annotations

from speechkit.asr.load import recognizer_digest
from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.encoders.probing.preparation import MANIFESTS, ProbeDataConfig, prepare
from speechkit.encoders.probing.stages import ProbeConfig, probe
from speechkit.encoders.probing.tasks import ProbeItem
from speechkit.encoders.stages import LayersConfig, encode_layers
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage

from .phones import AlignWordsAndPhones, PhonesConfig

# Later stages read the audio through the manifests of the first stage.
AUDIO = tuple(external(name, schema=Utterance, of="prepare") for name in MANIFESTS)

recipe = Recipe(
    "ssl_probing",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=tuple(external(name, schema=Utterance) for name in MANIFESTS),
            outputs=(
                Output("audio.jsonl", schema=Utterance),
                Output("items.jsonl", schema=ProbeItem, min_records=0),
                Output("speech.jsonl", schema=Utterance, min_records=0),
            ),
            config=ProbeDataConfig,
            drop_reasons=("too_long", "no_text", "no_speaker", "few_utterances", "beyond_limit"),
        ),
        Stage(
            number=2,
            name="words",
            version=3,
            run=AlignWordsAndPhones,
            inputs=(
                stage("prepare", "speech.jsonl"),
                *AUDIO[:2],
                model("recognizer", digest=recognizer_digest),
            ),
            outputs=(Output("words.jsonl", schema=Utterance, min_records=0),),
            config=PhonesConfig,
            resources=Resources(cpus=2, gpus=1),
            drop_reasons=("no_alignment", "unreadable_audio"),
            part_records=64,
        ),
        Stage(
            number=3,
            name="features",
            run=encode_layers,
            inputs=(stage("prepare", "audio.jsonl"), *AUDIO, model("encoder", digest=encoder_digest)),
            outputs=(Output("features"),),
            config=LayersConfig,
            drop_reasons=("unreadable_audio", "not_finite"),
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=4,
            name="probe",
            run=probe,
            inputs=(
                stage("prepare", "items.jsonl"),
                stage("words", "words.jsonl"),
                stage("features", "features"),
            ),
            outputs=(Output("scores.json"),),
            config=ProbeConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
    ),
    description="Probe a frozen speech encoder with small heads and word discrimination.",
)
