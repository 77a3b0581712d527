"""A small transformer over the bytes of a text that predicts its spoken duration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from speechkit.errors import ConfigError, UserError
from speechkit.nn.checkpoints import read_network, write_network
from speechkit.nn.masks import length_mask
from speechkit.nn.transformer import Transformer
from speechkit.training import LengthBuckets, Objective, Turn

BYTES = 256


class DurationNetworkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of the network; ``log_byte_seconds`` is the mean log duration of a byte in the training data."""

    model_type: Literal["speechkit-duration"] = "speechkit-duration"
    width: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    layers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    heads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    kernel: Annotated[int, msgspec.Meta(ge=1, le=255)] = 5
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    log_byte_seconds: float = -3.0

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads) or self.kernel % 2 == 0:
            raise ConfigError(
                f"width {self.width} must be a multiple of twice the heads, {self.heads}, and kernel {self.kernel} odd"
            )


class DurationNetwork(nn.Module):
    """Predicts the seconds of a text as a sum of contributions of its bytes.

    Notation used for tensor shapes: B batch, L bytes.
    """

    def __init__(self, config: DurationNetworkConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(BYTES, config.width)
        self.transformer = Transformer(
            config.width, config.layers, config.heads, 4 * config.width, config.kernel, dropout=config.dropout
        )
        self.share = nn.Linear(config.width, 1)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        """Bytes (B, L) and their counts (B,) -> seconds (B,), above 0."""
        inside = length_mask(lengths, text.shape[1])
        frames = self.transformer(self.embedding(text), inside)
        shares = nn.functional.softplus(self.share(frames)[..., 0]).masked_fill(~inside, 0.0)  # (B, L)
        # In the log domain, errors of short and long sentences count by their relative size.
        seconds: Tensor = (self.config.log_byte_seconds + shares.sum(1).clamp_min(1e-4).log()).exp()
        return seconds

    @torch.no_grad()
    def seconds(self, text: str) -> float:
        """See `speechkit.tts.durations.SentenceDuration`."""
        encoded = list(text.encode()) or [ord(" ")]
        device = next(self.parameters()).device
        self.eval()
        return float(self(torch.tensor([encoded], device=device), torch.tensor([len(encoded)], device=device)))

    def save_pretrained(self, folder: str | Path) -> None:
        """See `speechkit.tts.durations.SentenceDuration`."""
        write_network(folder, self.config, self)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> DurationNetwork:
        """Load a network from a folder or hub id written by `save_pretrained`.

        Raises:
            UserError: see `speechkit.nn.checkpoints.read_network`.
        """
        return read_network(folder, DurationNetworkConfig, cls, "a sentence duration")


def duration_objective(
    texts: Sequence[str], seconds: Sequence[float], config: DurationNetworkConfig, batch_bytes: int, seed: int = 0
) -> Objective:
    """Objective that minimises the absolute error of log seconds.

    Raises:
        UserError: if there is no text, or one is empty.
    """
    if not texts or not all(texts):
        raise UserError("a duration network cannot be trained on an empty text, or on none; leave empty texts out")
    lengths = [len(text.encode()) for text in texts]
    per_byte = float(np.mean(np.log(np.asarray(seconds)) - np.log(lengths)))
    network = DurationNetwork(msgspec.structs.replace(config, log_byte_seconds=per_byte))
    buckets = LengthBuckets(lengths, batch_bytes, seed)

    def batch(number: int) -> dict[str, Tensor]:
        chosen = buckets[number]
        encoded = [torch.tensor(list(texts[index].encode())) for index in chosen]
        return {
            "text": nn.utils.rnn.pad_sequence(encoded, batch_first=True),
            "lengths": torch.tensor([len(row) for row in encoded]),
            "seconds": torch.tensor([seconds[index] for index in chosen]),
        }

    def loss(network: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        error = (network(batch["text"], batch["lengths"]) / batch["seconds"]).log().abs().mean()
        return error, {"share_off": math.expm1(float(error.detach()))}

    turn = Turn(loss, [list(network.parameters())])
    return Objective(network, [turn], batch, save=network.save_pretrained)
