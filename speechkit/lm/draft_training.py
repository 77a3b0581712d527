"""Training of draft heads for a frozen unit model. Imports no torch at module level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from speechkit.training import TrainingConfig
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.decoding.draft_heads import DraftHeads
    from speechkit.lm.networks import UnitNetwork
    from speechkit.training import Objective

Positive = Annotated[int, msgspec.Meta(ge=1)]


class DraftTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training settings of draft heads.

    Attributes:
        heads: number of consecutive tokens that can be drafted.
        rows: rows per batch, each as long as the model's context.
        loop: settings of the training loop.
    """

    heads: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    rows: Positive = 4
    loop: TrainingConfig = TrainingConfig(
        steps=500, learning_rates=(1e-3,), warmup_steps=25, weight_decay=0.0, clip_norm=1.0, average_decay=0.99
    )


def draft_objective(
    heads: DraftHeads,
    network: UnitNetwork,
    train: Sequence[UnitSequence],
    dev: Sequence[UnitSequence],
    config: DraftTraining,
) -> Objective:
    """Objective for `speechkit.training.train` that distils a model's predictions into its draft heads.

    Args:
        heads: the draft heads; updated in place.
        network: the model; frozen.
        train: training sequences.
        dev: held-out sequences for validation; empty for no validation.
        config: training settings.

    Raises:
        UserError: if a sequence has units of another codebook than the model's, naming it.
    """
    from speechkit.lm.objectives.draft_heads import DraftLoss
    from speechkit.lm.unit_batches import UnitBatches
    from speechkit.training import Objective, Turn
    from speechkit.training.objective import mean_losses

    def batches(rows: Sequence[UnitSequence]) -> UnitBatches:
        return UnitBatches(rows, network.vocabulary, network.context, config.rows, None, config.loop.seed)

    loss = DraftLoss(network)
    dev_batches = []
    if dev:
        held_out = batches(dev)
        dev_batches = [held_out[number] for number in range(max(1, held_out.tokens // (config.rows * network.context)))]
    return Objective(
        heads,
        [Turn(loss, [[weight for weight in heads.parameters() if weight.requires_grad]])],
        batches(train).__getitem__,
        evaluate=mean_losses(loss, dev_batches),
    )
