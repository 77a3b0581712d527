"""SimpleSpeech 2: flow matching on the latent frames of a scalar codec, given a text and a duration; no alignment.

Source: Yang et al. 2024, "SimpleSpeech 2". The paper does not describe its transformer in detail; ours is
`speechkit.tts.flow_transformer`.

Notation used for tensor shapes: B batch, T frames, D values of a frame, L symbols of text, S samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.io.audio import read_audio
from speechkit.nn.checkpoints import read_network, write_network
from speechkit.tts.codec import ScalarCodec, codec_digest
from speechkit.tts.durations import SentenceDuration, load_sentence_duration, sentence_frames
from speechkit.tts.flow_config import BytesText, FlowConfig, SamplingConfig, TextConfig
from speechkit.tts.flow_transformer import Conditions, FlowTransformer, sample_frames
from speechkit.tts.speaker_prompt import SpeakerPrompt, prompt_batch
from speechkit.tts.speech import Speech, UnspeakableError
from speechkit.tts.text_encoders import FrozenText, TextLayers
from speechkit.tts.vocoder.config import SpeakerConfig

CODEC, DURATION = "codec", "duration"


class SimpleSpeechConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration of a SimpleSpeech network.

    Attributes:
        dim: values per latent frame, D.
        codec: digest of the weights of the codec that the latents belong to.
        lang: language of the texts.
        text: text encoder.
        flow: the transformer.
        speaker: speaker encoder for prompts; None for a single voice.
        sampling: default sampling settings.
    """

    model_type: Literal["speechkit-simplespeech"] = "speechkit-simplespeech"
    dim: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    codec: str
    lang: str = "en"
    text: TextConfig = BytesText()
    flow: FlowConfig = FlowConfig()
    speaker: SpeakerConfig | None = None
    sampling: SamplingConfig = SamplingConfig()


class SimpleSpeechNetwork(nn.Module):
    """The flow transformer with its text and speaker encoders.

    The buffers ``mean`` and ``deviation`` (D,) standardise the latent frames.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: SimpleSpeechConfig):
        super().__init__()
        self.config = config
        width = config.flow.width
        self.text = TextLayers(config.text, width, config.flow.heads, config.flow.dropout)
        self.speaker = SpeakerPrompt(config.speaker, width) if config.speaker else None
        self.flow = FlowTransformer(config.flow, config.dim)
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("deviation", torch.ones(config.dim))

    def batch_conditions(self, batch: dict[str, Tensor]) -> Conditions:
        """Conditions of a batch with ``text``, ``text_lengths`` and, with speakers, ``prompts``."""
        return self.conditions(batch["text"], batch["text_lengths"], batch.get("prompts"))

    def conditions(self, text: Tensor, text_lengths: Tensor, prompts: Tensor | None = None) -> Conditions:
        """Conditions from texts (B, L) or (B, L, W) and, with speakers, prompts (B, S)."""
        speaker = self.speaker(prompts) if self.speaker is not None and prompts is not None else None
        return Conditions(text=self.text(text, text_lengths), text_lengths=text_lengths, speaker=speaker)


class SimpleSpeech:
    """A voice of a network, its codec and a predictor of sentence durations.

    Args:
        network: generates latent frames.
        codec: decodes them.
        duration: predicts the seconds of a text.
        name: name in messages.

    Raises:
        UserError: if the codec's frames have another width than the network's.
    """

    def __init__(
        self, network: SimpleSpeechNetwork, codec: ScalarCodec, duration: SentenceDuration, name: str = "simplespeech"
    ):
        if codec.config.latent != network.config.dim:
            raise UserError(
                f"{name}: was trained on frames of {network.config.dim} values, but its codec has "
                f"{codec.config.latent}; give the codec that it was trained with"
            )
        self.network, self.codec, self.duration, self.name = network.eval(), codec.eval(), duration, name
        self.lang, self.rate = network.config.lang, codec.config.sample_rate
        self.sampling = network.config.sampling
        self._text = FrozenText(network.config.text, str(next(network.parameters()).device))

    def generate(
        self,
        text: str,
        speaker: Float | None = None,
        seconds: float | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> Float:
        """Latent frames (T, D) of a sentence, rounded to the codec's levels.

        Args:
            text: one sentence.
            speaker: a recording (S,) of the target speaker at the codec's rate, for models of several voices.
            seconds: duration of the sentence, instead of the predicted one.
            speed: divides the predicted duration.
            seed: seeds the noise; the same seed gives the same frames.

        Raises:
            UnspeakableError: if the text has neither a letter nor a digit.
            ConfigError: if ``seconds`` and ``speed`` are both given, or one is out of range.
            UserError: if a speaker is missing, or given to a model of one voice.
        """
        if not any(character.isalnum() for character in text):
            raise UnspeakableError(f"{text[:60]!r}: holds no word; give words of {self.lang}")
        predicted = self.duration.seconds(text) if seconds is None else seconds
        frames = sentence_frames(predicted, seconds=seconds, speed=speed, rate=self.codec.config.frame_rate)
        network = self.network
        device = network.mean.device
        encoded, lengths = self._text.padded([text])
        with torch.inference_mode():
            prompt = prompt_batch(network.speaker, speaker, self.rate, self.name)
            conditions = network.conditions(encoded.to(device), lengths.to(device), prompt)
            sampled = sample_frames(network.flow, [frames], conditions, self.sampling, [seed])
            latents: Float = self.codec.snap(sampled * network.deviation + network.mean)[0].cpu().numpy()
        return latents

    def say(
        self,
        text: str,
        *,
        speaker: Path | str | None = None,
        seconds: float | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> Speech:
        """Speak a sentence; ``speaker`` is a recording. See `generate`."""
        prompt = None if speaker is None else read_audio(speaker, sample_rate=self.rate)
        latents = torch.from_numpy(self.generate(text, prompt, seconds, speed, seed)).to(self.network.mean.device)
        with torch.inference_mode():
            waveform = self.codec.decode(latents[None])[0].cpu().numpy()
        return Speech(np.clip(waveform, -1.0, 1.0), self.rate)

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the network, with codec and duration predictor in subfolders."""
        folder = Path(folder)
        self.codec.save_pretrained(folder / CODEC, half=half)
        self.duration.save_pretrained(folder / DURATION)
        config = msgspec.structs.replace(self.network.config, codec=codec_digest(folder / CODEC))
        write_network(folder, config, self.network, half=half)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> SimpleSpeech:
        """Read a folder that `save_pretrained` wrote.

        Raises:
            UserError: if a part is missing or damaged, or the network was trained with another codec.
        """
        network = read_network(folder, SimpleSpeechConfig, SimpleSpeechNetwork, "SimpleSpeech")
        codec = ScalarCodec.from_pretrained(Path(folder) / CODEC)
        if (digest := codec_digest(Path(folder) / CODEC)) != network.config.codec:
            raise UserError(
                f"{folder}: was trained with the codec {network.config.codec[:12]}, but {CODEC} holds {digest[:12]}; "
                "copy the whole folder again"
            )
        duration = load_sentence_duration(Path(folder) / DURATION)
        return cls(network.to(device), codec.to(device), duration, Path(folder).name)
