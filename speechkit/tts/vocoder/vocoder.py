"""The vocoder: frames, encoder features or units to a waveform, whole or as a stream.

Notation used for shapes: B items, T input frames, D their width, S = T * samples_per_frame samples, E width of a
speaker's vector, C of speaker and noise together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.nn.checkpoints import read_network, write_network
from speechkit.nn.masks import length_mask
from speechkit.tts.speaker import SpeakerEncoder
from speechkit.tts.vocoder.config import MelInput, UnitInput, VocoderConfig, VocosConfig
from speechkit.tts.vocoder.harmonic_source import Origin, Pitch, PitchPredictor, cycles_at_centres
from speechkit.tts.vocoder.hifigan import HifiGan
from speechkit.tts.vocoder.vocos import Vocos

INPUT_KERNEL = 7
WHOLE_SECONDS, CHUNK_SECONDS = 60.0, 15.0
"""Longer inputs are not synthesised at once: activations take about two megabytes a second in the larger sizes."""


class Vocoder(nn.Module):
    """A generator with what stands before it: the input's own scale, a first convolution, a speaker encoder.

    Args:
        config: what it is made of.

    Attributes:
        name: for messages, the folder or name that it was loaded from.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: VocoderConfig):
        super().__init__()
        self.config = config
        self.name = "the vocoder"
        generator, taken = config.generator, config.input
        width = generator.width if isinstance(generator, VocosConfig) else generator.channels
        self.embedding = nn.Embedding(taken.width, width) if isinstance(taken, UnitInput) else None
        entering = width if self.embedding is not None else taken.width
        first = nn.Conv1d(entering, width, INPUT_KERNEL, padding=INPUT_KERNEL // 2)
        self.input = first if isinstance(generator, VocosConfig) else weight_norm(first)
        self.norm = nn.LayerNorm(width, eps=1e-6) if isinstance(generator, VocosConfig) else None
        self.register_buffer("mean", torch.zeros(entering))
        self.register_buffer("scale", torch.ones(entering))
        self.speaker = SpeakerEncoder(config.speaker) if config.speaker is not None else None
        self.generator: nn.Module
        if isinstance(generator, VocosConfig):
            mel = taken.mel if isinstance(taken, MelInput) else None
            self.generator = Vocos(generator, mel, config.condition, config.sample_rate)
        else:
            self.generator = HifiGan(generator, config.condition)

    @property
    def sample_rate(self) -> int:
        """Of the waveform in hertz."""
        return self.config.sample_rate

    @property
    def samples_per_frame(self) -> int:
        """Of an input frame."""
        return self.config.samples_per_frame

    @torch.no_grad()
    def standardise(self, mean: Float | None, deviation: Float | None) -> None:
        """Take these off the input frames (D,) and divide by those, as measured on speech; None of units."""
        if mean is None or deviation is None:
            return
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(deviation).clamp_min(1e-3))

    def forward(
        self,
        frames: Tensor,
        lengths: Tensor | None = None,
        condition: Tensor | None = None,
        pitch: Pitch | None = None,
        origin: Origin | None = None,
    ) -> Tensor:
        """Waveforms of frames.

        Args:
            frames: (B, T, D) float, or units (B, T) integers.
            lengths: (B,) frames of each item; all T when absent.
            condition: (B, C), see `conditions`; for those that have a speaker or noise.
            pitch: of the generator's frames, for a harmonic source; predicted when absent.
            origin: position of a chunk of a stream, for a harmonic source.

        Returns:
            (B, S) float32; zeros behind an item's own samples.
        """
        hidden, mel, inside = self._projected(frames, lengths)
        further = (pitch, origin) if self.config.harmonic else ()
        waveforms: Tensor = self.generator(hidden, mel, inside, condition, *further)
        if inside is not None:
            step = self.config.generator.samples_per_frame
            waveforms = waveforms * inside[:, :, 0].repeat_interleave(step, dim=1)
        return waveforms

    def predicted_pitch(self, frames: Tensor, condition: Tensor | None = None) -> Pitch:
        """Predicted pitch of the generator's frames; frames as for `forward`.

        Raises:
            ValueError: if the vocoder has no harmonic source.
        """
        hidden, _, inside = self._projected(frames, None)
        predictor = self._predictor()
        return predictor.decoded(predictor(hidden, inside, condition))

    def _predictor(self) -> PitchPredictor:
        if not isinstance(self.generator, Vocos) or self.generator.pitch is None:
            raise ValueError(f"{self.name} has no harmonic source")
        return self.generator.pitch

    def pitch_loss(self, frames: Tensor, condition: Tensor | None, pitch: Pitch) -> tuple[Tensor, dict[str, float]]:
        """Loss of the pitch predictor, and its parts to log; frames as for `forward`."""
        hidden, _, inside = self._projected(frames, None)
        predictor = self._predictor()
        return predictor.loss(predictor(hidden, inside, condition), pitch)

    def _projected(self, frames: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The generator's input: hidden frames, features at its rate, and the mask of an item's own frames."""
        repeats = self.config.repeats
        hidden = frames if self.embedding is None else self.embedding(frames)
        hidden = (hidden - self.mean) / self.scale
        mel = frames
        if repeats > 1:
            hidden = hidden.repeat_interleave(repeats, dim=1)
            mel = mel.repeat_interleave(repeats, dim=1)
        inside = None
        if lengths is not None and int(lengths.min()) < frames.shape[1]:
            inside = length_mask(lengths * repeats, hidden.shape[1])[:, :, None].to(hidden.dtype)
            hidden = hidden * inside
        hidden = self.input(hidden.transpose(1, 2)).transpose(1, 2)
        if self.norm is not None:
            hidden = self.norm(hidden)
        return hidden, mel, inside

    def conditions(self, speakers: Tensor | None, noise: Tensor | None) -> Tensor | None:
        """Speakers' vectors (B, E) and noise (B, N) side by side (B, C); None where there is neither."""
        parts = [part for part in (speakers, noise) if part is not None]
        return torch.cat(parts, 1) if parts else None

    def reference(self, waveform: Float) -> Float:
        """The vector (E,) of whoever speaks in a recording at the rate of ``config.speaker.mel``.

        Raises:
            UserError: if this vocoder has no speaker.
            AudioError: if the recording is too short or silent.
        """
        if self.speaker is None:
            raise UserError(f"{self.name} takes no speaker: its input says who speaks; leave the speaker out")
        return self.speaker.embed(waveform)

    def generate(self, frames: NDArray[Any], speaker: Float | None = None, seed: int = 0) -> Float:
        """The waveform (S,) of frames (T, D) or units (T,); long ones are streamed, so that memory stays bounded.

        Args:
            frames: of the kind that ``config.input`` says.
            speaker: (E,) of `reference`, for a vocoder that has one.
            seed: of the noise, for one that has it.

        Raises:
            UserError: if the frames have another shape, are not finite or no units, or a speaker is missing.
        """
        rows = self._checked(frames)
        if not len(rows):
            return np.zeros(0, np.float32)
        if len(rows) > WHOLE_SECONDS * self.config.input.frame_rate:
            chunk = round(CHUNK_SECONDS * self.config.input.frame_rate)
            return np.concatenate([*self.stream([frames], speaker, seed, chunk_frames=chunk)])
        condition = self._condition(speaker, seed)
        with torch.inference_mode():
            waveform: Float = self(rows[None], None, condition)[0].cpu().numpy()
        return waveform

    def stream(
        self,
        blocks: Iterable[NDArray[Any]],
        speaker: Float | None = None,
        seed: int = 0,
        *,
        chunk_frames: int = 50,
        first_frames: int = 12,
    ) -> Iterator[Float]:
        """The waveform of frames that arrive in blocks of any length, equal to that of the whole.

        A chunk is given when the ``config.context_frames`` behind it have arrived, or the blocks end: that is the
        delay.

        Args:
            blocks: frames (T, D) or units (T,).
            speaker: as for `generate`.
            seed: as for `generate`.
            chunk_frames: of which samples are given at once.
            first_frames: the same for the first chunk.

        Raises:
            UserError: as `generate`.
        """
        condition = self._condition(speaker, seed)
        context, hop = self.config.context_frames, self.samples_per_frame
        held: Tensor | None = None
        before, wanted = 0, first_frames
        contour = _StreamedPitch(self, condition) if self.config.harmonic else None

        def samples(piece: Tensor, begin: int, end: int) -> Float:
            with torch.inference_mode():
                further = () if contour is None else contour(piece, end)
                answer: Float = self(piece[None], None, condition, *further)[0, begin * hop : end * hop].cpu().numpy()
            return answer

        for block in blocks:
            rows = self._checked(block)
            held = rows if held is None else torch.cat([held, rows])
            while len(held) >= before + wanted + context:
                yield samples(held[: before + wanted + context], before, before + wanted)
                kept = min(context, before + wanted)
                if contour is not None:
                    contour.drop(before + wanted - kept)
                held, before, wanted = held[before + wanted - kept :], kept, chunk_frames
        if held is not None and len(held) > before:
            yield samples(held, before, len(held))

    def _checked(self, frames: NDArray[Any]) -> Tensor:
        """Frames as a tensor on the device.

        Raises:
            UserError: saying what is wrong with them.
        """
        taken = self.config.input
        rows = np.asarray(frames)
        device = self.mean.device
        if isinstance(taken, UnitInput):
            if rows.ndim != 1 or rows.dtype.kind not in "iu":
                raise UserError(f"{self.name} takes units (frames,), and was given {rows.dtype} {rows.shape}")
            if len(rows) and not 0 <= rows.min() <= rows.max() < taken.width:
                raise UserError(
                    f"{self.name} knows units 0 to {taken.width - 1}, and was given {rows.min()} to {rows.max()}; "
                    "assign them with its codebook"
                )
            return torch.from_numpy(rows.astype(np.int64)).to(device)
        if rows.ndim != 2 or rows.shape[1] != taken.width:
            raise UserError(f"{self.name} takes frames (frames, {taken.width}), and was given {rows.shape}")
        if not np.isfinite(rows).all():
            frame = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise UserError(f"{self.name}: frame {frame} holds NaN or infinity; make the frames again")
        return torch.from_numpy(np.ascontiguousarray(rows, np.float32)).to(device)

    def _condition(self, speaker: Float | None, seed: int) -> Tensor | None:
        """(1, C) of one item."""
        device, config = self.mean.device, self.config
        speakers = noise = None
        if config.speaker is not None:
            if speaker is None:
                raise UserError(f"{self.name} needs a speaker; give a recording of one")
            if np.shape(speaker) != (config.speaker.dim,):
                raise UserError(
                    f"{self.name} takes a speaker's vector of {config.speaker.dim}, and was given {np.shape(speaker)}; "
                    "make it with its own speaker encoder"
                )
            speakers = torch.from_numpy(np.asarray(speaker, np.float32))[None].to(device)
        elif speaker is not None:
            raise UserError(f"{self.name} takes no speaker: its input says who speaks; leave the speaker out")
        if config.noise:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(1, config.noise, generator=generator).to(device)
        return self.conditions(speakers, noise)

    def save_pretrained(self, folder: str | Path, *, half: bool = True) -> None:
        """Write ``config.json`` and ``model.safetensors``, as float16 unless ``half`` is False."""
        plain = without_weight_norm(Vocoder(self.config))
        plain.load_state_dict(folded_weights(self))
        write_network(folder, self.config, plain, half=half)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, trainable: bool = False) -> Vocoder:
        """Read a folder that `save_pretrained` wrote, in float32.

        Args:
            folder: of the model, or a hub id.
            trainable: with the weight norms, to be trained on; without them it is quicker.

        Raises:
            UserError: if a file is missing or damaged, or the weights are not those of the configuration.
        """
        model = read_network(folder, VocoderConfig, lambda config: without_weight_norm(Vocoder(config)), "a vocoder")
        if trainable:
            plain, model = model, Vocoder(model.config)
            load_folded(model, plain.state_dict())
        model.name = f"the vocoder {folder}"
        return model


