"""Training loss of draft heads: a frozen model's distributions of the next tokens, and the tokens themselves.

Notation used for tensor shapes: B rows, T positions, D width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from speechkit.lm.decoding.draft_heads import GRAM
from speechkit.lm.objectives.next_token import Batch
from speechkit.lm.packing import IGNORED

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork

LATER = 0.8
"""What each head's loss weighs beside that of the head before it."""


class DraftLoss:
    """The loss of draft heads on a batch: sum of .8^k (cross-entropy + KL from the model's law), and of the guesses.

    Head k stands behind a thought of the model, k + 1 tokens later: it knows those tokens, and no later thought. At
    inference they are drafted ones. The guess of head 0 is drawn to the thought that it stands for, by smooth L1.

    Args:
        network: the model; nothing of it learns.
    """

    def __init__(self, network: UnitNetwork):
        self._network = network.eval().requires_grad_(False)

    def __call__(self, heads: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Of `DraftHeads` on a batch: the loss, and how much of each law is the model's (chance of one draft)."""
        tokens, targets = batch["tokens"], batch["targets"]
        size = heads.boundary + 1
        self._network.to(tokens.device)
        documents = batch["documents"] if "documents" in batch else torch.zeros_like(tokens)
        with torch.no_grad():
            thoughts = self._network.hidden(tokens, documents=batch.get("documents")).to(heads.enter.weight.dtype)
            model = self._network.logits(thoughts)[..., :size].float().log_softmax(-1)  # (B, T, V)
        at = torch.arange(tokens.shape[1], device=tokens.device)
        grams = heads.grams(_threes(tokens, documents, heads.boundary))
        parts = heads.remember(thoughts, at, grams=False), heads.remember(grams, at, grams=True)
        keys, values = (torch.cat([thought, gram], 2) for thought, gram in zip(*parts, strict=True))
        same = documents[:, :, None] == documents[:, None]
        total = thoughts.new_zeros(())
        numbers: dict[str, float] = {}
        for head in range(heads.config.heads):
            lag = head + 1
            seen = torch.cat([same & (at[:, None] - lag >= at), same & (at[:, None] >= at)], 2)  # (B, T, 2T)
            guesses = heads.guess(grams, at, keys, values, seen)
            anchors = thoughts.roll(lag, 1)
            there = (at >= lag) & (documents == documents.roll(lag, 1)) & (targets != IGNORED)
            if not bool(there.any()):
                continue
            law = heads.logits(head, anchors[there], guesses[there]).float().log_softmax(-1)
            wanted = model[there]
            cost = F.nll_loss(law, targets[there]) + F.kl_div(law, wanted, reduction="batchmean", log_target=True)
            total = total + LATER**head * cost
            if head == 0:
                total = total + F.smooth_l1_loss(guesses[there], thoughts[there])
            numbers[f"head_{head}_overlap"] = float(torch.minimum(law, wanted).detach().exp().sum(-1).mean())
        return total, numbers


def _threes(tokens: Tensor, documents: Tensor, boundary: int) -> Tensor:
    """Each token with the two before it in its document, boundaries where there are none: (B, T) -> (B, T, 3)."""
    line = []
    for back in reversed(range(GRAM)):
        there = torch.arange(tokens.shape[1], device=tokens.device) >= back
        before = tokens.roll(back, 1)
        line.append(torch.where(there & (documents == documents.roll(back, 1)), before, boundary))
    return torch.stack(line, -1)
