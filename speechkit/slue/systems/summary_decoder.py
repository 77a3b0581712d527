"""Speech summarisation: a transformer decoder over encoder frames that generates characters or word pieces.

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
from speechkit.slue.systems.heads import FrameMix, Losses, Subsampling

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")


class SummaryDecoder(nn.Module):
    """Pre-norm transformer decoder (Vaswani et al. 2017) over frames of 80 ms."""

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
        self.context = Subsampling(dim, width, dropout)
        self.embedding = nn.Embedding(symbols, width, padding_idx=PAD)
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, depth, nn.LayerNorm(width))
        self.output = nn.Linear(width, symbols)
        self.dropout = nn.Dropout(dropout)

    def memory(self, states: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Memory of the decoder (B, U, W), and its padding mask (B, U), True for padding."""
        x, frames = self.context(self.mix(states), frames)
        return x + _positions(x.shape[1], x.shape[2], x.device), ~length_mask(frames, x.shape[1])

    def logits(self, memory: Tensor, padding: Tensor, symbols: Tensor) -> Tensor:
        """Scores of the next symbol after each symbol: (B, U, W), (B, U), (B, N) -> (B, N, V)."""
        x = self.embedding(symbols) * math.sqrt(memory.shape[2])
        x = self.dropout(x + _positions(x.shape[1], x.shape[2], x.device))
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        scores: Tensor = self.output(self.decoder(x, memory, tgt_mask=future, memory_key_padding_mask=padding))
        return scores

    def loss(self, states: Tensor, frames: Tensor, batch: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy per symbol; ``batch["targets"]`` (B, N) starts with BEGIN and ends with END, padded."""
        targets = batch["targets"]
        scores = self.logits(*self.memory(states, frames), targets[:, :-1])
        loss = F.cross_entropy(scores.transpose(1, 2), targets[:, 1:], ignore_index=PAD)
        return loss, {}

    @torch.no_grad()
    def generate(self, states: Tensor, frames: Tensor, *, max_symbols: int, beams: int = 4) -> list[int]:
        """Symbols for one utterance (1, L, T, D) by beam search with the mean log-probability per symbol."""
        memory, padding = self.memory(states, frames)
        open_beams: list[tuple[float, list[int]]] = [(0.0, [BEGIN])]
        finished: list[tuple[float, list[int]]] = []
        for _ in range(max_symbols):
            prefixes = torch.tensor([symbols for _, symbols in open_beams], device=memory.device)
            count = len(open_beams)
            scores = self.logits(memory.expand(count, -1, -1), padding.expand(count, -1), prefixes)[:, -1]
            log_probs = scores.log_softmax(-1)
            log_probs[:, [PAD, BEGIN, UNKNOWN]] = -math.inf
            total = log_probs + torch.tensor([score for score, _ in open_beams], device=memory.device)[:, None]
            best, indices = total.flatten().topk(min(2 * beams, total.numel()))
            extended: list[tuple[float, list[int]]] = []
            for score, index in zip(best.tolist(), indices.tolist(), strict=True):
                beam, symbol = divmod(index, total.shape[1])
                if not math.isfinite(score):
                    continue
                if symbol == END:
                    symbols = open_beams[beam][1][1:]
                    finished.append((score / (len(symbols) + 1), symbols))
                else:
                    extended.append((score, [*open_beams[beam][1], symbol]))
            open_beams = extended[:beams]
            # An open beam's best possible mean: its total does not grow, over at most ``max_symbols`` symbols.
            if not open_beams or (finished and max(finished)[0] >= open_beams[0][0] / max_symbols):
                break
        finished = finished or [(score / len(symbols), symbols[1:]) for score, symbols in open_beams]
        return max(finished, key=lambda beam: beam[0])[1] if finished else []


def _positions(count: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal position encodings (count, width)."""
    half = torch.arange(width // 2, device=device)
    angles = torch.arange(count, device=device)[:, None] * torch.exp(-math.log(10_000) * half / max(1, width // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Symbols:
    """Encodes text as characters, or as byte-pair pieces learned from the training summaries, and decodes it.

    Args:
        characters: the vocabulary after the four special symbols.
        pieces: a tokenizer's JSON, instead of ``characters``.
    """

    def __init__(self, characters: Sequence[str] | None = None, pieces: str | None = None):
        self.characters = None if characters is None else list(characters)
        self.pieces = pieces
        self._tokenizer = None
        if pieces is not None:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_str(pieces)
        self._ids = {character: len(SPECIAL) + index for index, character in enumerate(self.characters or ())}

    @classmethod
    def learn(cls, texts: Sequence[str], pieces: int = 0) -> Symbols:
        """Learn the characters of the texts, or a byte-pair vocabulary of size ``pieces``.

        Raises:
            UserError: if all texts are empty.
        """
        if not any(text.strip() for text in texts):
            raise UserError("the training summaries are empty; add a summary to every utterance")
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
        """Symbols of a text, without BEGIN and END."""
        if self._tokenizer is not None:
            ids: list[int] = self._tokenizer.encode(text).ids
            return ids
        return [self._ids.get(character, UNKNOWN) for character in text]

    def decode(self, symbols: Sequence[int]) -> str:
        """Text of symbols; special symbols are skipped."""
        kept = [symbol for symbol in symbols if symbol >= len(SPECIAL)]
        if self._tokenizer is not None:
            text: str = self._tokenizer.decode(kept)
            return text
        characters = self.characters or []
        return "".join(characters[symbol - len(SPECIAL)] for symbol in kept)
