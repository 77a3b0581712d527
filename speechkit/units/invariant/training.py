"""Train invariant quantizers: perturbed audio in, the units of clean audio out.

Quantizers of several sizes are trained at once, as classifiers over one network. The loss is CTC, which needs no
alignment between slow and fast speech, and framewise cross-entropy, since CTC alone predicts only blanks for hundreds
of steps. Targets of the first round are the units that k-means codebooks of the encoder assign to clean speech. The
second round trains the same network on, with new classifiers, towards clusters of the network's own output.

Source: Gat et al. 2023, section 3 (CTC from perturbed audio to deduplicated units of clean audio).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from speechkit.encoders.feature_statistics import feature_statistics
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.training import Objective, TrainingConfig, Turn, train
from speechkit.units.deduplication import deduplicate
from speechkit.units.invariant.batches import Batches, Read, invariant_loss
from speechkit.units.invariant.bigram import estimate_bigram
from speechkit.units.invariant.config import HeadConfig, InvariantConfig
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.reclustering import Stopped, recluster
from speechkit.units.invariant.shared_head import SharedHead
from speechkit.units.invariant.upper_layers import UpperLayers
from speechkit.units.quantizers import assign_together
from speechkit.units.smoothed import SmoothedCodebook

WARMUP_SHARE = 0.1
"""Share of the steps in which the learning rate rises."""


class InvariantResult(msgspec.Struct, frozen=True):
    """Result of a training run.

    Attributes:
        quantizers: of the last round, one for each teacher.
        left_out: for each round, number of versions with fewer frames than targets, which CTC cannot learn.
        versions: total number of versions.
    """

    quantizers: list[InvariantQuantizer]
    left_out: list[int]
    versions: int


def train_invariant(
    teachers: Sequence[SmoothedCodebook],
    versions: Mapping[str, Sequence[str]],
    read: Read,
    config: InvariantConfig,
    folder: str | Path,
    *,
    upper: UpperLayers | None = None,
    encoder: EncoderSpec | None = None,
    teacher_features: Read | None = None,
    seed: int = 0,
    device: str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> InvariantResult | None:
    """Train a quantizer for each teacher, all at once; resumes where it was interrupted.

    Args:
        teachers: codebooks of one encoder and layer, the teachers of the first round.
        versions: for each item, the name of its clean features, then those of its perturbed ones.
        read: features (T, D) by name, for the network.
        config: of training.
        folder: of checkpoints and ``metrics.jsonl``, one folder a round.
        upper: copies of the encoder's layers, fine-tuned below the head.
        encoder: spec of the network's features; the teachers' when absent.
        teacher_features: features by name, for the teachers; those of the network when absent.
        seed: of weights, batches and draws.
        device: where to train.
        should_stop: asked after every step, and between items where no steps are made.
        log: receives lines for people.

    Returns:
        The quantizers, or None when it was stopped before its end.

    Raises:
        UserError: if the teachers are not of one encoder, no item has perturbed features, or none is long enough for
            its targets.
    """
    if not teachers or any(teacher.spec.encoder != teachers[0].spec.encoder for teacher in teachers):
        raise UserError(f"{len(teachers)} teachers of different encoders or none; give codebooks of one layer")
    encoder = encoder or teachers[0].spec.encoder
    if encoder is None:
        raise UserError("the codebook does not say which encoder it was made with; name it when you import it")
    if all(len(names) < 2 for names in versions.values()):
        raise UserError("no item has features of perturbed audio; an invariant quantizer learns from nothing else")
    clean = [names[0] for names in versions.values()]
    frames = {name: len(read(name)) for names in versions.values() for name in names}
    teacher_features = teacher_features or read
    network: SharedHead | None = None
    quantizers: list[InvariantQuantizer] = []
    left_out: list[int] = []
    with suppress(Stopped):
        for number, epochs in enumerate(config.epochs, start=1):
            round_folder, round_seed = Path(folder) / f"round-{number}", seed + number
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(round_seed)
                if network is None:
                    network = _new_network(teachers, encoder, config, upper, read, clean)
                else:
                    network.reset_classifiers()
            if quantizers:
                codebooks, space = recluster(
                    quantizers,
                    [teacher.spec.smoothing for teacher in teachers],
                    clean,
                    read,
                    round_folder,
                    round_seed,
                    log,
                    encoder_features=teacher_features,
                    share=config.teacher_share,
                    should_stop=should_stop,
                )
            else:
                codebooks, space = list(teachers), teacher_features
            by_item = [assign_together(codebooks, space(name)) for name in clean]
            targets = list(zip(*by_item, strict=True))
            fitting = _fitting(list(versions.values()), targets, frames)
            kept = [item for item, names in enumerate(fitting) if names]
            left_out.append(len(frames) - len({name for names in fitting for name, _ in names}))
            if not kept:
                raise UserError(
                    f"round {number}: no item has as many frames as its targets need; use fewer units or a faster layer"
                )
            batches = Batches(
                [fitting[item] for item in kept],
                [[of_teacher[item] for item in kept] for of_teacher in targets],
                read,
                config,
                epochs,
                round_seed,
            )
            turn = Turn(invariant_loss, network.parameter_groups())
            done = train(
                Objective(network, [turn], batches),
                _loop(config, batches.steps, round_seed, len(turn.groups)),
                round_folder,
                should_stop=should_stop,
                device=device,
                log=lambda line, number=number: log(f"round {number}, {line}"),
            )
            if not done:
                raise Stopped
            quantizers = [
                InvariantQuantizer(head, encoder, teacher.spec.digest, number, config.switch_penalty)
                for head, teacher in zip(network.split(), teachers, strict=True)
            ]
        if config.bigram_weight:
            quantizers = _with_bigrams(quantizers, config.bigram_weight, clean, read, should_stop)
        return InvariantResult(quantizers, left_out, len(frames))
    return None


def _new_network(
    teachers: Sequence[SmoothedCodebook],
    encoder: EncoderSpec,
    config: InvariantConfig,
    upper: UpperLayers | None,
    read: Read,
    clean: Sequence[str],
) -> SharedHead:
    """A network with random head, standardising its input by statistics of clean speech."""
    shape = HeadConfig(width=config.width, dropout=config.dropout, upper=upper.shape if upper else None)
    mean, deviation = feature_statistics(_upper_output(upper, read), clean)
    head = InvariantHead(encoder.dim, teachers[0].num_units, shape, mean, deviation, copy.deepcopy(upper))
    return SharedHead(head, [teacher.num_units for teacher in teachers[1:]])


def _with_bigrams(
    quantizers: Sequence[InvariantQuantizer],
    weight: float,
    clean: Sequence[str],
    read: Read,
    should_stop: Callable[[], bool],
) -> list[InvariantQuantizer]:
    """Each with a bigram of the units that it assigns to clean speech.

    Raises:
        Stopped: if it was asked to.
    """
    by_item = []
    for name in clean:
        if should_stop():
            raise Stopped
        by_item.append(assign_together(quantizers, read(name)))
    return [
        quantizer.with_bigram(estimate_bigram(units, quantizer.num_units), weight)
        for quantizer, units in zip(quantizers, zip(*by_item, strict=True), strict=True)
    ]


def _fitting(
    versions: Sequence[Sequence[str]], targets: Sequence[Sequence[NDArray[np.int32]]], frames: Mapping[str, int]
) -> list[list[tuple[str, int]]]:
    """For each item, the name and frames of the versions with enough frames for its targets.

    Deduplicated units need no blanks between them: CTC takes as many as there are frames.
    """
    fitting = []
    for item, names in enumerate(versions):
        count = max(len(deduplicate(of_teacher[item])[0]) for of_teacher in targets)
        fitting.append([(name, frames[name]) for name in names if count and frames[name] >= count])
    return fitting


def _upper_output(upper: UpperLayers | None, read: Read) -> Read:
    """Output of the upper layers before training, by name."""
    if upper is None:
        return read
    upper.eval()

    @torch.inference_mode()
    def output(name: str) -> NDArray[np.floating[Any]]:
        frames = torch.from_numpy(np.array(read(name), np.float32))[None]
        return np.asarray(upper(frames, torch.zeros(frames.shape[:2], dtype=torch.bool))[0].numpy())

    return output


def _loop(config: InvariantConfig, steps: int, seed: int, groups: int) -> TrainingConfig:
    return TrainingConfig(
        steps=steps,
        learning_rates=(config.learning_rate, config.upper_rate)[:groups],
        warmup_steps=max(1, int(WARMUP_SHARE * steps)),
        average_decay=0.99,
        precision=config.precision,
        log_every=max(1, steps // 10),
        evaluate_every=steps,
        save_every=max(1, steps // 4),
        keep_checkpoints=1,
        seed=seed,
    )
