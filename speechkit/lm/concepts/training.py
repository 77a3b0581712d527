"""Training of concept models: from documents to an objective of `speechkit.training`. Loads no torch by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.lm.concepts.documents import Document, DocumentBatches
from speechkit.training import TrainingConfig

if TYPE_CHECKING:
    from speechkit.lm.concepts.model import ConceptModel
    from speechkit.training import Objective

Positive = Annotated[int, msgspec.Meta(ge=1)]
LOOKS = 4
"""Draws of noise or books that a look at held-out documents is the mean of."""


class LoopConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training settings.

    Attributes:
        rows: documents, or windows of them, in a batch.
        patience: validations without improvement before early stopping; 0 disables it. The best weights are kept.
        loop: settings of the training loop.
    """

    rows: Positive = 16
    patience: Annotated[int, msgspec.Meta(ge=0)] = 0
    loop: TrainingConfig = TrainingConfig(
        steps=1000, learning_rates=(1e-3,), warmup_steps=50, weight_decay=0.1, clip_norm=25.0, average_decay=0.99
    )


def new_model(train: Sequence[Document], encoder: EncoderSpec, settings: dict[str, Any], seed: int = 0) -> ConceptModel:
    """A model with drawn weights and the space, and books, of training documents.

    Args:
        train: documents.
        encoder: whose frames their vectors are means of.
        settings: fields of `ConceptConfig` but for the encoder.
        seed: of books.

    Raises:
        UserError: if there are too few speakers or vectors.
    """
    from speechkit.lm.concepts.config import ConceptConfig
    from speechkit.lm.concepts.model import ConceptModel

    if not train:
        raise UserError("there is no training document; give at least one recording with two segments")
    model = ConceptModel(ConceptConfig(encoder=encoder, **settings))
    vectors = np.concatenate([each.vectors for each in train])
    model.fit(vectors, [each.speaker for each in train for _ in each.vectors], seed)
    return model


def concept_objective(
    model: ConceptModel,
    train: Sequence[Document],
    dev: Sequence[Document],
    config: LoopConfig,
    save: Callable[[Path], None] | None = None,
) -> Objective:
    """Objective for `speechkit.training.train`.

    Args:
        model: with its space; changed in place.
        train: documents to learn.
        dev: of other speakers, to look at; none for no looks.
        config: see there.
        save: for `speechkit.training.train_stage`.

    Raises:
        UserError: if no document has two segments.
    """
    import torch

    from speechkit.training import EarlyStopping, Objective, Turn
    from speechkit.training.objective import mean_losses

    def batches(documents: Sequence[Document]) -> DocumentBatches:
        concepts = [model.concepts(each.vectors) for each in documents]
        return DocumentBatches(concepts, model.config.context, config.rows, config.loop.seed)

    def tensors(rows: DocumentBatches, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        concepts, lengths = rows[number]
        return torch.from_numpy(concepts), torch.from_numpy(lengths)

    def loss(network: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        found: tuple[torch.Tensor, dict[str, float]] = network.loss(*batch)
        return found

    learnt = batches(train)
    looked = [each for each in dev if len(each.vectors) > 1]
    looks = []
    if looked:
        rows = batches(looked)
        looks = [tensors(rows, number) for number in range(LOOKS * rows.batches(0))]

    measured = mean_losses(loss, looks)

    def evaluate(network: torch.nn.Module) -> dict[str, float]:
        assert measured is not None
        training = network.training
        network.eval()
        with torch.no_grad():
            values = measured(network)
        network.train(training)
        return values

    return Objective(
        model,
        [Turn(loss, [[each for each in model.parameters() if each.requires_grad]], betas=(0.9, 0.95))],
        lambda number: tensors(learnt, number),
        evaluate=evaluate if looks else None,
        early_stopping=EarlyStopping("dev_loss", config.patience) if looks else None,
        save=save,
    )
