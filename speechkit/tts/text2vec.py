"""WavThruVec's first half: text to the frames that a vocoder takes, with an alignment that it learns by itself.

Symbols go through transformer layers; each becomes as many frames as the alignment (in training) or the duration
predictor (in synthesis) says; more layers turn these into the frames of the target: those of an encoder, as wav2vec 2.0
in the paper, or log-mel frames, two side by side. The last layers regress, or carry noise to frames by flow matching.

Source: Siuzdak et al. 2022 (WavThruVec), section 2.1; Badlani et al. 2021 (alignment). The place of a frame in its
symbol, which the decoder is told here, is no part of the paper.

Notation used for tensor shapes: B items, L symbols, T frames of 20 ms, D width, F width of a target frame.
"""

from __future__ import annotations

import gzip
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

MOST_PHONES = 100
"""Of a word in a dictionary; a sentence of more would take minutes."""
DICTIONARY_FILE = "dictionary.txt.gz"
MOST_DICTIONARY_BYTES = 16 << 20
"""Four times that of English; read, its words take some thirty times as much."""
PLACES = 4
"""Numbers that tell a frame's place in its symbol."""
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class SpokenFrames:
    """What a vocoder is given, and what it speaks.

    Attributes:
        frames: (T, F) at 50 a second.
        tokens: the symbols.
        durations: frames of each symbol, with the sum T.
    """

    frames: Float
    tokens: tuple[str, ...]
    durations: tuple[int, ...]


class Text2Vec(nn.Module):
    """Symbols to target frames.

    Args:
        config: all that rebuilds it.
        front_end: of texts; of the configuration, without a dictionary, when absent.

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
        self.place = nn.Linear(PLACES, width)
        self.noisy = nn.Linear(frame_width, width) if flow else None
        self.no_text = nn.Parameter(torch.zeros(width)) if flow else None
        self.decoder = layers(sizes.decoder_layers, width if flow else 0)
        self.frame = nn.Linear(width, frame_width)

    def encode(self, symbols: Tensor, counts: Tensor, speakers: Tensor | None = None) -> Tensor:
        """States of symbols: (B, L), (B,) and the numbers of speakers (B,) to (B, L, D).

        Raises:
            ValueError: if the model has several speakers and none is given, or the other way round.
        """
        if (self.speaker is None) != (speakers is None):
            raise ValueError("speakers must be given for a model of several, and for no other")
        entered = self.symbols(symbols)
        if self.speaker is not None:
            entered = entered + self.speaker(speakers)[:, None]
        inside = length_mask(counts, symbols.shape[1])
        states: Tensor = self.encoder(entered, inside)
        return states

    def upsample(self, states: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, L, D) by durations (B, L) to what the decoder reads (B, T, D), and the frames of items (B,)."""
        totals = durations.sum(1)
        longest = int(totals.max())
        ends = durations.cumsum(1)
        frame = torch.arange(longest, device=states.device).expand(len(states), longest).contiguous()
        # The symbol of a frame is the first that ends behind it; frames behind the last one take that.
        symbol = torch.searchsorted(ends, frame, right=True).clamp_max(states.shape[1] - 1)
        spans = durations.gather(1, symbol).clamp_min(1).float()
        since = (frame - (ends - durations).gather(1, symbol)).clamp_min(0).float()
        rest = (spans - 1 - since).clamp_min(0)
        places = torch.stack([(since + 0.5) / spans, since.log1p(), rest.log1p(), spans.log()], -1)  # (B, T, 4)
        repeated = states.gather(1, symbol[..., None].expand(-1, -1, states.shape[2]))
        return repeated + self.place(places), totals

    def regress(self, read: Tensor, frames: Tensor) -> Tensor:
        """What the decoder makes of (B, T, D), in standard units: (B, T, F)."""
        made: Tensor = self.frame(self.decoder(read, length_mask(frames, read.shape[1])))
        return made

    def velocity(self, read: Tensor, frames: Tensor, point: Tensor, time: Tensor) -> Tensor:
        """The flow's velocity at points (B, T, F) and times (B,), given what the decoder reads (B, T, D)."""
        assert self.noisy is not None
        made: Tensor = self.frame(
            self.decoder(
                read + self.noisy(point),
                length_mask(frames, read.shape[1]),
                sinusoidal(time, self.config.sizes.width),
            )
        )
        return made

    def standardised(self, frames: Tensor) -> Tensor:
        """Target frames (…, F) in standard units."""
        return (frames - self.mean) / self.deviation

    def set_scale(self, mean: Tensor, deviation: Tensor) -> None:
        """What standard units are: mean and deviation of each dimension (F,)."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp_min(LEAST_DEVIATION))

    @torch.no_grad()
    def synthesise(
        self, symbols: Tensor, counts: Tensor, durations: Tensor, speakers: Tensor | None, seeds: Sequence[int] = ()
    ) -> Tensor:
        """Target frames (B, T, F) of symbols (B, L) with durations (B, L); ``seeds``, one an item, for the flow."""
        read, frames = self.upsample(self.encode(symbols, counts, speakers), durations)
        if self.config.sizes.decoder == "regression":
            return self.regress(read, frames) * self.deviation + self.mean
        assert self.no_text is not None
        without = self.no_text.expand_as(read)
        noise = item_noise(list(seeds), frames.tolist(), self.config.frame_width).to(read.device)
        made = solve(
            guided(
                lambda point, time: self.velocity(read, frames, point, time),
                lambda point, time: self.velocity(without, frames, point, time),
                self.config.sizes.guidance,
            ),
            noise,
            self.config.sizes.steps,
        )
        return made * self.deviation + self.mean

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
            text: one sentence; a longer text goes through `TextFrontEnd.sentences` first.
            speaker: name of one of the model's speakers; the first when absent.
            seconds: of the whole, instead of what the model foretells.
            speed: 2 is twice as fast.
            seed: of the flow's noise; a regression does not depend on it.

        Raises:
            UserError: if nothing can be spoken, the speaker is not known, ``seconds`` are too few, or the weights are
                damaged.
        """
        tokens = self.front_end(text)
        device = self.mean.device
        symbols = torch.tensor([self.front_end.numbers(tokens)], device=device)
        counts = torch.tensor([len(tokens)], device=device)
        speakers = self._speaker(speaker)
        foretold = self.foretold_frames(symbols, counts, speakers)[0].cpu().numpy()
        if not np.isfinite(foretold).all():
            raise UserError("the model foretells durations that are no numbers: its weights are damaged; get it again")
        durations = token_frames(foretold, seconds=seconds, speed=speed, rate=FRAME_RATE, least=1)
        frames = self.synthesise(symbols, counts, torch.from_numpy(durations).long()[None].to(device), speakers, [seed])
        return SpokenFrames(frames[0].float().cpu().numpy(), tuple(tokens), tuple(durations.tolist()))

    @torch.no_grad()
    def foretold_frames(self, symbols: Tensor, counts: Tensor, speakers: Tensor | None) -> Tensor:
        """Frames of each symbol as real numbers (B, L), 0 in padding."""
        states = self.encode(symbols, counts, speakers)
        inside = length_mask(counts, symbols.shape[1])
        foretold: Tensor = self.durations(states, inside)
        return foretold.exp() * inside

    def _speaker(self, name: str | None) -> Tensor | None:
        known = self.config.speakers
        if not known:
            if name is not None:
                raise UserError(f"this model has one speaker; leave {name!r} out, or convert the speech afterwards")
            return None
        if name is not None and name not in known:
            raise UserError(f"the model knows no speaker {name!r}; it has {', '.join(known)}")
        return torch.tensor([known.index(name) if name is not None else 0], device=self.mean.device)

    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write ``config.json``, ``model.safetensors`` (``half``: float16) and the dictionary, where there is one."""
        from speechkit.io.atomic import write_bytes

        write_network(folder, self.config, self, half=half)
        if self.front_end.dictionary:
            lines = (f"{word} {' '.join(phones)}\n" for word, phones in sorted(self.front_end.dictionary.items()))
            write_bytes(Path(folder) / DICTIONARY_FILE, gzip.compress("".join(lines).encode(), 9, mtime=0))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Text2Vec:
        """A model for inference from a folder or hub id that `save_pretrained` filled.

        Raises:
            UserError: if a file is missing or damaged, or is of another kind of network.
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
            content = file.read(MOST_DICTIONARY_BYTES + 1)
        if len(content) > MOST_DICTIONARY_BYTES:
            raise ValueError(f"more than {MOST_DICTIONARY_BYTES >> 20} MB")
        words = {word: tuple(phones) for word, *phones in map(str.split, content.decode().splitlines())}
        if long := [word for word, phones in words.items() if len(phones) > MOST_PHONES]:
            raise ValueError(f"{long[0][:60]!r} has more than {MOST_PHONES} phones")
        return words
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: is no dictionary ({error}); copy the model again") from error


