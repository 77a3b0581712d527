"""Stages 2 to 4: what vocoders take, and their two trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from speechkit.errors import ConfigError
from speechkit.nn.mel_spec import MelSpec
from speechkit.pipeline import NEUTRAL, SHARED, Context
from speechkit.training import TrainingConfig
from speechkit.tts.vocoder.config import HifiGanConfig, SpeakerConfig, VocosConfig
from speechkit.tts.vocoder.training_config import CropConfig, DiscriminatorConfig, LossConfig

if TYPE_CHECKING:
    from speechkit.training import Objective
    from speechkit.tts.vocoder.batches import Recording
    from speechkit.tts.vocoder.vocoder import Vocoder

Kind = Literal["mel", "encoder", "units"]


class FeaturesConfig(msgspec.Struct, frozen=True):
    """What the vocoder takes.

    Attributes:
        input: ``mel``, log-mel frames; ``encoder``, frames of one of its layers; ``units`` of ``codebook``.
        mel: parameters of log-mel frames.
        encoder: folder, hub id or ``embedded``; for units, the one that the codebook was made with.
        layer: of the encoder; the last when absent. Of units: the codebook's.
        codebook: folder of a quantizer, or ``embedded-100`` and the like.
        measured_items: training recordings of which the frames' mean and deviation are measured.
    """

    input: Annotated[Kind, SHARED] = "mel"
    mel: MelSpec = MelSpec()
    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[int | None, SHARED] = None
    codebook: Annotated[str, SHARED] = "embedded-100"
    measured_items: Annotated[int, msgspec.Meta(ge=1)] = 400


def make_features(context: Context) -> None:
    """Write what the vocoder takes of every recording, but for log-mel frames, and their mean and deviation."""
    from speechkit.tts.vocoder.features import write_inputs

    config = context.config
    recordings = _recordings(context, "train", "dev", "test")
    write_inputs(
        context.output("frames"),
        recordings,
        config.input,
        mel=config.mel,
        encoder=config.encoder,
        layer=config.layer,
        codebook=config.codebook,
        measured_items=config.measured_items,
        device=context.device,
        leave_out=context.drop,
        progress=context.progress.update,
        interrupted=lambda: context.interrupted,
    )


class SpectralConfig(msgspec.Struct, frozen=True):
    """The vocoder, and its training by spectra alone.

    Attributes:
        generator: ``vocos`` or ``hifigan``, of the sizes in the section of that name.
        sample_rate: of the waveform in hertz.
        speaker: whether a recording of the speaker is heard, for inputs that do not say who speaks.
        speaker_encoder: what hears it.
        noise: width of a random vector beside the speaker's.
        init: folder of a vocoder to begin with; weights of the same name and shape are taken over, others drawn.
        balance: how much more is drawn of speakers of whom there is more: 1 as much as there is, 0 not at all.
        judged_batches: of the recordings held out for that; 0 for none.
        processes: of this machine that share each step; 0 is one for each GPU.
    """

    generator: Literal["vocos", "hifigan"] = "vocos"
    vocos: VocosConfig = VocosConfig()
    hifigan: HifiGanConfig = HifiGanConfig()
    sample_rate: int = 16_000
    speaker: bool = False
    speaker_encoder: SpeakerConfig = SpeakerConfig()
    noise: Annotated[int, msgspec.Meta(ge=0)] = 0
    init: str | None = None
    crops: CropConfig = CropConfig()
    losses: LossConfig = LossConfig(mel=1.0, stft=1.0)
    balance: Annotated[float, SHARED, msgspec.Meta(ge=0, le=1)] = 0.5
    judged_batches: Annotated[int, NEUTRAL, msgspec.Meta(ge=0)] = 4
    processes: Annotated[int, SHARED, msgspec.Meta(ge=0)] = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(1e-3,), clip_norm=10.0)


def train_spectral(context: Context) -> None:
    """Train from the beginning, by spectra."""
    _train(context, spectral)


def spectral(context: Context) -> Objective:
    """A new vocoder for the features of stage 2."""
    from speechkit.tts.vocoder.config import VocoderConfig
    from speechkit.tts.vocoder.features import read_input
    from speechkit.tts.vocoder.load import vocoder_folder
    from speechkit.tts.vocoder.objective import spectral_objective
    from speechkit.tts.vocoder.vocoder import Vocoder, take_over

    config = context.config
    taken, mean, deviation = read_input(context.inputs["frames"])
    vocoder = Vocoder(
        VocoderConfig(
            input=taken,
            generator=config.vocos if config.generator == "vocos" else config.hifigan,
            sample_rate=config.sample_rate,
            speaker=config.speaker_encoder if config.speaker else None,
            noise=config.noise,
        )
    )
    vocoder.standardise(mean, deviation)
    if config.init is not None:
        count, total = take_over(vocoder, Vocoder.from_pretrained(vocoder_folder(config.init), trainable=True))
        context.say(f"{count} of {total} weights are those of {config.init}")
    batch, judged = _batches(context, vocoder)
    return spectral_objective(vocoder, config.losses, batch, judged)


class AdversarialConfig(msgspec.Struct, frozen=True):
    """The training against discriminators; the rest as in stage 3."""

    discriminators: DiscriminatorConfig = DiscriminatorConfig()
    crops: CropConfig = CropConfig()
    losses: LossConfig = LossConfig()
    balance: Annotated[float, SHARED, msgspec.Meta(ge=0, le=1)] = 0.5
    judged_batches: Annotated[int, NEUTRAL, msgspec.Meta(ge=0)] = 4
    processes: Annotated[int, SHARED, msgspec.Meta(ge=0)] = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    loop: TrainingConfig = TrainingConfig(learning_rates=(5e-4, 5e-4), clip_norm=1000.0)

    def __post_init__(self) -> None:
        if len(self.loop.learning_rates) != 2:
            raise ConfigError(
                f"adversarial.loop.learning_rates has {len(self.loop.learning_rates)}; give two, of the discriminators "
                "and of the vocoder"
            )


def train_adversarial(context: Context) -> None:
    """Go on from stage 3, against discriminators."""
    _train(context, adversarial)


def adversarial(context: Context) -> Objective:
    """The vocoder of stage 3 and new discriminators."""
    from speechkit.tts.vocoder.objective import adversarial_objective
    from speechkit.tts.vocoder.vocoder import Vocoder

    config = context.config
    vocoder = Vocoder.from_pretrained(context.inputs["model"], trainable=True)
    batch, judged = _batches(context, vocoder)
    return adversarial_objective(vocoder, config.discriminators, config.losses, batch, judged)


def _train(context: Context, make_objective: Callable[[Context], Objective]) -> None:
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, make_objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def _batches(context: Context, vocoder: Vocoder) -> tuple[Any, list[Any]]:
    """The training's batches by number, and some to look how it goes."""
    from speechkit.tts.vocoder.batches import CropBatches
    from speechkit.tts.vocoder.features import stored_frames

    config = context.config
    stored = stored_frames(context.inputs["frames"])

    def batches(part: str) -> CropBatches:
        rows = [each for each in _recordings(context, part) if stored is None or each[0].id in stored]
        return CropBatches(rows, vocoder.config, config.crops, config.loop.seed, stored, config.balance)

    made = {part: batches(part) for part in ("train", "dev")}
    return made["train"], [made["dev"](number) for number in range(config.judged_batches)]


def _recordings(context: Context, *parts: str) -> list[Recording]:
    """Rows of parts that stage 1 wrote, with the manifests that they came from."""
    return [
        (row, Path(context.inputs[str((row.custom or {}).get("manifest"))]))
        for part in parts
        for row in context.read(part)
    ]
