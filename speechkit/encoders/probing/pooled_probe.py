"""Classes of whole recordings from a frozen encoder: pooled statistics, learned layer weights, a linear classifier.

Each layer of an item becomes the mean and the standard deviation of its frames, so that features without a mean, such
as log-mel frames after mean normalisation, are at no disadvantage. The classifier has no hidden layer and no random
start: the same data gives the same answer.

Sources: Yang et al. 2021, SUPERB (frozen encoder, weighted layers, linear classifier); Snyder et al. 2018, X-vectors
(statistics pooling).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float

PENALTIES = (3e-4, 3e-3, 3e-2)


def pool_statistics(layers: NDArray[Any]) -> Float:
    """Mean and standard deviation over time of each layer: (L, T, D) to (L, 2 D); zeros where T is 0."""
    count, frames, dim = layers.shape
    if not frames:
        return np.zeros((count, 2 * dim), np.float32)
    return np.concatenate([layers.mean(1), layers.std(1)], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PooledProbe:
    """A trained classifier.

    Shapes: mean and deviation (L, F) of the training items; layer_weights (L,), which add up to 1; weight (classes, F);
    bias (classes,). ``penalty`` is the square penalty that was chosen.
    """

    classes: list[str]
    mean: Float
    deviation: Float
    layer_weights: Float
    weight: Float
    bias: Float
    penalty: float

    def predict(self, features: Float) -> list[str]:
        """The class of each item from pooled statistics (N, L, F)."""
        mixed = np.tensordot((features - self.mean) / self.deviation, self.layer_weights, ((1,), (0,)))
        scores = mixed @ self.weight.T + self.bias
        return [self.classes[index] for index in scores.argmax(1).tolist()]


def train_pooled_probe(
    features: Float, labels: Sequence[str], *, seed: int = 0, penalties: Sequence[float] = PENALTIES
) -> PooledProbe:
    """Fit the classifier and the layer weights; the penalty is the one that does best on a held-out fifth.

    Args:
        features: (N, L, F) of `pool_statistics`.
        labels: (N,) class of each item.
        seed: which items the fifth holds.
        penalties: what to choose from; a single one is taken as it is.

    Raises:
        UserError: if there are fewer than two classes, or features are not finite.
    """
    classes = sorted(set(labels))
    if len(labels) != len(features):
        raise UserError(f"{len(features)} items have {len(labels)} labels; give each item one")
    if len(classes) < 2:
        raise UserError(f"all {len(labels)} training items are of class {classes}; a probe needs two classes")
    if not np.isfinite(features).all():
        raise UserError("pooled features hold NaN or infinity; compute them again in float32")
    number = {name: index for index, name in enumerate(classes)}
    targets = np.array([number[label] for label in labels], np.int64)
    chosen = penalties[0]
    if len(penalties) > 1:
        held = np.zeros(len(labels), bool)
        held[np.random.default_rng(seed).permutation(len(labels))[: max(1, len(labels) // 5)]] = True
        hits = []
        for penalty in penalties:
            probe = _fit(features[~held], targets[~held], classes, penalty)
            guesses = probe.predict(features[held])
            hits.append(sum(guess == classes[truth] for guess, truth in zip(guesses, targets[held], strict=True)))
        # Of equally good penalties the largest: the simplest classifier.
        chosen = max(zip(hits, penalties, strict=True))[1]
    return _fit(features, targets, classes, chosen)


def _fit(features: Float, targets: NDArray[np.int64], classes: list[str], penalty: float) -> PooledProbe:
    import torch

    from speechkit.encoders.layers import LayerWeights

    mean = features.mean(0)
    deviation = features.std(0)
    deviation = np.where(deviation > 1e-5, deviation, 1).astype(np.float32)
    inputs = torch.from_numpy(((features - mean) / deviation).transpose(1, 0, 2).copy())  # (L, N, F)
    wanted = torch.from_numpy(targets)
    mixture = LayerWeights(inputs.shape[0])
    weight = torch.zeros(len(classes), inputs.shape[2], requires_grad=True)
    bias = torch.zeros(len(classes), requires_grad=True)
    parameters = [weight, bias, *(mixture.parameters() if inputs.shape[0] > 1 else ())]
    optimizer = torch.optim.LBFGS(parameters, lr=1.0, max_iter=80, history_size=10, line_search_fn="strong_wolfe")

    def loss_of() -> torch.Tensor:
        optimizer.zero_grad()
        scores = mixture(inputs) @ weight.T + bias
        loss = torch.nn.functional.cross_entropy(scores, wanted) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(loss_of)  # type: ignore[no-untyped-call]
    return PooledProbe(
        classes,
        mean,
        deviation,
        mixture.logits.detach().softmax(0).numpy(),
        weight.detach().numpy(),
        bias.detach().numpy(),
        penalty,
    )
