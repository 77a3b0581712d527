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
"""``tokens``, ``targets``, ``documents`` (B, T); where durations are learnt ``durations``, of the units read, 0 for
marks, and ``durations_before``; where it is mixed ``kinds``, 1 + the place in `KINDS`, and ``prefix``."""
KINDS = ("causal", "prefix", "infill")


def next_token(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The mean cost of a token in nats, with that of its duration where they are learnt, and each alone.

    Args:
        network: a `speechkit.lm.networks.UnitNetwork`.
        batch: see `Batch`; positions whose target is `IGNORED` count for nothing.
    """
    hidden = network.hidden(batch["tokens"], documents=batch.get("documents"), prefix=batch.get("prefix"))  # (B, T, D)
    foreseen = batch["targets"] != IGNORED
    costs = F.cross_entropy(network.logits(hidden[foreseen]).float(), batch["targets"][foreseen], reduction="none")
    loss = costs.mean()
    numbers = {"token_nats": float(loss.detach())}
    if "kinds" in batch:
        kinds = batch["kinds"][foreseen]
        numbers |= {
            f"{name}_nats": float(costs.detach()[kinds == number].mean())
            for number, name in enumerate(KINDS, 1)
            if bool((kinds == number).any())
        }
    if network.duration_head is not None:
        lasting = batch["durations"] > 0
        nats = network.duration_head.nats(
            hidden[lasting], batch["durations_before"][lasting], batch["durations"][lasting]
        )
        # Each unit lasts once and is foreseen once, so that both means are of a unit.
        duration = nats.sum() / max(1, int(foreseen.sum()))
        loss = loss + duration
        numbers["duration_nats"] = float(duration.detach())
    return loss, numbers


def padded(rows: list[dict[str, list[int]]], fill: dict[str, int]) -> Batch:
    """Rows of lists as tensors (B, longest), filled up."""
    longest = max(len(row["tokens"]) for row in rows)
    return {
        name: torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])
        for name, value in fill.items()
    }
