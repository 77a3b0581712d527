"""Train the heads of invariant quantizers: changed audio in, the units of clean audio out.

Quantizers of several sizes are trained at once: all that lies below their scores is one network, which costs the time
of one. Each round trains a fresh one with CTC, which needs no alignment between slow and fast speech; its targets are
what the quantizers before it say of the clean audio, the k-means codebooks first. CTC alone begins with hundreds of
steps of nothing but blanks. So the first steps learn the unit of each frame, which is known for every change (a change
of speed moves frames evenly), and that loss then fades out.

Source: Gat et al. 2023, section 3 (iterative pseudo-labelling).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.training import TrainingConfig, train
from speechkit.training.buckets import LengthBuckets
from speechkit.units.codebook import Codebook
from speechkit.units.deduplication import deduplicate
from speechkit.units.invariant import HeadConfig, InvariantHead, InvariantQuantizer, Quantizer
from speechkit.units.smoothed import SmoothedCodebook
from speechkit.units.upper_layers import UpperLayers

Read = Callable[[str], NDArray[np.floating[Any]]]
STATISTICS_FRAMES = 200_000
NO_UNIT = -100


class InvariantConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train.

    Attributes:
        head: its shape.
        rounds: heads, each taught by the one before.
        epochs: passes over the items of each round; a pass takes one version of each, and none twice before all.
        batch_frames: most frames of a batch, padding included.
        learning_rate: the peak.
        upper_rate: that of the encoder's own layers, where the heads begin with some.
        warmup_share: of the steps in which the rate rises.
        frame_share: of the steps in which the weight of the frames' loss falls from 1, CTC having the rest.
        frame_weight: what it falls to; with both 0 there is nothing but CTC, as published.
        precision: ``bf16`` trains in half the time where the processor multiplies it.
        time_masks: stretches of features set to the mean, of each item and pass.
        mask_frames: their greatest length.
        price: of a change of unit, of the quantizer that is made and of the heads that teach on the way.
    """

    head: HeadConfig = HeadConfig()
    rounds: int = 2
    epochs: int = 10
    batch_frames: int = 3000
    learning_rate: float = 2e-3
    upper_rate: float = 3e-4
    warmup_share: float = 0.1
    frame_share: float = 0.5
    frame_weight: float = 0.0
    precision: Literal["no", "bf16"] = "no"
    time_masks: int = 0
    mask_frames: int = 10
    price: float = 0.0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least 1"
            for name in ("rounds", "epochs", "batch_frames")
            if getattr(self, name) < 1
        ]
        wrong += [
            f"{name} is {getattr(self, name)}, it must lie from 0 to 1"
            for name in ("warmup_share", "frame_share", "frame_weight")
            if not 0 <= getattr(self, name) <= 1
        ]
        if not self.price >= 0:
            wrong.append(f"price is {self.price}, it must be 0 or more")
        if wrong:
            raise ConfigError("; ".join(wrong))


class InvariantResult(msgspec.Struct, frozen=True):
    """What a training gave.

    Attributes:
        quantizers: of the last round, one for each teacher.
        left_out: of each round, the versions whose targets do not fit into their frames, which CTC cannot learn.
        versions: how many there are.
    """

    quantizers: list[InvariantQuantizer]
    left_out: list[int]
    versions: int


class SharedHead(nn.Module):
    """Heads of several sizes over one network: features (B, T, D) to scores (B, T, K + 1) of each."""

    def __init__(self, head: InvariantHead, clusters: Sequence[int]) -> None:
        super().__init__()
        self.head = head
        self.further = nn.ModuleList(nn.Linear(head.leave.in_features, count + 1) for count in clusters)

    def forward(self, features: Tensor, lengths: Tensor) -> list[Tensor]:
        """Those of the head first, then of the ``clusters`` in their order."""
        hidden = self.head.hidden(features, lengths)
        return [leave(hidden) for leave in (self.head.leave, *self.further)]

    def groups(self) -> list[list[nn.Parameter]]:
        """All parameters but those of the encoder's layers; then those, where there are any."""
        upper = [] if self.head.upper is None else list(self.head.upper.parameters())
        known = {id(parameter) for parameter in upper}
        others = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [others, upper] if upper else [others]

    def apart(self) -> list[InvariantHead]:
        """A head of its own for each size."""
        heads = []
        for leave in (self.head.leave, *self.further):
            head = copy.deepcopy(self.head)
            head.leave = copy.deepcopy(leave)
            heads.append(head.cpu())
        return heads


