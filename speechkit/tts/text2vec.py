"""Text2vec, the first half of WavThruVec: text to a vocoder's input frames, with an unsupervised alignment.

Transformer layers encode the symbols, which are repeated by the durations of the alignment (in training) or of the
duration predictor (in synthesis). The decoder turns them into target frames: those of an encoder, as wav2vec 2.0 in the
paper, or log-mel frames, stacked in pairs. It is trained by regression or by flow matching.

Source: Siuzdak et al. 2022 (WavThruVec), section 2.1; Badlani et al. 2021 (alignment). Unlike in the paper, the decoder
is given the position of each frame within its symbol.

Notation used for tensor shapes: B items, L symbols, T frames of 20 ms, D width, F width of a target frame.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.nn.checkpoints import checkpoint_folder, read_network, write_network
from speechkit.nn.flow_matching import guided, item_noise, solve
from speechkit.nn.masks import OUTSIDE, length_mask
from speechkit.nn.positions import sinusoidal
from speechkit.nn.transformer import Transformer
from speechkit.tts.durations import token_frames
from speechkit.tts.text import TextFrontEnd
from speechkit.tts.text2vec_config import FRAME_RATE, Text2VecConfig

MAX_PHONES = 100
"""Upper limit per dictionary word: longer ones would take minutes to speak."""
DICTIONARY_FILE = "dictionary.txt.gz"
MAX_DICTIONARY_BYTES = 16 << 20
"""Four times the English dictionary; in memory it takes about thirty times as much."""
POSITION_FEATURES = 4
"""Number of features of a frame's position within its symbol."""
MIN_DEVIATION = 1e-3


@dataclass(frozen=True)
class SpokenFrames:
    """Frames for a vocoder, with their symbols.

    Attributes:
        frames: (T, F) at 50 Hz.
        tokens: the symbols.
        durations: frames per symbol, with the sum T.
    """

    frames: Float
    tokens: tuple[str, ...]
    durations: tuple[int, ...]


