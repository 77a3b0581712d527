"""Resynthesis of units and syllable tokens: a flow generates log-mel frames, and a vocoder the waveform.

The flow is that of SimpleSpeech, conditioned frame by frame, as in Sylber's decoder of syllables (Cho et al. 2025).

Notation used for tensor shapes: B batch, T frames (20 ms), D values of a stacked log-mel frame, K units, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.nn.checkpoints import read_network, write_network
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.durations import token_frames
from speechkit.tts.flow_config import FlowConfig, SamplingConfig
from speechkit.tts.flow_transformer import Conditions, FlowTransformer, sample_frames
from speechkit.tts.speaker_prompt import SpeakerPrompt, prompt_batch
from speechkit.tts.speech import Speech
from speechkit.tts.vocoder.config import SpeakerConfig
from speechkit.units.deduplication import repeat
from speechkit.units.quantizers import PREFIX, UnitSet

if TYPE_CHECKING:
    from speechkit.tts.vocoder import Vocoder

MODELS = Path(__file__).parent / "models"
PIECE_FRAMES, CONTEXT_FRAMES = 1500, 50
"""Longer sequences are generated in pieces of 30 s, each with a second of context on both sides."""


class UnitDecoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration of a unit decoder.

    Attributes:
        units: its input: the units of a codebook, or the tokens of a set of merges or syllables.
        mel: the log-mel frames that it generates.
        stacked: log-mel frames per decoder frame.
        flow: the transformer.
        speaker: speaker encoder for recordings; None for a single voice.
        sampling: default sampling settings.
    """

    model_type: Literal["speechkit-unit-decoder"] = "speechkit-unit-decoder"
    units: UnitSet
    mel: MelSpec = MelSpec()
    stacked: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    flow: FlowConfig = FlowConfig()
    speaker: SpeakerConfig | None = None
    sampling: SamplingConfig = SamplingConfig(steps=8, guidance=0.0)

    @property
    def dim(self) -> int:
        """Width of a stacked frame, D."""
        return self.stacked * self.mel.channels