class Batches:
    """Batches as a function of their number: one version of each item in every pass, another in the next.

    Args:
        versions: of each item, the name and frames of each version that may be taken.
        targets: of each teacher, then each item, the unit of each clean frame.
        read: features (T, D) by name.
        config: how.
        seed: of all drawings.
    """

    def __init__(
        self,
        versions: Sequence[Sequence[tuple[str, int]]],
        targets: Sequence[Sequence[NDArray[np.int32]]],
        read: Read,
        config: InvariantConfig,
        seed: int,
    ) -> None:
        self._versions, self._targets, self._read, self._config, self._seed = versions, targets, read, config, seed
        longest = [max(frames for _, frames in each) for each in versions]
        self._buckets = LengthBuckets(longest, config.batch_frames, seed)
        self.steps = 0
        while self._buckets.epoch_of(self.steps) < config.epochs:
            self.steps += 1

    def frame_weight(self, number: int) -> float:
        """The share of the frames' loss in that of a batch."""
        fading = self._config.frame_share * self.steps
        left = max(0.0, 1.0 - number / fading) if fading else 0.0
        return self._config.frame_weight + (1.0 - self._config.frame_weight) * left

    def _version(self, item: int, epoch: int) -> str:
        """The name of what a pass takes of an item: all versions in a drawn order, then all in another."""
        versions = self._versions[item]
        again, place = divmod(epoch, len(versions))
        order = np.random.default_rng([self._seed, item, again]).permutation(len(versions))
        name, _ = versions[int(order[place])]
        return name

    def __call__(self, number: int) -> dict[str, Any]:
        """Features (B, T, D) and frames (B,) of a batch, and lists with something of each teacher.

        In them: targets in a row, how many each item has (B,), and the target of each frame (B, T).
        """
        generator = np.random.default_rng([self._seed, number])
        items, epoch = self._buckets[number], self._buckets.epoch_of(number)
        features = []
        for item in items:
            name = self._version(item, epoch)
            frames = np.array(self._read(name), np.float32)
            for _ in range(self._config.time_masks):
                width = int(generator.integers(0, self._config.mask_frames + 1))
                begin = int(generator.integers(0, max(1, len(frames) - width)))
                frames[begin : begin + width] = frames.mean(axis=0)
            features.append(torch.from_numpy(frames))
        batch: dict[str, Any] = {
            "features": pad_sequence(features, batch_first=True),
            "frames": torch.tensor([len(each) for each in features]),
            "frame_weight": torch.tensor(self.frame_weight(number)),
            "targets": [],
            "counts": [],
            "aligned": [],
        }
        for said in self._targets:
            units = [said[item].astype(np.int64) for item in items]
            runs = [torch.from_numpy(deduplicate(each)[0].astype(np.int64)) for each in units]
            batch["targets"].append(torch.cat(runs))
            batch["counts"].append(torch.tensor([len(run) for run in runs]))
            stretched = [
                torch.from_numpy(each[(2 * np.arange(len(frames)) + 1) * len(each) // (2 * len(frames))])
                for each, frames in zip(units, features, strict=True)
            ]
            batch["aligned"].append(pad_sequence(stretched, batch_first=True, padding_value=NO_UNIT))
        return batch


def train_invariant(
    teachers: Sequence[Codebook | SmoothedCodebook],
    versions: Mapping[str, Sequence[str]],
    read: Read,
    config: InvariantConfig,
    folder: str | Path,
    *,
    upper: UpperLayers | None = None,
    encoder: EncoderSpec | None = None,
    teach: Read | None = None,
    seed: int = 0,
    device: str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> InvariantResult | None:
    """Train a quantizer for each teacher, all at once; goes on where it was interrupted.

    Args:
        teachers: codebooks of one encoder, the teachers of the first round.
        versions: of each item, the name of its clean features, then those of its changed ones.
        read: features (T, D) by name, for the heads.
        config: how.
        folder: of checkpoints and ``metrics.jsonl``, one folder a round.
        upper: copies of the encoder's layers, with which the heads begin and which are trained along.
        encoder: of the heads' features; the teachers' when absent.
        teach: features by name, for the teachers; those of the heads when absent.
        seed: of weights, batches and drawings.
        device: where to train.
        should_stop: asked after every step.
        log: receives lines for people.

    Returns:
        The quantizers, or None when it was stopped before its end.

    Raises:
        UserError: if no item has changed features, or none is long enough for its targets.
    """
    if not teachers or any(teacher.spec.encoder != teachers[0].spec.encoder for teacher in teachers):
        raise UserError(f"{len(teachers)} teachers of different encoders or none; give codebooks of one layer")
    encoder = encoder or teachers[0].spec.encoder
    if encoder is None:
        raise UserError("the codebook does not say which encoder it was made with; name it when you import it")
    if not versions or all(len(names) < 2 for names in versions.values()):
        raise UserError("no item has features of changed audio; an invariant quantizer learns from nothing else")
    items = list(versions)
    frames = {name: len(read(name)) for names in versions.values() for name in names}
    shape = msgspec.structs.replace(config.head, upper=upper.shape if upper else None)
    mean, scale = feature_statistics(_through(upper, read), [versions[item][0] for item in items])
    said_by: Sequence[Quantizer] = teachers
    made: list[InvariantQuantizer] = []
    left_out: list[int] = []
    for number in range(1, config.rounds + 1):
        heard = (teach or read) if number == 1 else read
        targets = [[teacher.assign(heard(versions[item][0])) for item in items] for teacher in said_by]
        counts = [max(len(deduplicate(said[place])[0]) for said in targets) for place in range(len(items))]
        # Deduplicated units need no blanks between them: CTC takes as many as there are frames.
        fitting = [
            [(name, frames[name]) for name in versions[item] if count and frames[name] >= count]
            for item, count in zip(items, counts, strict=True)
        ]
        left_out.append(len(frames) - sum(map(len, fitting)))
        kept = [place for place, each in enumerate(fitting) if each]
        if not kept:
            raise UserError(
                f"round {number}: no item has as many frames as its targets need; use fewer units or a faster layer"
            )
        batches = Batches(
            [fitting[place] for place in kept],
            [[said[place] for place in kept] for said in targets],
            read,
            config,
            seed + number,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            head = InvariantHead(encoder.dim, teachers[0].num_units, shape, mean, scale, copy.deepcopy(upper))
            network = SharedHead(head, [teacher.num_units for teacher in teachers[1:]])
        done = train(
            network,
            network.groups(),
            batches,
            invariant_loss,
            _loop(config, batches.steps, seed + number, upper is not None),
            Path(folder) / f"round-{number}",
            should_stop=should_stop,
            device=device,
            log=lambda line, number=number: log(f"round {number}, {line}"),  # type: ignore[misc]
        )
        if not done:
            return None
        made = [
            InvariantQuantizer(each, encoder, teacher.spec.digest, number, config.price)
            for each, teacher in zip(network.apart(), teachers, strict=True)
        ]
        said_by = made
    return InvariantResult(made, left_out, len(frames))


def _through(upper: UpperLayers | None, read: Read) -> Read:
    """Features as the upper layers leave them before any training."""
    if upper is None:
        return read
    upper.eval()

    @torch.inference_mode()
    def found(name: str) -> NDArray[np.floating[Any]]:
        frames = torch.from_numpy(np.array(read(name), np.float32))[None]
        return np.asarray(upper(frames, torch.zeros(frames.shape[:2], dtype=torch.bool))[0].numpy())

    return found


def _loop(config: InvariantConfig, steps: int, seed: int, upper: bool) -> TrainingConfig:
    return TrainingConfig(
        steps=steps,
        learning_rates=(config.learning_rate, config.upper_rate) if upper else (config.learning_rate,),
        warmup_steps=max(1, int(config.warmup_share * steps)),
        average_decay=0.99,
        precision=config.precision,
        log_every=max(1, steps // 10),
        evaluate_every=steps,
        save_every=max(1, steps // 4),
        keep_checkpoints=1,
        seed=seed,
    )


def invariant_loss(model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
    """CTC of each item by its number of targets, and the cross-entropy of the frames' units, means over all sizes."""
    weight = batch["frame_weight"]
    scores: list[Tensor] = model(batch["features"], batch["frames"])
    losses = [
        _one_loss(found, batch["frames"], *parts)
        for found, *parts in zip(scores, batch["targets"], batch["counts"], batch["aligned"], strict=True)
    ]
    ctc, frames = (torch.stack(each).mean() for each in zip(*losses, strict=True))
    return (1 - weight) * ctc + weight * frames, {"ctc": float(ctc.detach()), "frames": float(frames.detach())}


def _one_loss(
    scores: Tensor, frames: Tensor, targets: Tensor, counts: Tensor, aligned: Tensor
) -> tuple[Tensor, Tensor]:
    log_probs = scores.float().log_softmax(-1)  # (B, T, K + 1)
    blank = log_probs.shape[-1] - 1
    ctc = nn.functional.ctc_loss(log_probs.transpose(0, 1), targets, frames, counts, blank=blank)
    by_frame = nn.functional.nll_loss(log_probs.flatten(0, 1), aligned.flatten(), ignore_index=NO_UNIT)
    return ctc, by_frame


def feature_statistics(read: Read, names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation (D,) each over the items' frames, up to `STATISTICS_FRAMES`."""
    total: Any = 0.0
    squares: Any = 0.0
    seen = 0
    for name in names:
        frames = np.asarray(read(name), np.float64)
        total = total + frames.sum(axis=0)
        squares = squares + np.square(frames).sum(axis=0)
        seen += len(frames)
        if seen >= STATISTICS_FRAMES:
            break
    if not seen:
        raise UserError("the items hold no frame; give recordings longer than 20 ms")
    mean = total / seen
    deviation = np.sqrt(np.maximum(squares / seen - np.square(mean), 0))
    return mean.astype(np.float32), np.where(deviation > 1e-5, deviation, 1).astype(np.float32)
