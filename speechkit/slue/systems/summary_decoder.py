"""Summaries of speech: a transformer decoder that attends to an encoder's frames and writes characters or pieces.

Notation used for tensor shapes: B utterances, L layers, T frames of 20 ms, U of 80 ms, N symbols, V
vocabulary, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.nn.masks import length_mask
from speechkit.slue.systems.heads import Context, FrameMix, Losses

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")


class SummaryDecoder(nn.Module):
    """The decoder of Vaswani et al. 2017 with norms before its parts, over frames of 80 ms."""

    def __init__(
        self,
        layers: int,
        dim: int,
        symbols: int,
        *,
        width: int = 256,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.mix = FrameMix(layers, dim)
        self.context = Context(dim, width, dropout)
        self.embedding = nn.Embedding(symbols, width, padding_idx=PAD)
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, depth, nn.LayerNorm(width))
        self.output = nn.Linear(width, symbols)
        self.dropout = nn.Dropout(dropout)

    def memory(self, states: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder attends to (B, U, W), and True where there is no frame (B, U)."""
        x, frames = self.context(self.mix(states), frames)
        return x + _positions(x.shape[1], x.shape[2], x.device), ~length_mask(frames, x.shape[1])

    def logits(self, memory: Tensor, absent: Tensor, written: Tensor) -> Tensor:
        """Scores of the symbol behind each one written: (B, U, W), (B, U), (B, N) -> (B, N, V)."""
        x = self.embedding(written) * math.sqrt(memory.shape[2])
        x = self.dropout(x + _positions(x.shape[1], x.shape[2], x.device))
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        scores: Tensor = self.output(self.decoder(x, memory, tgt_mask=later, memory_key_padding_mask=absent))
        return scores

    def loss(self, states: Tensor, frames: Tensor, batch: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy a symbol; ``batch["targets"]`` (B, N) begins with BEGIN and ends with END, padded."""
        targets = batch["targets"]
        scores = self.logits(*self.memory(states, frames), targets[:, :-1])
        loss = F.cross_entropy(scores.transpose(1, 2), targets[:, 1:], ignore_index=PAD)
        return loss, {}

    @torch.no_grad()
    def write(self, states: Tensor, frames: Tensor, *, most: int, beams: int = 4) -> list[int]:
        """Symbols of one utterance (1, L, T, D) by beam search, scored by the mean log-probability a symbol."""
        memory, absent = self.memory(states, frames)
        open_beams: list[tuple[float, list[int]]] = [(0.0, [BEGIN])]
        closed: list[tuple[float, list[int]]] = []
        for _ in range(most):
            written = torch.tensor([symbols for _, symbols in open_beams], device=memory.device)
            count = len(open_beams)
            scores = self.logits(memory.expand(count, -1, -1), absent.expand(count, -1), written)[:, -1]
            log_probs = scores.log_softmax(-1)
            log_probs[:, [PAD, BEGIN, UNKNOWN]] = -math.inf
            total = log_probs + torch.tensor([score for score, _ in open_beams], device=memory.device)[:, None]
            best, places = total.flatten().topk(min(2 * beams, total.numel()))
            following: list[tuple[float, list[int]]] = []
            for score, place in zip(best.tolist(), places.tolist(), strict=True):
                beam, symbol = divmod(place, total.shape[1])
                if not math.isfinite(score):
                    continue
                if symbol == END:
                    symbols = open_beams[beam][1][1:]
                    closed.append((score / (len(symbols) + 1), symbols))
                else:
                    following.append((score, [*open_beams[beam][1], symbol]))
            open_beams = following[:beams]
            # No open beam can catch up: a longer one only loses probability, and the mean is over at most ``most``.
            if not open_beams or (closed and max(closed)[0] >= open_beams[0][0] / most):
                break
        closed = closed or [(score / len(symbols), symbols[1:]) for score, symbols in open_beams]
        return max(closed, key=lambda each: each[0])[1] if closed else []


def _positions(count: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines (count, width)."""
    half = torch.arange(width // 2, device=device)
    angles = torch.arange(count, device=device)[:, None] * torch.exp(-math.log(10_000) * half / max(1, width // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Symbols:
    """Text to symbols and back: characters, or byte-pair pieces that were learned from the training summaries.

    Args:
        characters: the vocabulary behind the four special symbols; or
        pieces: a tokenizer's JSON.
    """

    def __init__(self, characters: Sequence[str] | None = None, pieces: str | None = None):
        self.characters = None if characters is None else list(characters)
        self.pieces = pieces
        self._tokenizer = None
        if pieces is not None:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_str(pieces)
        self._ids = {character: len(SPECIAL) + place for place, character in enumerate(self.characters or ())}

    @classmethod
    def learn(cls, texts: Sequence[str], pieces: int = 0) -> Symbols:
        """Characters of the texts, or with ``pieces`` so many byte-pair pieces.

        Raises:
            UserError: if no text has a character.
        """
        if not any(text.strip() for text in texts):
            raise UserError("the training summaries are empty; give each utterance a summary")
        if not pieces:
            return cls(sorted({character for text in texts for character in text}))
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=pieces, special_tokens=list(SPECIAL), show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        return cls(pieces=tokenizer.to_str())

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size() if self._tokenizer is not None else len(SPECIAL) + len(self._ids)

    def encode(self, text: str) -> list[int]:
        """Symbols of a text, without begin and end."""
        if self._tokenizer is not None:
            ids: list[int] = self._tokenizer.encode(text).ids
            return ids
        return [self._ids.get(character, UNKNOWN) for character in text]

    def decode(self, symbols: Sequence[int]) -> str:
        """The text of symbols; special ones write nothing."""
        kept = [symbol for symbol in symbols if symbol >= len(SPECIAL)]
        if self._tokenizer is not None:
            text: str = self._tokenizer.decode(kept)
            return text
        characters = self.characters or []
        return "".join(characters[symbol - len(SPECIAL)] for symbol in kept)
