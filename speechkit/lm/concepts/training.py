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
VALIDATION_DRAWS = 4
"""Random draws of noise or books per document, over which the validation loss is averaged."""


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
    """A model with random weights, and its space and codebooks fitted on the training documents.

    Args:
        train: training documents.
        encoder: encoder of their vectors.
        settings: fields of `ConceptConfig` other than the encoder.
        seed: of the codebooks.

    Raises:
        UserError: if there are too few speakers or vectors.
    """
    from speechkit.lm.concepts.config import ConceptConfig
    from speechkit.lm.concepts.model import ConceptModel

    if not train:
        raise UserError("there are no training documents; give at least one recording with two segments")
    model = ConceptModel(ConceptConfig(encoder=encoder, **settings))
    vectors = np.concatenate([document.vectors for document in train])
    model.fit(vectors, [document.speaker for document in train for _ in document.vectors], seed)
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
        model: with its space fitted; changed in place.
        train: training documents.
        dev: validation documents of other speakers; empty for no validation.
        config: training settings.
        save: for `speechkit.training.train_stage`.

    Raises:
        UserError: if no document has two segments.
    """
    import torch

    from speechkit.training import EarlyStopping, Objective, Turn
    from speechkit.training.objective import mean_losses

    def batches(documents: Sequence[Document]) -> DocumentBatches:
        concepts = [model.concepts(document.vectors) for document in documents]
        return DocumentBatches(concepts, model.config.context, config.rows, config.loop.seed)

    def tensors(rows: DocumentBatches, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        concepts, lengths = rows[number]
        return torch.from_numpy(concepts), torch.from_numpy(lengths)

    def loss(network: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        result: tuple[torch.Tensor, dict[str, float]] = network.loss(*batch)
        return result

    train_batches = batches(train)
    usable = [document for document in dev if len(document.vectors) > 1]
    dev_batches = []
    if usable:
        rows = batches(usable)
        dev_batches = [tensors(rows, number) for number in range(VALIDATION_DRAWS * rows.batches(0))]

    validation_losses = mean_losses(loss, dev_batches)

    def evaluate(network: torch.nn.Module) -> dict[str, float]:
        assert validation_losses is not None
        training = network.training
        network.eval()
        with torch.no_grad():
            values = validation_losses(network)
        network.train(training)
        return values

    return Objective(
        model,
        [Turn(loss, [[weight for weight in model.parameters() if weight.requires_grad]], betas=(0.9, 0.95))],
        lambda number: tensors(train_batches, number),
        evaluate=evaluate if dev_batches else None,
        early_stopping=EarlyStopping("dev_loss", config.patience) if dev_batches else None,
        save=save,
    )
