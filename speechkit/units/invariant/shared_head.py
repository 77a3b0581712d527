"""Heads of several sizes over one network, which are trained together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from speechkit.units.invariant.config import Learns
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.upper_layers import UpperLayers


class SharedHead(nn.Module):
    """Heads of several sizes over one network: features (B, T, D) to scores (B, T, K + 1) of each."""

    def __init__(self, head: InvariantHead, clusters: Sequence[int]) -> None:
        super().__init__()
        self.head = head
        self.further = nn.ModuleList(nn.Linear(head.leave.in_features, count + 1) for count in clusters)
        self._staying: tuple[nn.Module, ...] = ()

    def forward(self, features: Tensor, lengths: Tensor) -> list[Tensor]:
        """Those of the head first, then of the ``clusters`` in their order."""
        hidden = self.head.hidden(features, lengths)
        return [leave(hidden) for leave in self._last()]

    def _last(self) -> list[nn.Linear]:
        return cast(list[nn.Linear], [self.head.leave, *self.further])

    @classmethod
    def of(cls, quantizers: Sequence[InvariantQuantizer], upper: UpperLayers | None) -> SharedHead:
        """That of quantizers that were trained together, to train on; ``upper`` says how its layers drop out."""
        head = copy.deepcopy(quantizers[0].head)
        if upper is not None and head.upper is not None:
            learned = head.upper.state_dict()
            head.upper = copy.deepcopy(upper)
            head.upper.load_state_dict(learned)
        shared = cls(head, ())
        shared.further = nn.ModuleList(copy.deepcopy(quantizer.head.leave) for quantizer in quantizers[1:])
        return shared

    def forget_units(self) -> None:
        """Reinitialise the classifiers and keep the network below them."""
        for leave in self._last():
            leave.reset_parameters()

    def learn(self, part: Learns) -> list[list[nn.Parameter]]:
        """Let a part of it learn: its parameters, those of the encoder's layers in a group of their own, the last."""
        below = [module for module in self.head.children() if module is not self.head.leave]
        upper = [] if self.head.upper is None else [self.head.upper]
        staying: dict[Learns, Sequence[nn.Module]] = {"all": (), "head": upper, "units": below}
        self._staying = tuple(staying[part])
        self.requires_grad_(True)
        for module in self._staying:
            module.requires_grad_(False)
        copied = {id(parameter) for module in upper for parameter in module.parameters()}
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups = [[each for each in learning if (id(each) in copied) is last] for last in (False, True)]
        return groups if groups[1] else groups[:1]

    def train(self, mode: bool = True) -> SharedHead:
        """What stays is heard as it will be in use, without dropout."""
        super().train(mode)
        for module in self._staying:
            module.eval()
        return self

    def apart(self) -> list[InvariantHead]:
        """Split into a separate head for each size."""
        heads = []
        for leave in self._last():
            head = copy.deepcopy(self.head)
            head.leave = copy.deepcopy(leave)
            heads.append(head.cpu().requires_grad_(True))
        return heads
