"""Batches, losses and greedy evaluation of CTC training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.asr.ctc_decoding import greedy_decode
from speechkit.asr.ctc_model import CtcModel
from speechkit.asr.hypothesis import Emissions
from speechkit.augment.waveforms import AugmentConfig, augment_waveform, mask_features
from speechkit.data import Utterance
from speechkit.data.audio import read_waveform
from speechkit.nn.masks import length_mask
from speechkit.training import LengthBuckets

BLANK = "<blank>"


def character_set(texts: Sequence[str]) -> tuple[str, ...]:
    """The blank, the space, then every other character of the texts in code point order."""
    return (BLANK, " ", *sorted({character for text in texts for character in text} - {" "}))


class CtcBatches:
    """Micro-batches of a manifest by number; randomness depends only on the seed and the number.

    Args:
        utterances: rows whose text has only characters of the vocabulary.
        manifest: the file they were read from; audio paths are relative to it.
        vocabulary: symbols; the first is the blank.
        features: waveform (samples,) to features (M, C), or None to train on waveforms.
        batch_seconds: upper limit of seconds per batch, padding included.
        augment: augmentation.
        seed: seeds order and augmentation.
        variants: number of augmented versions per utterance, whose features are computed once and kept as float16 (for
            expensive features, such as those of frozen layers); 0: a new version every time.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        manifest: Path,
        vocabulary: Sequence[str],
        features: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None,
        batch_seconds: float,
        augment: AugmentConfig,
        seed: int,
        variants: int = 0,
    ):
        self._utterances = utterances
        self._manifest = manifest
        self._ids = {symbol: index for index, symbol in enumerate(vocabulary)}
        self._features = features
        self._augment = augment
        self._seed = seed
        self._variants = variants
        self._kept: dict[tuple[int, int], NDArray[np.float16]] = {}
        self._buckets = LengthBuckets([row.duration for row in utterances], batch_seconds, seed)

    def __call__(self, number: int) -> dict[str, Tensor]:
        """``inputs`` (B, M, C) or (B, S) zero-padded, ``lengths`` (B,), ``targets`` (sum,), ``target_lengths`` (B,)."""
        generator = np.random.default_rng([self._seed, 1, number])
        inputs, targets = [], []
        for index in self._buckets[number]:
            row = self._utterances[index]
            inputs.append(torch.from_numpy(self._input(index, generator)))
            targets.append([self._ids[character] for character in row.text or ""])
        return {
            "inputs": nn.utils.rnn.pad_sequence(inputs, batch_first=True),
            "lengths": torch.tensor([len(item) for item in inputs]),
            "targets": torch.tensor([symbol for target in targets for symbol in target]),
            "target_lengths": torch.tensor([len(target) for target in targets]),
        }

    def _input(self, index: int, generator: np.random.Generator) -> NDArray[np.float32]:
        row = self._utterances[index]
        if self._variants and self._features is not None:
            key = index, int(generator.integers(self._variants))
            if key not in self._kept:
                own = np.random.default_rng([self._seed, 2, *key])
                # The first version is the unchanged recording.
                waveform = read_waveform(row, self._manifest)
                varied = augment_waveform(waveform, self._augment, own) if key[1] else waveform
                self._kept[key] = self._features(varied).astype(np.float16)
            return mask_features(self._kept[key].astype(np.float32), self._augment, generator)
        waveform = augment_waveform(read_waveform(row, self._manifest), self._augment, generator)
        if self._features is None:
            return np.asarray((waveform - waveform.mean()) / (waveform.std() + 1e-5), np.float32)
        return mask_features(self._features(waveform), self._augment, generator)


def log_mel_features(model: CtcModel) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The model's features as a function of arrays, cut to its longest input."""
    front = type(model.log_mel)(model.config.mel_channels)
    longest = 2 * model.config.max_frames

    def features(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        mel: Tensor = front(torch.from_numpy(np.ascontiguousarray(waveform)))
        return np.asarray(mel[:longest].numpy(), np.float32)

    return features


class UpperPart(nn.Module):
    """A model above its first ``layers`` encoder layers, which are frozen and not called."""

    def __init__(self, model: CtcModel, layers: int):
        super().__init__()
        self.model = model
        self.layers = layers
        for name, value in model.named_parameters():
            below = name.startswith(("conv1.", "conv2.", *(f"layers.{index}." for index in range(layers))))
            value.requires_grad_(not below)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """(B, T, D) and valid frames (B,) to the result of `CtcModel.forward`."""
        return self.model.upper(x, lengths, self.layers)


def lower_features(
    model: CtcModel, layers: int, bfloat16: bool = False
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Outputs (T, D) of the frozen part of a model as a function of waveforms, computed by a copy."""
    import copy

    lower = copy.deepcopy(model).cpu().eval()
    features = log_mel_features(lower)

    def compute(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        mel = torch.from_numpy(features(waveform))[None]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            frozen = lower.lower(mel, None, layers)[0]
        return np.asarray(frozen.float().numpy(), np.float32)

    return compute


def ctc_loss(log_probs: Tensor, frames: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Negative log-likelihood per character; utterances with too few frames for their text are ignored."""
    summed = F.ctc_loss(
        log_probs.transpose(0, 1),
        batch["targets"],
        frames,
        batch["target_lengths"],
        reduction="sum",
        zero_infinity=True,
    )
    return summed / batch["target_lengths"].sum()


def own_model_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """The final prediction's loss and, for 40 %, the mean of the intermediate ones."""
    log_probs, intermediate = model(batch["inputs"], batch["lengths"])
    inner = getattr(model, "module", model)
    frames = batch["lengths"] if isinstance(inner, UpperPart) else (batch["lengths"] + 1) // 2
    final = ctc_loss(log_probs, frames, batch)
    values = {"ctc": float(final.detach())}
    if not intermediate:
        return final, values
    between = torch.stack([ctc_loss(item, frames, batch) for item in intermediate]).mean()
    return 0.6 * final + 0.4 * between, {**values, "intermediate_ctc": float(between.detach())}


def hugging_face_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """CTC of a checkpoint's logits; frames follow from its own strides."""
    inner: Any = getattr(model, "module", model)
    mask = length_mask(batch["lengths"], batch["inputs"].shape[1])
    logits = model(batch["inputs"], attention_mask=mask.long()).logits
    frames = inner._get_feat_extract_output_lengths(batch["lengths"]).clamp(max=logits.shape[1])
    loss = ctc_loss(logits.float().log_softmax(-1), frames, batch)
    return loss, {"ctc": float(loss.detach())}


def greedy_texts(log_probs: Sequence[NDArray[np.float32]], vocabulary: tuple[str, ...]) -> list[str]:
    """Greedy text of each item (T, V)."""
    return [
        greedy_decode(Emissions(np.maximum(item, -1e4).astype(np.float16), 0.02, vocabulary, 0)).text
        for item in log_probs
    ]
