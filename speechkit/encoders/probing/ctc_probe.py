"""CTC probe of a frozen encoder: learned layer weights and a small head.

With ``hidden`` 0 the head is a linear layer on each frame, as for phones in SUPERB; otherwise it has a bidirectional
LSTM of that width, as for speech recognition in SUPERB (Yang et al. 2021), but small enough to train in minutes on a
CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from speechkit.encoders.layers import LayerWeights
from speechkit.errors import UserError
from speechkit.io.arrays import Float

BLANK = 0


class CtcProbeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and training of the head."""

    hidden: int = 0
    epochs: int = 10
    batch_utterances: int = 8
    learning_rate: float = 3e-3


@dataclass(frozen=True)
class CtcItem:
    """An utterance: id of its features, number of frames, and its transcript as symbols."""

    id: str
    frames: int
    symbols: tuple[str, ...]


class CtcProbe(nn.Module):
    """Frames (L, B, T, D) to log-probabilities (T, B, V), the blank first.

    Every dimension of every layer is standardised by the training speakers, so that layers of different size are
    mixed by their weights alone.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, symbols: Sequence[str], mean: Float, deviation: Float, hidden: int) -> None:
        super().__init__()
        layers, dim = mean.shape
        self.symbols = list(symbols)
        self.mixture = LayerWeights(layers)
        self.register_buffer("mean", torch.from_numpy(mean)[:, None, None])
        self.register_buffer("deviation", torch.from_numpy(deviation)[:, None, None])
        self.recurrent = nn.LSTM(dim, hidden, bidirectional=True, batch_first=True) if hidden else None
        self.output = nn.Linear(2 * hidden if hidden else dim, len(symbols) + 1)

    def forward(self, layers: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities; those after the end of an item are undefined."""
        x: Tensor = self.mixture((layers - self.mean) / self.deviation)  # (B, T, D)
        if self.recurrent is not None:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            x, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=x.shape[1])
        scores: Tensor = self.output(x)
        return scores.log_softmax(-1).transpose(0, 1)

    @property
    def layer_weights(self) -> list[float]:
        """Learned weight of each layer; they add up to 1."""
        return [float(weight) for weight in self.mixture.logits.detach().softmax(0).cpu()]


def frames_needed(symbols: Sequence[str]) -> int:
    """Minimum number of frames for CTC: one per symbol, and a blank between equal neighbours."""
    return len(symbols) + sum(a == b for a, b in pairwise(symbols))


def train_ctc_probe(
    items: Sequence[CtcItem],
    read: Callable[[str], Float],
    statistics: tuple[Float, Float],
    config: CtcProbeConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CtcProbe:
    """Train the head; deterministic on a CPU for given items and seed.

    Args:
        items: training items, with at least `frames_needed` frames.
        read: all layers (L, T, D) of an item.
        statistics: mean and deviation (L, D) of the training frames.
        config: size and training.
        seed: of the first weights and the order of batches.
        device: where to train.
        progress: called with epochs done and in all.

    Raises:
        UserError: if there is no item, or one is too short for its symbols.
    """
    if not items:
        raise UserError("there are no utterances to train a CTC probe on; give more training speakers")
    for item in items:
        if not item.symbols or frames_needed(item.symbols) > item.frames:
            raise UserError(
                f"{item.id}: {len(item.symbols)} symbols do not fit into {item.frames} frames; leave it out of training"
            )
    symbols = sorted({symbol for item in items for symbol in item.symbols})
    number = {symbol: index + 1 for index, symbol in enumerate(symbols)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = CtcProbe(symbols, *statistics, config.hidden)
    probe.to(device).train()
    # Batches of similar length need little padding; they are fixed, and their order is random.
    ordered = sorted(items, key=lambda item: (item.frames, item.id))
    size = config.batch_utterances
    batches = [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]
    optimizer = torch.optim.Adam(probe.parameters(), lr=config.learning_rate)
    total = config.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=max(2, total), pct_start=0.1
    )
    generator = np.random.default_rng(seed)
    for epoch in range(config.epochs):
        for index in generator.permutation(len(batches)).tolist():
            batch = batches[index]
            layers, lengths = _stacked([read(item.id) for item in batch], device)
            targets = torch.tensor([number[symbol] for item in batch for symbol in item.symbols])
            counts = torch.tensor([len(item.symbols) for item in batch])
            loss = nn.functional.ctc_loss(probe(layers, lengths), targets.to(device), lengths, counts, blank=BLANK)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        progress(epoch + 1, config.epochs)
    return probe.eval()


@torch.inference_mode()
def read_symbols(probe: CtcProbe, layers: Float) -> list[str]:
    """Greedy CTC decoding of an item (L, T, D)."""
    if not layers.shape[1]:
        return []
    stacked, lengths = _stacked([layers], str(next(probe.parameters()).device))
    best = probe(stacked, lengths)[:, 0].argmax(-1).cpu().numpy()
    runs = best[np.flatnonzero(np.diff(best, prepend=-1))]
    return [probe.symbols[index - 1] for index in runs.tolist() if index != BLANK]


def _stacked(items: list[Float], device: str) -> tuple[Tensor, Tensor]:
    """Zero-padded (L, B, T, D), and the frames of each item (B,)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(item.transpose(1, 0, 2))) for item in items]  # (T, L, D)
    padded = pad_sequence(tensors)  # (T, B, L, D)
    return padded.permute(2, 1, 0, 3).to(device), torch.tensor([len(item) for item in tensors])
