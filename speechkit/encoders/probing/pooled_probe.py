"""Linear probe of whole recordings from a frozen encoder: statistics pooling and learned layer weights.

Each layer is pooled to the mean and standard deviation of its frames, so that features with a constant mean, such as
mean-normalised log-mel frames, are not at a disadvantage. The classifier has no hidden layer and no random
initialisation, so that it is deterministic.

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
    bias (classes,). ``penalty`` is the selected L2 penalty.
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
    """Fit the classifier and the layer weights; the penalty is selected on a held-out fifth.

    Args:
        features: (N, L, F) of `pool_statistics`.
        labels: (N,) class of each item.
        seed: of the held-out fifth.
        penalties: candidates.

    Raises:
        UserError: if there are fewer than two classes, or features are not finite.
    """
    classes = sorted(set(labels))
    if len(labels) != len(features):
        raise UserError(f"there are {len(features)} items and {len(labels)} labels; give one label per item")
    if len(classes) < 2:
        raise UserError(f"all {len(labels)} training items are of class {classes}; give at least two classes")
    if not np.isfinite(features).all():
        raise UserError("pooled features contain NaN or infinity; compute them again in float32")
    number = {name: index for index, name in enumerate(classes)}
    targets = np.array([number[label] for label in labels], np.int64)
    best = penalties[0]
    if len(penalties) > 1:
        held_out = np.zeros(len(labels), bool)
        held_out[np.random.default_rng(seed).permutation(len(labels))[: max(1, len(labels) // 5)]] = True
        correct = []
        for penalty in penalties:
            probe = _fit(features[~held_out], targets[~held_out], classes, penalty)
            predicted = probe.predict(features[held_out])
            correct.append(
                sum(label == classes[truth] for label, truth in zip(predicted, targets[held_out], strict=True))
            )
        # The largest of equally good penalties, for the simplest classifier.
        best = max(zip(correct, penalties, strict=True))[1]
    return _fit(features, targets, classes, best)


def _fit(features: Float, targets: NDArray[np.int64], classes: list[str], penalty: float) -> PooledProbe:
    import torch

    from speechkit.encoders.layers import LayerWeights

    mean = features.mean(0)
    deviation = features.std(0)
    deviation = np.where(deviation > 1e-5, deviation, 1).astype(np.float32)
    inputs = torch.from_numpy(((features - mean) / deviation).transpose(1, 0, 2).copy())  # (L, N, F)
    truth = torch.from_numpy(targets)
    mixture = LayerWeights(inputs.shape[0])
    weight = torch.zeros(len(classes), inputs.shape[2], requires_grad=True)
    bias = torch.zeros(len(classes), requires_grad=True)
    parameters = [weight, bias, *(mixture.parameters() if inputs.shape[0] > 1 else ())]
    optimizer = torch.optim.LBFGS(parameters, lr=1.0, max_iter=80, history_size=10, line_search_fn="strong_wolfe")

    def loss_of() -> torch.Tensor:
        optimizer.zero_grad()
        scores = mixture(inputs) @ weight.T + bias
        loss = torch.nn.functional.cross_entropy(scores, truth) + penalty * weight.square().sum()
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
