"""Training of text2vec: its batches, losses and objective.

Notation used for tensor shapes: B items, L symbols, T frames of 20 ms, D width, F width of a target frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from speechkit.data.manifest import read_jsonl
from speechkit.data.records import Utterance
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.nn.flow_matching import velocity_loss
from speechkit.nn.masks import length_mask
from speechkit.pipeline.arrays import read_record_arrays
from speechkit.training import LengthBuckets, Objective, Turn
from speechkit.training.objective import mean_losses
from speechkit.tts.monotonic_alignment import (
    beta_binomial_log_prior,
    binarisation_loss,
    forward_sum_loss,
    monotonic_paths,
)
from speechkit.tts.text import TextFrontEnd
from speechkit.tts.text2vec import Text2Vec
from speechkit.tts.text2vec_config import FRAME_RATE, LossWeights, Text2VecConfig, Text2VecSizes

SCALE_SECONDS = 60
"""Speech over which the mean and deviation of the target are measured."""


class Text2VecBatches:
    """Padded batches of texts with their frames, each determined by its number.

    Args:
        rows: utterances with texts, and frames from `TargetFrames`.
        features: the file of the rows, beside which their frames (T, F) are stored.
        front_end: converts texts to symbols.
        batch_seconds: upper limit of seconds per batch, padding included.
        seed: seeds the batches and the choice of words to spell.
        letters_share: share of dictionary words that are spelled in letters, so that the model learns to read words
            that the dictionary lacks.
        speakers: numbers of speakers by name, for a multi-speaker model.
        weights: schedule of the binarisation loss.
    """

    def __init__(
        self,
        rows: Sequence[Utterance],
        features: Path,
        front_end: TextFrontEnd,
        batch_seconds: float,
        seed: int = 0,
        letters_share: float = 0.0,
        speakers: Mapping[str, int] | None = None,
        weights: LossWeights | None = None,
    ):
        self._rows, self._features, self._front_end = rows, features, front_end
        self._seed, self._letters_share, self._speakers = seed, letters_share, speakers
        self._weights = weights or LossWeights()
        self._read: dict[str, list[int]] = {}
        seconds = [max(row.duration, 1 / FRAME_RATE) for row in rows]
        self._buckets = LengthBuckets(seconds, batch_seconds, seed)

    def __call__(self, number: int) -> dict[str, Any]:
        """Symbols (B, L), counts (B,), target (B, T, F), frames (B,), prior (B, T, L), binarisation ramp, speakers."""
        rows = [self._rows[index] for index in self._buckets[number]]
        generator = np.random.default_rng([self._seed, 11, number])
        stored = [read_record_arrays(self._features, row.features or "")["frames"] for row in rows]
        targets = [torch.from_numpy(np.asarray(frames, np.float32)) for frames in stored]
        symbols = [
            torch.tensor(self._symbols(row, len(target), generator)) for row, target in zip(rows, targets, strict=True)
        ]
        counts, frames = [torch.tensor([len(item) for item in items]) for items in (symbols, targets)]
        prior = torch.zeros(len(rows), int(frames.max()), int(counts.max()))
        for item, (length, count) in enumerate(zip(frames.tolist(), counts.tolist(), strict=True)):
            prior[item, :length, :count] = beta_binomial_log_prior(length, count)
        batch = {
            "symbols": nn.utils.rnn.pad_sequence(symbols, batch_first=True),
            "counts": counts,
            "target": nn.utils.rnn.pad_sequence(targets, batch_first=True),
            "frames": frames,
            "prior": prior,
            "binarised": self._weights.binarised(number),
        }
        if self._speakers is not None:
            batch["speakers"] = torch.tensor([self._speakers[row.speaker or ""] for row in rows])
        return batch

    def _symbols(self, row: Utterance, frames: int, generator: np.random.Generator) -> list[int]:
        if self._letters_share:
            symbols, _ = self._front_end.read(row.text or "", lambda word: generator.random() < self._letters_share)
            if len(symbols) <= frames:  # stage 1 checked that the phones fit; letters are usually more
                return self._front_end.numbers(symbols)
        if row.id not in self._read:  # phonemes come from another process
            symbols, _ = self._front_end.read(row.text or "")
            self._read[row.id] = self._front_end.numbers(symbols)
        return self._read[row.id]

    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (F,) of the target over the first batches."""
        frames: list[Tensor] = []
        number = 0
        while sum(map(len, frames)) < SCALE_SECONDS * FRAME_RATE and number < len(self._rows):
            batch = self(number)
            frames.append(batch["target"][length_mask(batch["frames"], batch["target"].shape[1])])
            number += 1
        sample = torch.cat(frames)
        return sample.mean(0), sample.std(0)


