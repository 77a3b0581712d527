"""Gradients of the processes that share a step, averaged by hand.

A wrapper of the model that averages while the backward pass runs (DistributedDataParallel) is faster by what it hides
of the transfer, but parameters that a process did not use, such as those of a dropped layer, take it out of step, and
the attributes of the model are behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

BUCKET_NUMBERS = 2**25
"""So many travel at once: 128 MB of them are in memory twice."""


def share_weights(model: nn.Module, processes: int) -> None:
    """Give every process the weights and statistics of the first one."""
    if processes == 1:
        return
    for value in [*model.parameters(), *model.buffers()]:
        if value.is_floating_point():
            torch.distributed.broadcast(value.detach(), 0)


def average_gradients(parameters: Iterable[nn.Parameter], processes: int) -> None:
    """The mean gradient of all processes in each; a parameter that none of them used has none, as in one alone."""
    if processes == 1:
        return
    learnt = [parameter for parameter in parameters if parameter.requires_grad]
    if not learnt:
        return
    used = torch.tensor([float(each.grad is not None) for each in learnt], device=learnt[0].device)
    torch.distributed.all_reduce(used)
    shared = [each for each, count in zip(learnt, used.tolist(), strict=True) if count]
    for bucket in _buckets(shared):
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= processes
        parts = torch.split(flat, [each.numel() for each in bucket])
        for each, part in zip(bucket, parts, strict=True):
            each.grad = part.view_as(each).clone()


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Neighbours of one type, so many numbers together."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    kind: tuple[torch.dtype, torch.device] | None = None
    for each in parameters:
        if not buckets or kind != (each.dtype, each.device) or size + each.numel() > BUCKET_NUMBERS:
            buckets.append([])
            size, kind = 0, (each.dtype, each.device)
        buckets[-1].append(each)
        size += each.numel()
    return buckets