class Text2Vec(nn.Module):
    """Predicts target frames from symbols.

    Args:
        config: see `Text2VecConfig`.
        front_end: converts texts to symbols; by default that of the configuration, without a dictionary.

    Raises:
        ConfigError: if the configuration contradicts itself.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: Text2VecConfig, front_end: TextFrontEnd | None = None):
        super().__init__()
        self.config = config
        self.front_end = front_end or TextFrontEnd(config.text)
        sizes = config.sizes
        width, frame_width = sizes.width, config.frame_width
        self.register_buffer("mean", torch.zeros(frame_width))
        self.register_buffer("deviation", torch.ones(frame_width))
        self.symbols = nn.Embedding(len(config.text.symbols) + 1, width, padding_idx=0)
        self.speaker = nn.Embedding(len(config.speakers), width) if config.speakers else None

        def layers(count: int, condition_width: int = 0) -> Transformer:
            return Transformer(
                width,
                count,
                sizes.heads,
                sizes.feed_width,
                sizes.kernel,
                condition_width=condition_width,
                dropout=sizes.dropout,
            )

        flow = sizes.decoder == "flow"
        self.encoder = layers(sizes.encoder_layers)
        self.aligner = Aligner(width, frame_width, sizes.aligner_width)
        self.durations = DurationPredictor(width, sizes.dropout)
        self.place = nn.Linear(POSITION_FEATURES, width)
        self.noisy = nn.Linear(frame_width, width) if flow else None
        self.no_text = nn.Parameter(torch.zeros(width)) if flow else None
        self.decoder = layers(sizes.decoder_layers, width if flow else 0)
        self.frame = nn.Linear(width, frame_width)

    def encode(self, symbols: Tensor, counts: Tensor, speakers: Tensor | None = None) -> Tensor:
        """Symbols (B, L), their counts (B,) and speaker numbers (B,) -> states (B, L, D).

        Raises:
            ValueError: if a multi-speaker model is given no speakers, or a single-speaker model is given some.
        """
        if (self.speaker is None) != (speakers is None):
            raise ValueError("speakers must be given for a multi-speaker model, and for no other")
        embedded_symbols = self.symbols(symbols)
        if self.speaker is not None:
            embedded_symbols = embedded_symbols + self.speaker(speakers)[:, None]
        inside = length_mask(counts, symbols.shape[1])
        states: Tensor = self.encoder(embedded_symbols, inside)
        return states

    def upsample(self, states: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
        """Repeat states (B, L, D) by durations (B, L): the decoder's input (B, T, D), and the frames per item (B,)."""
        totals = durations.sum(1)
        longest = int(totals.max())
        ends = durations.cumsum(1)
        frame = torch.arange(longest, device=states.device).expand(len(states), longest).contiguous()
        # The symbol of a frame is the first that ends after it; padding frames take the last symbol.
        symbol = torch.searchsorted(ends, frame, right=True).clamp_max(states.shape[1] - 1)
        spans = durations.gather(1, symbol).clamp_min(1).float()
        elapsed = (frame - (ends - durations).gather(1, symbol)).clamp_min(0).float()
        remaining = (spans - 1 - elapsed).clamp_min(0)
        position = [(elapsed + 0.5) / spans, elapsed.log1p(), remaining.log1p(), spans.log()]
        repeated = states.gather(1, symbol[..., None].expand(-1, -1, states.shape[2]))
        return repeated + self.place(torch.stack(position, -1)), totals

    def regress(self, upsampled: Tensor, frames: Tensor) -> Tensor:
        """Standardised target frames (B, T, F) from the decoder's input (B, T, D)."""
        predicted: Tensor = self.frame(self.decoder(upsampled, length_mask(frames, upsampled.shape[1])))
        return predicted

    def velocity(self, upsampled: Tensor, frames: Tensor, point: Tensor, time: Tensor) -> Tensor:
        """The flow's velocity at points (B, T, F) and times (B,), given the decoder's input (B, T, D)."""
        assert self.noisy is not None
        velocity: Tensor = self.frame(
            self.decoder(
                upsampled + self.noisy(point),
                length_mask(frames, upsampled.shape[1]),
                sinusoidal(time, self.config.sizes.width),
            )
        )
        return velocity

    def standardised(self, frames: Tensor) -> Tensor:
        """Standardise target frames (…, F)."""
        return (frames - self.mean) / self.deviation

    def set_scale(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and standard deviation (F,) of the target."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp_min(MIN_DEVIATION))

    @torch.no_grad()
    def synthesise(
        self, symbols: Tensor, counts: Tensor, durations: Tensor, speakers: Tensor | None, seeds: Sequence[int] = ()
    ) -> Tensor:
        """Target frames (B, T, F) of symbols (B, L) with durations (B, L); ``seeds`` of the flow, one per item."""
        upsampled, frames = self.upsample(self.encode(symbols, counts, speakers), durations)
        if self.config.sizes.decoder == "regression":
            return self.regress(upsampled, frames) * self.deviation + self.mean
        assert self.no_text is not None
        unconditional = self.no_text.expand_as(upsampled)
        noise = item_noise(list(seeds), frames.tolist(), self.config.frame_width).to(upsampled.device)
        sampled = solve(
            guided(
                lambda point, time: self.velocity(upsampled, frames, point, time),
                lambda point, time: self.velocity(unconditional, frames, point, time),
                self.config.sizes.guidance,
            ),
            noise,
            self.config.sizes.steps,
        )
        return sampled * self.deviation + self.mean

    @torch.no_grad()
    def generate(
        self,
        text: str,
        *,
        speaker: str | None = None,
        seconds: float | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> SpokenFrames:
        """The frames of a sentence.

        Args:
            text: one sentence; split a longer text with `TextFrontEnd.sentences` first.
            speaker: name of one of the model's speakers; the first by default.
            seconds: total duration, instead of the predicted one.
            speed: 2 is twice as fast.
            seed: seeds the flow's noise; without effect on a regression.

        Raises:
            UserError: if nothing can be spoken, the speaker is unknown, ``seconds`` is too short, or the weights are
                damaged.
        """
        tokens = self.front_end(text)
        device = self.mean.device
        symbols = torch.tensor([self.front_end.numbers(tokens)], device=device)
        counts = torch.tensor([len(tokens)], device=device)
        speakers = self._speaker(speaker)
        predicted = self.predicted_frames(symbols, counts, speakers)[0].cpu().numpy()
        if not np.isfinite(predicted).all():
            raise UserError("the model predicts durations that are not finite: its weights are damaged; get it again")
        durations = token_frames(predicted, seconds=seconds, speed=speed, rate=FRAME_RATE, least=1)
        frames = self.synthesise(symbols, counts, torch.from_numpy(durations).long()[None].to(device), speakers, [seed])
        return SpokenFrames(frames[0].float().cpu().numpy(), tuple(tokens), tuple(durations.tolist()))

    @torch.no_grad()
    def predicted_frames(self, symbols: Tensor, counts: Tensor, speakers: Tensor | None) -> Tensor:
        """Predicted frames per symbol (B, L), real-valued, 0 in padding."""
        states = self.encode(symbols, counts, speakers)
        inside = length_mask(counts, symbols.shape[1])
        predicted: Tensor = self.durations(states, inside)
        return predicted.exp() * inside

    def _speaker(self, name: str | None) -> Tensor | None:
        known = self.config.speakers
        if not known:
            if name is not None:
                raise UserError(f"this model has one speaker; leave {name!r} out, or convert the speech afterwards")
            return None
        if name is not None and name not in known:
            raise UserError(f"the model knows no speaker {name!r}; it has {', '.join(known)}, choose one of them")
        return torch.tensor([known.index(name) if name is not None else 0], device=self.mean.device)

    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write ``config.json``, ``model.safetensors`` (``half``: float16) and the dictionary, if any."""
        from speechkit.io.atomic import write_bytes

        write_network(folder, self.config, self, half=half)
        if self.front_end.dictionary:
            lines = (f"{word} {' '.join(phones)}\n" for word, phones in sorted(self.front_end.dictionary.items()))
            write_bytes(Path(folder) / DICTIONARY_FILE, gzip.compress("".join(lines).encode(), 9, mtime=0))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Text2Vec:
        """Load a model from a folder or hub id written by `save_pretrained`.

        Raises:
            UserError: if a file is missing or damaged, or belongs to another kind of network.
        """
        folder = checkpoint_folder(folder)
        model = read_network(folder, Text2VecConfig, cls, "a text2vec model")
        path = folder / DICTIONARY_FILE
        if path.is_file():
            model.front_end = TextFrontEnd(model.config.text, _read_dictionary(path))
        return model


def _read_dictionary(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_DICTIONARY_BYTES + 1)
        if len(content) > MAX_DICTIONARY_BYTES:
            raise ValueError(f"more than {MAX_DICTIONARY_BYTES >> 20} MB")
        words = {word: tuple(phones) for word, *phones in map(str.split, content.decode().splitlines())}
        if long := [word for word, phones in words.items() if len(phones) > MAX_PHONES]:
            raise ValueError(f"{long[0][:60]!r} has more than {MAX_PHONES} phones")
        return words
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path}: is no dictionary ({error}); copy the model again") from error


class Aligner(nn.Module):
    """Attention of frames over symbols.

    Source: Badlani et al. 2021, section 2.1: a softmax over negative squared distances.
    """

    def __init__(self, width: int, frame_width: int, inner: int):
        super().__init__()
        self.key_context = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.key = nn.Conv1d(2 * width, inner, 1)
        self.query_context = nn.Conv1d(frame_width, 2 * inner, 3, padding=1)
        self.query = nn.Conv1d(2 * inner, inner, 1)

    def forward(self, embedded: Tensor, counts: Tensor, target: Tensor, frames: Tensor, prior: Tensor) -> Tensor:
        """Log-attention (B, T, L), each row a log-softmax over the item's symbols.

        Args:
            embedded: embeddings of symbols (B, L, D), zero in padding.
            counts: symbols of each item (B,).
            target: standardised frames (B, T, F).
            frames: of each item (B,).
            prior: log-prior (B, T, L).
        """
        target = target * length_mask(frames, target.shape[1])[..., None]
        keys = self.key(torch.relu(self.key_context(embedded.transpose(1, 2)))).transpose(1, 2)  # (B, L, A)
        queries = self.query(torch.relu(self.query_context(target.transpose(1, 2)))).transpose(1, 2)  # (B, T, A)
        # The negative squared distance up to a constant per frame.
        scores = 2 * queries @ keys.transpose(1, 2) - keys.square().sum(-1)[:, None]
        scores = scores * queries.shape[-1] ** -0.5 + prior
        outside = ~length_mask(counts, embedded.shape[1])
        attention: Tensor = scores.masked_fill(outside[:, None], OUTSIDE).log_softmax(-1)
        return attention


class DurationPredictor(nn.Module):
    """Two convolutions that predict log durations from symbol states.

    Source: Ren et al. 2019 (FastSpeech), section 3.3.
    """

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.logarithm = nn.Linear(width, 1)

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """States (B, L, D) and their mask (B, L) -> log durations in frames (B, L)."""
        keep = inside[..., None].to(states.dtype)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = layer((states * keep).transpose(1, 2)).transpose(1, 2)
            states = self.dropout(norm(torch.relu(hidden)))
        logarithm: Tensor = self.logarithm(states)[..., 0]
        return logarithm
