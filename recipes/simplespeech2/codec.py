"""Stage 2: training of the codec on crops of the training recordings, or a trained codec from a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from speechkit.pipeline import NEUTRAL, Context
from speechkit.training import TrainingConfig
from speechkit.tts.vocoder.training_config import CropConfig, DiscriminatorConfig, LossConfig

if TYPE_CHECKING:
    from speechkit.training import Objective


class CodecConfig(msgspec.Struct, frozen=True):
    """The codec and its training.

    Attributes:
        folder: folder of a trained codec, which is used unchanged; None: train one.
        latent: number of values per frame.
        levels: S; values are rounded to multiples of 1 / S.
        body: ``convolutions`` over samples, as published, or ``spectral``, which a CPU can train.
        strides: strides of the convolutions; their product is the hop.
        width: channels of convolutions before the first stride, or of spectral blocks.
        layers: number of spectral blocks in the encoder; the decoder has two more.
        losses: weights of the losses.
        samples_weight: weight of the mean absolute difference of samples.
        discriminators: discriminators; None for spectral losses alone.
        crops: of a batch.
        judged_batches: of dev.
    """

    folder: str | None = None
    latent: int = 32
    levels: int = 5
    body: Literal["convolutions", "spectral"] = "convolutions"
    strides: tuple[int, ...] = (2, 4, 5, 8)
    width: int = 32
    layers: int = 3
    losses: LossConfig = LossConfig()
    samples_weight: float = 1.0
    discriminators: DiscriminatorConfig | None = DiscriminatorConfig()
    crops: CropConfig = CropConfig()
    judged_batches: Annotated[int, NEUTRAL] = 4
    processes: int = 1
    loop: TrainingConfig = TrainingConfig()


def train_codec(context: Context) -> None:
    """Train as configured, or copy the given codec; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage
    from speechkit.tts.codec import ScalarCodec

    config: CodecConfig = context.config
    if config.folder is None:
        train_stage(context, objective, config.loop, processes=config.processes)
        return
    ScalarCodec.from_pretrained(config.folder)  # raises an error if it is unusable
    for name in ("config.json", "model.safetensors"):
        context.output("model").mkdir(exist_ok=True)
        shutil.copyfile(Path(config.folder) / name, context.output("model") / name)
    context.write("metrics.jsonl", [{"step": 0, "taken_from": Path(config.folder).name}])


def objective(context: Context) -> Objective:
    """The codec with crops of the training recordings."""
    from speechkit.tts.codec import ConvolutionBody, ScalarCodec, ScalarCodecConfig, SpectralBody
    from speechkit.tts.codec_training import codec_objective
    from speechkit.tts.vocoder.batches import CropBatches
    from speechkit.tts.vocoder.config import VocoderConfig, VocosConfig

    config: CodecConfig = context.config
    body: ConvolutionBody | SpectralBody
    if config.body == "convolutions":
        body = ConvolutionBody(strides=config.strides, width=config.width)
    else:
        width, layers = config.width, config.layers
        generator = VocosConfig(width=width, inner=3 * width, layers=layers + 2, mel_magnitudes=False)
        body = SpectralBody(width=width, layers=layers, generator=generator)
    rows = [row for row in context.read("cuts") if row.duration >= config.crops.seconds]

    def crops(part: str) -> CropBatches:
        chosen = [(row, context.inputs["train_manifest"]) for row in rows if (row.custom or {})["part"] == part]
        return CropBatches(chosen, VocoderConfig(), config.crops, config.loop.seed)

    watched = any((row.custom or {})["part"] == "dev" for row in rows)
    return codec_objective(
        ScalarCodec(ScalarCodecConfig(latent=config.latent, levels=config.levels, body=body)),
        config.losses,
        crops("train"),
        [crops("dev")(number) for number in range(config.judged_batches)] if watched else [],
        samples_weight=config.samples_weight,
        discriminators=config.discriminators,
    )
