"""Units and syllable tokens made audible: a flow makes log-mel frames of them, and a vocoder samples of these.

The same flow as that of SimpleSpeech with another condition: what is said is known frame by frame. Sylber decodes its
syllables so (Cho et al. 2025).

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
from speechkit.tts.speaker_prompt import SpeakerPrompt, one_prompt
from speechkit.tts.speech import Speech
from speechkit.tts.vocoder.config import SpeakerConfig
from speechkit.units.deduplication import repeat
from speechkit.units.quantizers import PREFIX, UnitSet

if TYPE_CHECKING:
    from speechkit.tts.vocoder import Vocoder

MODELS = Path(__file__).parent / "models"
PIECE_FRAMES, CONTEXT_FRAMES = 1500, 50
"""Longer sequences are made in pieces of half a minute, each with a second of what is around it."""


class UnitDecoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that rebuilds the decoder.

    Attributes:
        units: of one codebook, or the tokens of one set of merges or syllables.
        mel: of the frames that it makes.
        stacked: log-mel frames side by side in one of its own.
        flow: the transformer.
        speaker: how a recording becomes the speaker's vector; None for one voice.
        sampling: unless other settings are asked for.
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
        """D."""
        return self.stacked * self.mel.channels


class UnitDecoder(nn.Module):
    """Units of every frame to stacked log-mel frames.

    Attributes:
        name: for messages.
        unit_frames: (K,) how long each unit lasts on average, for sequences that do not say it.
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

    def frame_units(
        self,
        units: Sequence[int],
        durations: Sequence[int] | None = None,
        *,
        seconds: float | None = None,
        speed: float = 1.0,
    ) -> NDArray[np.int32]:
        """The unit of every frame (T,) of runs of units; without durations each lasts what it does on average.

        Raises:
            UserError: if there is none, one is not of the codebook, or there are not as many durations.
            ConfigError: see `speechkit.tts.durations.token_frames`.
        """
        known = self.config.units.clusters
        runs = np.asarray(units, np.int64)
        if not len(runs) or (runs < 0).any() or (runs >= known).any():
            given = f"{runs.min()} to {runs.max()}" if len(runs) else "none"
            raise UserError(
                f"{self.name} knows units 0 to {known - 1}, and was given {given}; give units of its codebook"
            )
        if durations is not None and len(durations) != len(runs):
            raise UserError(f"{len(runs)} units and {len(durations)} durations; give as many of both")
        if durations is not None and seconds is None and speed == 1.0:
            return repeat(runs.astype(np.int32), np.asarray(durations, np.int32))
        wanted = self.unit_frames.cpu().numpy()[runs] if durations is None else durations
        rate = self.config.units.frames_per_second
        return repeat(runs.astype(np.int32), token_frames(wanted, seconds=seconds, speed=speed, rate=rate, least=1))

    def generate(self, units: ArrayLike, speaker: Float | None = None, seed: int = 0) -> Float:
        """Log-mel frames (stacked * T, channels) of the unit of every frame (T,).

        Args:
            units: see `frame_units`.
            speaker: a recording (S,) at the rate of ``config.mel``, for those with several voices.
            seed: of the noise.

        Raises:
            UserError: if a speaker is missing, or given to a decoder of one voice.
        """
        frames = torch.as_tensor(np.asarray(units, np.int64), device=self.mean.device)
        prompt = one_prompt(self.speaker, speaker, self.config.mel.sample_rate, self.name)
        pieces = []
        for begin in range(0, len(frames), PIECE_FRAMES):
            first = max(0, begin - CONTEXT_FRAMES)
            piece = frames[None, first : begin + PIECE_FRAMES + CONTEXT_FRAMES]
            batch = {"units": piece} if prompt is None else {"units": piece, "prompts": prompt}
            with torch.inference_mode():
                made = sample_frames(
                    self.flow, [piece.shape[1]], self.batch_conditions(batch), self.config.sampling, [seed + begin]
                )
            pieces.append(made[0, begin - first :][:PIECE_FRAMES] * self.deviation + self.mean)
        stacked = torch.cat(pieces).cpu().numpy()
        mel: Float = stacked.reshape(len(stacked) * self.config.stacked, -1)
        return mel

    def save_pretrained(self, folder: str | Path, *, half: bool = True) -> None:
        """Write ``config.json`` and ``model.safetensors``, as float16 unless ``half`` is False."""
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> UnitDecoder:
        """Read a folder or hub id that `save_pretrained` filled.

        Raises:
            UserError: see `speechkit.nn.checkpoints.read_network`.
        """
        decoder = read_network(folder, UnitDecoderConfig, cls, "a unit decoder")
        decoder.name = f"the unit decoder {folder}"
        return decoder


def load_unit_decoder(name: str | Path, device: str = "cpu") -> UnitDecoder:
    """A decoder of a folder, or by the name of a codebook inside the package, as ``embedded-100``.

    Raises:
        UserError: if there is none, or a file of it is missing or damaged.
    """
    folder = Path(name)
    if str(name).startswith(PREFIX) and not folder.is_dir():
        folder = MODELS / f"units-{name}"
        if not (folder / "model.safetensors").is_file():
            raise UserError(
                f"the package has no decoder of {name}; give the folder of one, as the recipe unit_decoder makes it"
            )
    return UnitDecoder.from_pretrained(folder).to(device)


def say_units(
    decoder: UnitDecoder, vocoder: Vocoder, frame_units: NDArray[np.int32], speaker: Float | None = None, seed: int = 0
) -> Speech:
    """The unit of every frame (T,) as a waveform.

    Raises:
        UserError: if the vocoder takes other frames than the decoder makes; see also `UnitDecoder.generate`.
    """
    vocoder.config.input.require(decoder.config.mel, vocoder.name)
    waveform = vocoder.generate(decoder.generate(frame_units, speaker, seed), None, seed)
    return Speech(np.clip(waveform, -1.0, 1.0), vocoder.sample_rate)
