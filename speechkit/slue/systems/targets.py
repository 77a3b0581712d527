"""Targets of examples as tensors, by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from speechkit.errors import UserError
from speechkit.slue.systems.batches import Targets, padded_targets
from speechkit.slue.systems.examples import NO_VALUE, Example
from speechkit.slue.systems.heads import UNSEEN
from speechkit.slue.systems.span_head import SPAN_FRAME_SECONDS
from speechkit.slue.systems.summary_decoder import BEGIN, END, PAD, Symbols

if TYPE_CHECKING:
    from speechkit.slue.systems.system_spec import SystemSpec


def make_targets(spec: SystemSpec) -> Targets:
    """The function from examples to the tensors that the head's loss reads."""
    if spec.task == "dialog-acts":
        return lambda examples: {"targets": _label_sets(spec.labels["dialog_acts"], examples)}
    if spec.labels:
        return lambda examples: {"targets": _classes(spec.labels, examples)}
    if spec.task == "ner":
        ids = {symbol: place for place, symbol in enumerate(spec.vocabulary)}
        return lambda examples: _symbols(ids, examples)
    if spec.task == "qa":
        return lambda examples: {"targets": _spans(examples)}
    symbols = Symbols(pieces=spec.pieces) if spec.pieces is not None else Symbols(spec.vocabulary)
    return lambda examples: {
        "targets": padded_targets([[BEGIN, *symbols.encode(each.target), END] for each in examples], PAD)
    }


def _classes(labels: dict[str, list[str]], examples: Sequence[Example]) -> Tensor:
    """(B, F); a field that an example does not fill has the class "none", a class that training lacks is `UNSEEN`."""
    rows: Any = [
        [
            names.index(value) if (value := example.target.get(field, NO_VALUE)) in names else UNSEEN
            for field, names in labels.items()
        ]
        for example in examples
    ]
    return torch.tensor(rows)


def _label_sets(labels: list[str], examples: Sequence[Example]) -> Tensor:
    """(B, C) of 0 and 1; a label that training did not have has no column."""
    return torch.tensor([[float(label in example.target) for label in labels] for example in examples])


def _symbols(ids: dict[str, int], examples: Sequence[Example]) -> dict[str, Tensor]:
    """Characters side by side; those that training did not have are left out."""
    rows = [[ids[character] for character in example.target if character in ids] for example in examples]
    return {
        "targets": torch.tensor([symbol for row in rows for symbol in row], dtype=torch.long),
        "target_lengths": torch.tensor([len(row) for row in rows]),
    }


def _spans(examples: Sequence[Example]) -> Tensor:
    """First and last frame of the answers (B, 2)."""
    rows = []
    for example in examples:
        _, begin, end = example.target
        if not 0 <= begin < end:
            raise UserError(f"{example.utterance.id}: its answer from {begin} to {end} s is no stretch; mend it")
        first = int(begin / SPAN_FRAME_SECONDS)
        rows.append([first, max(first, int((end - 1e-6) / SPAN_FRAME_SECONDS))])
    return torch.tensor(rows)