class Aligner(nn.Module):
    """Compares symbols with frames: how probable each symbol is in each frame.

    Source: Badlani et al. 2021, section 2.1: a softmax over minus the squared distances.
    """

    def __init__(self, width: int, frame_width: int, inner: int):
        super().__init__()
        self.key_context = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.key = nn.Conv1d(2 * width, inner, 1)
        self.query_context = nn.Conv1d(frame_width, 2 * inner, 3, padding=1)
        self.query = nn.Conv1d(2 * inner, inner, 1)

    def forward(self, embedded: Tensor, counts: Tensor, target: Tensor, frames: Tensor, prior: Tensor) -> Tensor:
        """Log-attention (B, T, L), each frame's row a log-softmax over its item's symbols.

        Args:
            embedded: symbols (B, L, D), zero in padding.
            counts: symbols of each item (B,).
            target: standardised frames (B, T, F).
            frames: of each item (B,).
            prior: log-prior (B, T, L).
        """
        target = target * length_mask(frames, target.shape[1])[..., None]
        keys = self.key(torch.relu(self.key_context(embedded.transpose(1, 2)))).transpose(1, 2)  # (B, L, A)
        queries = self.query(torch.relu(self.query_context(target.transpose(1, 2)))).transpose(1, 2)  # (B, T, A)
        # The squared distance without the part that is the same for all symbols of a frame.
        scores = 2 * queries @ keys.transpose(1, 2) - keys.square().sum(-1)[:, None]
        scores = scores * queries.shape[-1] ** -0.5 + prior
        outside = ~length_mask(counts, embedded.shape[1])
        attention: Tensor = scores.masked_fill(outside[:, None], OUTSIDE).log_softmax(-1)
        return attention


class DurationPredictor(nn.Module):
    """Two convolutions over the states of symbols to the logarithm of their frames.

    Source: Ren et al. 2019 (FastSpeech), section 3.3.
    """

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.logarithm = nn.Linear(width, 1)

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """(B, L, D) and which symbols there are (B, L) to (B, L)."""
        keep = inside[..., None].to(states.dtype)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            seen = layer((states * keep).transpose(1, 2)).transpose(1, 2)
            states = self.dropout(norm(torch.relu(seen)))
        logarithm: Tensor = self.logarithm(states)[..., 0]
        return logarithm