class UnitDecoder(nn.Module):
    """Generates stacked log-mel frames from frame-level units.

    Attributes:
        name: name in messages.
        unit_frames: (K,) mean duration of each unit in frames, for sequences without durations.
    """

    mean: Tensor
    deviation: Tensor
    unit_frames: Tensor

    def __init__(self, config: UnitDecoderConfig):
        super().__init__()
        self.config, self.name = config, "the unit decoder"
        self.embedding = nn.Embedding(config.units.clusters, config.flow.width)
        self.speaker = SpeakerPrompt(config.speaker, config.flow.width) if config.speaker else None
        self.flow = FlowTransformer(config.flow, config.dim)
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("deviation", torch.ones(config.dim))
        self.register_buffer("unit_frames", torch.ones(config.units.clusters))

    def batch_conditions(self, batch: dict[str, Tensor]) -> Conditions:
        """Conditions of a batch with ``units`` (B, T) and, with speakers, ``prompts`` (B, S)."""
        speaker = self.speaker(batch["prompts"]) if self.speaker is not None else None
        return Conditions(frames=self.embedding(batch["units"]), speaker=speaker)

    def check(self, codebook: str) -> None:
        """Refuse units of another codebook, given by its digest.

        Raises:
            UserError: naming both.
        """
        own = self.config.units
        if codebook != own.digest:
            raise UserError(
                f"{self.name} was trained on {own.clusters} units of the codebook {own.digest[:12]}, these are of "
                f"{codebook[:12]}; assign them with its codebook, or give a decoder of theirs"
            )

    def frame_units(
        self,
        units: Sequence[int],
        durations: Sequence[int] | None = None,
        *,
        seconds: float | None = None,
        speed: float = 1.0,
    ) -> NDArray[np.int32]:
        """Frame-level units (T,) of a unit sequence; without durations each unit lasts its mean duration.

        Raises:
            UserError: if there are no units, one is not in the codebook, or the number of durations differs.
            ConfigError: see `speechkit.tts.durations.token_frames`.
        """
        known = self.config.units.clusters
        least, most = min(units, default=-1), max(units, default=-1)
        if least < 0 or most >= known:
            unit_range = f"{least} to {most}" if len(units) else "none"
            raise UserError(
                f"{self.name} knows units 0 to {known - 1}, and was given {unit_range}; give units of its codebook"
            )
        runs = np.asarray(units, np.int64)
        if durations is not None and len(durations) != len(runs):
            raise UserError(f"{len(runs)} units have {len(durations)} durations; give one for each unit")
        if durations is not None and seconds is None and speed == 1.0:
            return repeat(runs.astype(np.int32), np.asarray(durations, np.int32))
        wanted = self.unit_frames.cpu().numpy()[runs] if durations is None else durations
        rate = self.config.units.frames_per_second
        return repeat(runs.astype(np.int32), token_frames(wanted, seconds=seconds, speed=speed, rate=rate, least=1))

    def generate(self, units: ArrayLike, speaker: Float | None = None, seed: int = 0) -> Float:
        """Log-mel frames (stacked * T, channels) of frame-level units (T,).

        Args:
            units: see `frame_units`.
            speaker: a recording (S,) at the rate of ``config.mel``, for decoders of several voices.
            seed: seeds the noise.

        Raises:
            UserError: if a speaker is missing, or given to a decoder of one voice.
        """
        frames = torch.as_tensor(np.asarray(units, np.int64), device=self.mean.device)
        prompt = prompt_batch(self.speaker, speaker, self.config.mel.sample_rate, self.name)
        pieces = []
        for begin in range(0, len(frames), PIECE_FRAMES):
            first = max(0, begin - CONTEXT_FRAMES)
            piece = frames[None, first : begin + PIECE_FRAMES + CONTEXT_FRAMES]
            batch = {"units": piece} if prompt is None else {"units": piece, "prompts": prompt}
            with torch.inference_mode():
                sampled = sample_frames(
                    self.flow, [piece.shape[1]], self.batch_conditions(batch), self.config.sampling, [seed + begin]
                )
            pieces.append(sampled[0, begin - first :][:PIECE_FRAMES] * self.deviation + self.mean)
        stacked = torch.cat(pieces).cpu().numpy()
        mel: Float = stacked.reshape(len(stacked) * self.config.stacked, -1)
        return mel

    def save_pretrained(self, folder: str | Path, *, half: bool = True) -> None:
        """Write ``config.json`` and ``model.safetensors``, as float16 unless ``half`` is False."""
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> UnitDecoder:
        """Load a decoder from a folder or hub id written by `save_pretrained`.

        Raises:
            UserError: see `speechkit.nn.checkpoints.read_network`.
        """
        decoder = read_network(folder, UnitDecoderConfig, cls, "a unit decoder")
        decoder.name = f"the unit decoder {folder}"
        return decoder


def load_unit_decoder(name: str | Path, device: str = "cpu") -> UnitDecoder:
    """Load a decoder from a folder, or by the name of an embedded codebook such as ``embedded-100``.

    Raises:
        UserError: if there is no such decoder, or one of its files is missing or damaged.
    """
    folder = Path(name)
    if str(name).startswith(PREFIX) and not folder.is_dir():
        folder = MODELS / f"units-{name}"
        if not (folder / "model.safetensors").is_file():
            raise UserError(
                f"the package has no decoder for {name}; give the folder of one, trained with the recipe unit_decoder"
            )
    return UnitDecoder.from_pretrained(folder).to(device)


def say_units(
    decoder: UnitDecoder, vocoder: Vocoder, frame_units: NDArray[np.int32], speaker: Float | None = None, seed: int = 0
) -> Speech:
    """Synthesise frame-level units (T,).

    Raises:
        UserError: if the vocoder takes other frames than the decoder generates; see also `UnitDecoder.generate`.
    """
    vocoder.config.input.require(decoder.config.mel, vocoder.name)
    waveform = vocoder.generate(decoder.generate(frame_units, speaker, seed), None, seed)
    return Speech(np.clip(waveform, -1.0, 1.0), vocoder.sample_rate)