class _StreamedPitch:
    """Pitch contour of a stream: frames predicted with full context are final, and phase continues across chunks."""

    def __init__(self, vocoder: Vocoder, condition: Tensor | None):
        self._vocoder, self._condition = vocoder, condition
        self._repeats = vocoder.config.repeats
        self._known: Pitch | None = None
        self._cycles = torch.zeros(1, dtype=torch.float64, device=vocoder.mean.device)
        self._samples = 0

    def __call__(self, piece: Tensor, end: int) -> tuple[Pitch, Origin]:
        """Pitch and origin of a chunk (T, D), of which frames up to ``end`` are returned to the caller."""
        pitch = self._vocoder.predicted_pitch(piece[None], self._condition)
        if self._known is not None:
            count = self._known.hertz.shape[1]
            pitch = Pitch(*(torch.cat([old, new[:, count:]], 1) for old, new in zip(self._known, pitch, strict=True)))
        self._known = Pitch(*(each[:, : end * self._repeats] for each in pitch))
        return pitch, Origin(self._cycles, self._samples)

    def drop(self, frames: int) -> None:
        """Discard so many input frames at the front."""
        if not frames or self._known is None:
            return
        count = frames * self._repeats
        steps = (self._vocoder.config.generator.samples_per_frame, self._vocoder.sample_rate)
        cycles = cycles_at_centres(self._known.hertz[:, : count + 1], *steps, self._cycles)
        self._cycles = cycles[:, -1] - cycles[:, -1].floor()
        self._samples += frames * self._vocoder.samples_per_frame
        self._known = Pitch(*(each[:, count:] for each in self._known))


def without_weight_norm(network: Vocoder) -> Vocoder:
    """The same network, whose weights are plain ones."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return network


def folded_weights(network: nn.Module) -> dict[str, Tensor]:
    """All weights by name, those behind a weight norm as the products that they are."""
    weights = {name: value for name, value in network.state_dict().items() if ".parametrizations." not in name}
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            weights[f"{name}.weight"] = module.weight
    return weights


@torch.no_grad()
def load_folded(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Set the weights that `folded_weights` gave."""
    left = dict(weights)
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            module.weight = left.pop(f"{name}.weight")
    network.load_state_dict({**network.state_dict(), **left})


@torch.no_grad()
def take_over(network: nn.Module, other: nn.Module) -> tuple[int, int]:
    """Copy the weights of another network that have the same names and shapes.

    Returns:
        how many numbers were copied, and how many there are.
    """
    own, theirs = network.state_dict(), other.state_dict()
    fitting = {name for name, value in own.items() if name in theirs and theirs[name].shape == value.shape}
    fitting -= {"mean", "scale"}
    network.load_state_dict({**own, **{name: theirs[name] for name in fitting}})
    return sum(own[name].numel() for name in fitting), sum(value.numel() for value in own.values())
