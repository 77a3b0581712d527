"""Stages 5 and 6: training of the flow on the latents, and synthesis of the test texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from speechkit.pipeline import NEUTRAL, Context
from speechkit.training import TrainingConfig
from speechkit.tts.flow_config import BytesText, FlowConfig, SamplingConfig, TextConfig
from speechkit.tts.stages import Say
from speechkit.tts.vocoder.config import SpeakerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.training import Objective


class TrainConfig(msgspec.Struct, frozen=True):
    """The model and its training.

    Attributes:
        lang: language of the texts.
        text: ``{kind: bytes}``, or ``{kind: checkpoint, name: FOLDER-OR-HUB-ID, dim: WIDTH}``.
        flow: the transformer.
        speaker: encoder of the prompts; None for a single voice.
        prompt_seconds: duration of a prompt.
        sampling: default settings of the sampler.
        batch_frames: size of a padded batch: number of utterances times the longest.
        drop: probability of training an item without its condition, for classifier-free guidance.
    """

    lang: str = "en"
    text: TextConfig = BytesText()
    flow: FlowConfig = FlowConfig()
    speaker: SpeakerConfig | None = None
    prompt_seconds: float = 3.0
    sampling: SamplingConfig = SamplingConfig()
    batch_frames: int = 2000
    drop: float = 0.1
    processes: int = 1
    loop: TrainingConfig = TrainingConfig()


def train(context: Context) -> None:
    """Train as configured; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    train_stage(context, objective, context.config.loop, processes=context.config.processes)


def objective(context: Context) -> Objective:
    """The network with the latents of stage 3."""
    from speechkit.pipeline.arrays import read_record_arrays
    from speechkit.tts.codec import ScalarCodec, codec_digest
    from speechkit.tts.durations import load_sentence_duration
    from speechkit.tts.flow_training import FlowItems, flow_objective, speaker_prompts
    from speechkit.tts.simplespeech import SimpleSpeech, SimpleSpeechConfig, SimpleSpeechNetwork
    from speechkit.tts.text_encoders import FrozenText

    config: TrainConfig = context.config
    codec = ScalarCodec.from_pretrained(context.inputs["codec"])
    duration = load_sentence_duration(context.inputs["duration"])
    network = SimpleSpeechNetwork(
        SimpleSpeechConfig(
            dim=codec.config.latent,
            codec=codec_digest(context.inputs["codec"]),
            lang=config.lang,
            text=config.text,
            flow=config.flow,
            speaker=config.speaker,
            sampling=config.sampling,
        )
    )
    rows = list(context.read("latents"))
    text = FrozenText(config.text, context.device, remembered=len(rows))

    def items(part: str) -> FlowItems:
        chosen = [row for row in rows if row.custom["part"] == part]
        frames = [read_record_arrays(context.inputs["latents"], row.features)["latents"] for row in chosen]
        prompts = None
        if config.speaker is not None:
            audio = context.inputs["train_manifest"]
            prompts = speaker_prompts(chosen, audio, codec.config.sample_rate, config.prompt_seconds, config.loop.seed)

        def others(indices: Sequence[int]) -> dict[str, Tensor]:
            texts, lengths = text.padded([chosen[index].text or "" for index in indices])
            return {"text": texts, "text_lengths": lengths}

        return FlowItems(frames, others, prompts, scale=1.0 / codec.config.levels)

    def save(folder: Path) -> None:
        SimpleSpeech(network, codec, duration).save_pretrained(folder)

    return flow_objective(
        network,
        items("train"),
        items("dev") if any(row.custom["part"] == "dev" for row in rows) else None,
        save,
        batch_frames=config.batch_frames,
        drop=config.drop,
        seed=config.loop.seed,
    )


class SpeakConfig(msgspec.Struct, frozen=True):
    """Synthesis of the test texts; a higher ``speed`` is faster."""

    speed: float = 1.0
    pause_seconds: float = 0.25
    batch_size: Annotated[int, NEUTRAL] = 8


class SpeakTest(Say):
    """Synthesise texts with the model of stage 5."""

    def setup(self, device: str) -> None:
        """Load the model."""
        from speechkit.tts.simplespeech import SimpleSpeech

        self.voice: Any = SimpleSpeech.from_pretrained(self.inputs["model"], device)
