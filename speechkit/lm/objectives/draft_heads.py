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

HEAD_DECAY = 0.8
"""Weight of a head's loss relative to that of the previous head."""


class DraftLoss:
    """Loss of draft heads: sum over heads of 0.8^k (cross-entropy + KL to the model's distribution), plus smooth L1.

    Head k predicts k + 1 tokens after the last hidden vector of the model that it sees: it knows the tokens between,
    which are drafts at inference, but no later hidden vector. The smooth L1 term pulls the estimate of head 0 to the
    model's hidden vector at the same position.

    Args:
        network: the target model; it is frozen.
    """

    def __init__(self, network: UnitNetwork):
        self._network = network.eval().requires_grad_(False)

    def __call__(self, heads: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss of `DraftHeads` on a batch, and each head's overlap with the model (acceptance rate of one draft)."""
        tokens, targets = batch["tokens"], batch["targets"]
        size = heads.boundary + 1
        self._network.to(tokens.device)
        documents = batch["documents"] if "documents" in batch else torch.zeros_like(tokens)
        with torch.no_grad():
            hidden = self._network.hidden(tokens, documents=batch.get("documents")).to(heads.input_proj.weight.dtype)
            model = self._network.logits(hidden)[..., :size].float().log_softmax(-1)  # (B, T, V)
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        grams = heads.grams(_trigrams(tokens, documents, heads.boundary))
        parts = (
            heads.keys_and_values(hidden, positions, grams=False),
            heads.keys_and_values(grams, positions, grams=True),
        )
        keys, values = (torch.cat([of_hidden, of_grams], 2) for of_hidden, of_grams in zip(*parts, strict=True))
        same = documents[:, :, None] == documents[:, None]
        total = hidden.new_zeros(())
        numbers: dict[str, float] = {}
        for head in range(heads.config.heads):
            lag = head + 1
            causal, delayed = positions[:, None] >= positions, positions[:, None] - lag >= positions
            mask = torch.cat([same & delayed, same & causal], 2)  # (B, T, 2T)
            estimates = heads.estimate(grams, positions, keys, values, mask)
            last_hidden = hidden.roll(lag, 1)
            valid = (positions >= lag) & (documents == documents.roll(lag, 1)) & (targets != IGNORED)
            if not bool(valid.any()):
                continue
            draft = heads.logits(head, last_hidden[valid], estimates[valid]).float().log_softmax(-1)
            target = model[valid]
            cost = F.nll_loss(draft, targets[valid]) + F.kl_div(draft, target, reduction="batchmean", log_target=True)
            total = total + HEAD_DECAY**head * cost
            if head == 0:
                total = total + F.smooth_l1_loss(estimates[valid], hidden[valid])
            numbers[f"head_{head}_overlap"] = float(torch.minimum(draft, target).detach().exp().sum(-1).mean())
        return total, numbers


def _trigrams(tokens: Tensor, documents: Tensor, boundary: int) -> Tensor:
    """Each token with the two before it in its document, boundaries where there are none: (B, T) -> (B, T, 3)."""
    line = []
    for back in reversed(range(GRAM)):
        inside = torch.arange(tokens.shape[1], device=tokens.device) >= back
        shifted = tokens.roll(back, 1)
        line.append(torch.where(inside & (documents == documents.roll(back, 1)), shifted, boundary))
    return torch.stack(line, -1)
