"""Classifiers of several sizes over one network, which are trained together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from speechkit.units.invariant.head import InvariantHead


class SharedHead(nn.Module):
    """A head with further classifiers: features (B, T, D) to scores (B, T, K + 1) of each.

    Args:
        head: with the first classifier.
        clusters: K of the further classifiers.
    """

    def __init__(self, head: InvariantHead, clusters: Sequence[int]) -> None:
        super().__init__()
        self.head = head
        self.further = nn.ModuleList(nn.Linear(head.classifier.in_features, count + 1) for count in clusters)

    @property
    def classifiers(self) -> list[nn.Linear]:
        """All classifiers, that of the head first."""
        return cast("list[nn.Linear]", [self.head.classifier, *self.further])

    def forward(self, features: Tensor, lengths: Tensor) -> list[Tensor]:
        """Scores by each classifier, in order."""
        hidden = self.head.hidden(features, lengths)
        return [classifier(hidden) for classifier in self.classifiers]

    def reset_classifiers(self) -> None:
        """Reinitialise the classifiers and keep the network below them."""
        for classifier in self.classifiers:
            classifier.reset_parameters()

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """Parameters of the head and classifiers; then, where there are some, those of the copied encoder layers."""
        upper = [] if self.head.upper is None else list(self.head.upper.parameters())
        copied = {id(parameter) for parameter in upper}
        own = [parameter for parameter in self.parameters() if id(parameter) not in copied]
        return [own, upper] if upper else [own]

    def split(self) -> list[InvariantHead]:
        """A separate head for each classifier, on the CPU."""
        heads = []
        for classifier in self.classifiers:
            head = copy.deepcopy(self.head)
            head.classifier = copy.deepcopy(classifier)
            heads.append(head.cpu())
        return heads
