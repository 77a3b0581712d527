"""Next-token prediction loss, with the loss of unit durations.

Notation used for tensor shapes: B rows, T positions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from speechkit.lm.packing import IGNORED

Batch = dict[str, Tensor]
"""``tokens``, ``targets``, ``documents`` (B, T); with a duration head also ``durations`` of the input units, 0 for
special tokens, and ``durations_before``; with infilling also ``kinds``, 1 + the index in `KINDS`, and ``prefix``."""
KINDS = ("causal", "prefix", "infill")


def next_token(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Mean loss per token in nats, plus that of durations if there is a duration head, and the parts by name.

    Args:
        network: a `speechkit.lm.networks.UnitNetwork`.
        batch: see `Batch`; positions whose target is `IGNORED` are left out.
    """
    hidden = network.hidden(batch["tokens"], documents=batch.get("documents"), prefix=batch.get("prefix"))  # (B, T, D)
    predicted = batch["targets"] != IGNORED
    costs = F.cross_entropy(network.logits(hidden[predicted]).float(), batch["targets"][predicted], reduction="none")
    loss = costs.mean()
    numbers = {"token_nats": float(loss.detach())}
    if "kinds" in batch:
        kinds = batch["kinds"][predicted]
        numbers |= {
            f"{name}_nats": float(costs.detach()[kinds == number].mean())
            for number, name in enumerate(KINDS, 1)
            if bool((kinds == number).any())
        }
    if network.duration_head is not None:
        timed = batch["durations"] > 0
        nats = network.duration_head.nats(hidden[timed], batch["durations_before"][timed], batch["durations"][timed])
        # Each unit is predicted once and has one duration, so both means are per unit.
        duration = nats.sum() / max(1, int(predicted.sum()))
        loss = loss + duration
        numbers["duration_nats"] = float(duration.detach())
    return loss, numbers


def padded(rows: list[dict[str, list[int]]], fill: dict[str, int]) -> Batch:
    """Rows of lists as tensors (B, longest), padded with the values of ``fill``."""
    longest = max(len(row["tokens"]) for row in rows)
    return {
        name: torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])
        for name, value in fill.items()
    }