def text2vec_objective(
    features: Path,
    front_end: TextFrontEnd,
    *,
    sizes: Text2VecSizes,
    weights: LossWeights,
    batch_seconds: float,
    letters_share: float = 0.0,
    judged_batches: int = 0,
    seed: int = 0,
    half: bool = False,
) -> Objective:
    """Objective of a model on the rows of `TargetFrames`, trained on those with ``custom.part`` ``train``.

    Args:
        features: the file of rows.
        front_end: converts their texts to symbols.
        sizes: sizes of the model.
        weights: weights of the losses.
        batch_seconds: see `Text2VecBatches`.
        letters_share: see `Text2VecBatches`.
        judged_batches: number of ``dev`` batches on which the loss is evaluated.
        seed: seeds the batches.
        half: save weights as float16.

    Raises:
        UserError: if there is nothing to train on.
    """
    rows: dict[str, list[Utterance]] = {"train": [], "dev": []}
    for row in read_jsonl(features, Utterance):
        rows.setdefault((row.custom or {}).get("part", "train"), []).append(row)
    if not rows["train"]:
        raise UserError(f"{features}: no utterance is left to train on; drops.jsonl beside it gives the reasons")
    spec = (rows["train"][0].custom or {}).get("encoder")
    names = sorted({row.speaker or "" for row in rows["train"]})
    speakers = {name: number for number, name in enumerate(names)} if len(names) > 1 else None
    config = Text2VecConfig(
        msgspec.structs.replace(front_end.config, symbols=front_end.symbols),
        encoder=None if spec is None else msgspec.convert(spec, EncoderSpec),
        speakers=tuple(names) if speakers else (),
        sizes=sizes,
    )

    def batches(part: list[Utterance], share: float) -> Text2VecBatches:
        return Text2VecBatches(part, features, front_end, batch_seconds, seed, share, speakers, weights)

    training = batches(rows["train"], letters_share if front_end.dictionary else 0.0)
    known_dev = [row for row in rows["dev"] if speakers is None or (row.speaker or "") in speakers]
    held_out = [batches(known_dev, 0.0)(number) for number in range(judged_batches)] if known_dev else []
    model = Text2Vec(config, front_end)
    model.set_scale(*training.scale())

    def loss(network: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(network, Text2Vec)
        return text2vec_loss(network, batch, weights)

    return Objective(
        model,
        [Turn(loss, [list(model.parameters())])],
        training,
        mean_losses(loss, held_out),
        save=lambda folder: model.save_pretrained(folder, half),
    )


def text2vec_loss(model: Text2Vec, batch: dict[str, Any], weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the losses, and their values; ``on_path`` is the mean attention on the hard path."""
    symbols, counts, frames, speakers = batch["symbols"], batch["counts"], batch["frames"], batch.get("speakers")
    target = model.standardised(batch["target"])
    log_attention = model.aligner(model.symbols(symbols), counts, target, frames, batch["prior"])
    durations = monotonic_paths(log_attention, frames, counts)
    states = model.encode(symbols, counts, speakers)
    upsampled, _ = model.upsample(states, durations)
    if model.config.sizes.decoder == "regression":
        inside = length_mask(frames, target.shape[1])
        frame_loss = (model.regress(upsampled, frames) - target).abs()[inside].mean()
    else:
        assert model.no_text is not None
        unconditional = torch.rand(len(upsampled), 1, 1, device=upsampled.device) < weights.no_text
        condition = torch.where(unconditional, model.no_text, upsampled)
        noise, time = torch.randn_like(target), torch.rand(len(target), device=target.device)
        frame_loss = velocity_loss(
            lambda point, at: model.velocity(condition, frames, point, at), target, frames, noise, time
        )
    symbol_mask = length_mask(counts, symbols.shape[1])
    log_durations = model.durations(states.detach(), symbol_mask)
    duration_loss = (log_durations - durations.clamp_min(1).log()).square()[symbol_mask].mean()
    alignment_loss = forward_sum_loss(log_attention, frames, counts)
    path_loss = binarisation_loss(log_attention, durations)
    total = frame_loss + weights.durations * duration_loss + weights.alignment * alignment_loss
    total = total + weights.binarisation * batch["binarised"] * path_loss
    return total, {
        "frames": float(frame_loss.detach()),
        "durations": float(duration_loss.detach()),
        "alignment": float(alignment_loss.detach()),
        "on_path": float(torch.exp(-path_loss.detach())),
    }
