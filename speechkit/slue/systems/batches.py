"""Training batches of end-to-end systems: encoder layers or waveforms, with the targets of the heads."""

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
"""Shorter recordings are padded with silence; every head needs some frames."""
Targets = Callable[[Sequence[Example]], dict[str, Tensor]]


def waveform_of(utterance: Utterance, manifest: Path) -> NDArray[np.float32]:
    """Waveform (S,) of an utterance at 16 kHz, padded to at least `MIN_SAMPLES`."""
    waveform = read_waveform(utterance, manifest)
    return np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform))))


class FrozenInputs:
    """Layers from a feature store by id; ids of documents get a prefix, all other ids the prefix ``base``."""

    name = "states"

    def __init__(self, cache: FeatureStore, augment: AugmentConfig | None = None, base: str = ""):
        self.cache, self.augment, self.base = cache, augment, base

    def __call__(self, utterance: Utterance, prefix: str, generator: np.random.Generator | None) -> Tensor:
        """Layers of one utterance, (T, L, D), time first; with a generator they are masked."""
        states = self.cache.layers((prefix or self.base) + utterance.id)
        layers, frames, dim = states.shape
        flat = np.ascontiguousarray(states.transpose(1, 0, 2)).reshape(frames, layers * dim)
        if generator is not None and self.augment is not None:
            flat = mask_features(flat, self.augment, generator)
        return torch.from_numpy(flat.reshape(frames, layers, dim))


class WaveformInputs:
    """Normalised waveforms for the encoder; with a generator they are augmented."""

    name = "waveforms"

    def __init__(
        self,
        normalise: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        manifests: Mapping[str, Path],
        augment: AugmentConfig | None = None,
    ):
        self.normalise, self.manifests, self.augment = normalise, manifests, augment

    def __call__(self, utterance: Utterance, prefix: str, generator: np.random.Generator | None) -> Tensor:
        """(S,) of one utterance."""
        waveform = waveform_of(utterance, self.manifests[prefix])
        if generator is not None and self.augment is not None:
            waveform = augment_waveform(waveform, self.augment, generator)
        return torch.from_numpy(self.normalise(waveform))


class ExampleBatches:
    """Micro-batches of examples by batch number; randomness depends only on the seed and the number.

    Args:
        examples: at least one.
        inputs: frozen layers or waveforms.
        targets: maps examples to named tensors.
        batch_seconds: limit of padded audio per batch: number of examples times the longest duration.
        seed: of the order and the augmentation.
        passages: for qa, the documents by id; the question is then a second input.
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
        return max(0.2, self._utterance(example).duration)

    def _utterance(self, example: Example) -> Utterance:
        return example.utterance if self.passages is None else self.passages[example.target[0]]

    def __call__(self, number: int) -> dict[str, Tensor]:
        """``states`` (B, L, T, D) with ``frames`` (B,) or ``waveforms`` (B, S) with ``samples``, and the targets."""
        generator = np.random.default_rng([self._seed, 1, number])
        return self.collate([self.examples[index] for index in self._buckets[number]], generator)

    def in_order(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Every example once, without augmentation: (number of examples, batch), sorted by duration."""
        ordered = sorted(self.examples, key=self._seconds)
        while ordered:
            count = max(1, int(self._batch_seconds / self._seconds(ordered[0])))
            while count > 1 and count * self._seconds(ordered[min(count, len(ordered)) - 1]) > self._batch_seconds:
                count -= 1
            chosen, ordered = ordered[:count], ordered[count:]
            yield len(chosen), self.collate(chosen, None)

    def collate(self, examples: Sequence[Example], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """A padded batch of examples."""
        prefix = "" if self.passages is None else "document/"
        batch = self._inputs([self.inputs(self._utterance(example), prefix, generator) for example in examples], "")
        if self.passages is not None:
            questions = [self.inputs(example.utterance, "", generator) for example in examples]
            batch |= self._inputs(questions, "question_")
        return batch | self.targets(examples)

    def _inputs(self, items: list[Tensor], prefix: str) -> dict[str, Tensor]:
        padded = nn.utils.rnn.pad_sequence(items, batch_first=True)
        lengths = torch.tensor([len(item) for item in items])
        if self.inputs.name == "states":
            return {f"{prefix}states": padded.transpose(1, 2), f"{prefix}frames": lengths}
        return {f"{prefix}waveforms": padded, f"{prefix}samples": lengths}


def make_targets(spec: SystemSpec) -> Targets:
    """A function from examples to the target tensors of the head's loss."""
    if spec.task == "dialog-acts":
        return lambda examples: {"targets": _label_sets(spec.labels["dialog_acts"], examples)}
    if spec.labels:
        return lambda examples: {"targets": _classes(spec.labels, examples)}
    if spec.task == "ner":
        ids = {symbol: index for index, symbol in enumerate(spec.vocabulary)}
        return lambda examples: _symbols(ids, examples)
    if spec.task == "qa":
        return lambda examples: {"targets": _spans(examples)}
    symbols = summary_symbols(spec)
    return lambda examples: {
        "targets": padded_targets([[BEGIN, *symbols.encode(example.target), END] for example in examples], PAD)
    }


def _classes(labels: dict[str, list[str]], examples: Sequence[Example]) -> Tensor:
    """Class indices (B, F): "none" for a field without a value, `UNSEEN` for a class not in the training data."""
    rows: Any = [
        [
            names.index(value) if (value := example.target.get(field, NO_VALUE)) in names else UNSEEN
            for field, names in labels.items()
        ]
        for example in examples
    ]
    return torch.tensor(rows)


def _label_sets(labels: list[str], examples: Sequence[Example]) -> Tensor:
    """Multi-hot labels (B, C); labels not in the training data have no column."""
    return torch.tensor([[float(label in example.target) for label in labels] for example in examples])


def _symbols(ids: dict[str, int], examples: Sequence[Example]) -> dict[str, Tensor]:
    """Concatenated character ids and their lengths; characters not in the training data are dropped."""
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
            raise UserError(f"{example.utterance.id}: the answer from {begin} to {end} s is not a valid span; fix it")
        first = int(begin / SPAN_FRAME_SECONDS)
        rows.append([first, max(first, int((end - 1e-6) / SPAN_FRAME_SECONDS))])
    return torch.tensor(rows)


def padded_targets(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Symbol rows as (B, N)."""
    longest = max((len(row) for row in rows), default=0)
    filled: Any = [[*row, *[padding] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long)
