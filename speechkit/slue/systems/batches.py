"""Examples as batches by number: layers of a frozen encoder or waveforms, and what the heads are to learn of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.augment.waveforms import AugmentConfig, augment_waveform, mask_features
from speechkit.data.audio import read_waveform
from speechkit.data.records import Utterance
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError
from speechkit.slue.systems.examples import NO_VALUE, Example
from speechkit.slue.systems.heads import SPAN_FRAME_SECONDS, UNSEEN
from speechkit.slue.systems.summary_decoder import BEGIN, END, PAD
from speechkit.slue.systems.system_spec import SystemSpec, summary_symbols
from speechkit.training import LengthBuckets

MIN_SAMPLES = 2560
"""A shorter recording is filled up with silence: every head needs some frames."""
Targets = Callable[[Sequence[Example]], dict[str, Tensor]]


def waveform_of(utterance: Utterance, manifest: Path) -> NDArray[np.float32]:
    """The samples (S,) of a manifest's utterance at 16 kHz, no fewer than `MIN_SAMPLES`."""
    waveform = read_waveform(utterance, manifest)
    return np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform))))


class FrozenInputs:
    """Layers from a cache by id; a prefix stands before the ids of documents, ``base`` before those of others."""

    name = "states"

    def __init__(self, cache: FeatureStore, augment: AugmentConfig | None = None, base: str = ""):
        self.cache, self.augment, self.base = cache, augment, base

    def __call__(self, utterance: Utterance, prefix: str, generator: np.random.Generator | None) -> Tensor:
        """(T, L, D) of one utterance, time first; with a generator some stretches are masked."""
        states = self.cache.layers((prefix or self.base) + utterance.id)
        layers, frames, dim = states.shape
        flat = np.ascontiguousarray(states.transpose(1, 0, 2)).reshape(frames, layers * dim)
        if generator is not None and self.augment is not None:
            flat = mask_features(flat, self.augment, generator)
        return torch.from_numpy(flat.reshape(frames, layers, dim))


class WaveformInputs:
    """Waveforms as the encoder takes them; with a generator they are varied."""

    name = "waveforms"

    def __init__(
        self,
        ready: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        manifests: Mapping[str, Path],
        augment: AugmentConfig | None = None,
    ):
        self.ready, self.manifests, self.augment = ready, manifests, augment

    def __call__(self, utterance: Utterance, prefix: str, generator: np.random.Generator | None) -> Tensor:
        """(S,) of one utterance."""
        waveform = waveform_of(utterance, self.manifests[prefix])
        if generator is not None and self.augment is not None:
            waveform = augment_waveform(waveform, self.augment, generator)
        return torch.from_numpy(self.ready(waveform))


class ExampleBatches:
    """Micro-batches of examples by number; what is random depends on the seed and the number alone.

    Args:
        examples: at least one.
        inputs: frozen layers or waveforms.
        targets: examples to named tensors.
        batch_seconds: limit of examples times the longest of them.
        seed: of order and variation.
        passages: for qa, the documents by id: the question is then the second input.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        inputs: FrozenInputs | WaveformInputs,
        targets: Targets,
        batch_seconds: float,
        seed: int,
        passages: Mapping[str, Utterance] | None = None,
    ):
        self.examples, self.inputs, self.targets, self.passages = examples, inputs, targets, passages
        self._seed = seed
        self._buckets = LengthBuckets([self._seconds(example) for example in examples], batch_seconds, seed)
        self._batch_seconds = batch_seconds

    def _seconds(self, example: Example) -> float:
        heard = self._heard(example)
        return max(0.2, heard.duration)

    def _heard(self, example: Example) -> Utterance:
        return example.utterance if self.passages is None else self.passages[example.target[0]]

    def __call__(self, number: int) -> dict[str, Tensor]:
        """``states`` (B, L, T, D) with ``frames`` (B,) or ``waveforms`` (B, S) with ``samples``, and the targets."""
        generator = np.random.default_rng([self._seed, 1, number])
        return self.collate([self.examples[index] for index in self._buckets[number]], generator)

    def in_order(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Every example once, as it is: batches with the number of their examples."""
        ordered = sorted(self.examples, key=self._seconds)
        while ordered:
            count = max(1, int(self._batch_seconds / self._seconds(ordered[0])))
            while count > 1 and count * self._seconds(ordered[min(count, len(ordered)) - 1]) > self._batch_seconds:
                count -= 1
            some, ordered = ordered[:count], ordered[count:]
            yield len(some), self.collate(some, None)

    def collate(self, examples: Sequence[Example], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """One batch of some examples."""
        prefix = "" if self.passages is None else "document/"
        batch = self._inputs([self.inputs(self._heard(each), prefix, generator) for each in examples], "")
        if self.passages is not None:
            asked = [self.inputs(each.utterance, "", generator) for each in examples]
            batch |= self._inputs(asked, "question_")
        return batch | self.targets(examples)

    def _inputs(self, items: list[Tensor], prefix: str) -> dict[str, Tensor]:
        padded = nn.utils.rnn.pad_sequence(items, batch_first=True)
        lengths = torch.tensor([len(item) for item in items])
        if self.inputs.name == "states":
            return {f"{prefix}states": padded.transpose(1, 2), f"{prefix}frames": lengths}
        return {f"{prefix}waveforms": padded, f"{prefix}samples": lengths}


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
    symbols = summary_symbols(spec)
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
            raise UserError(f"{example.utterance.id}: its answer from {begin} to {end} s is no stretch; fix it")
        first = int(begin / SPAN_FRAME_SECONDS)
        rows.append([first, max(first, int((end - 1e-6) / SPAN_FRAME_SECONDS))])
    return torch.tensor(rows)


def padded_targets(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Symbol rows as (B, N)."""
    longest = max((len(row) for row in rows), default=0)
    filled: Any = [[*row, *[padding] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long)
