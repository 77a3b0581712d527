"""Train the heads of invariant quantizers: changed audio in, the units of clean audio out.

Quantizers of several sizes are trained at once: all that lies below their scores is one network, which costs the time
of one. Each round trains it with CTC, which needs no alignment between slow and fast speech; its targets are what the
quantizers before it say of the clean audio, the k-means codebooks first, or new clusters in the network's space. CTC
alone begins with hundreds of steps of nothing but blanks. So the first steps learn the unit of each frame, which is
known for every change (a change of speed moves frames evenly), and that loss then fades out.

Source: Gat et al. 2023, section 3 (iterative pseudo-labelling).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
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
from speechkit.units.codebook import Codebook
from speechkit.units.deduplication import deduplicate
from speechkit.units.invariant.batches import Batches, Read, invariant_loss
from speechkit.units.invariant.config import HeadConfig, InvariantConfig, each_of
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.reading import read_with
from speechkit.units.invariant.reclustering import Stopped, recluster
from speechkit.units.invariant.shared_head import SharedHead
from speechkit.units.invariant.upper_layers import UpperLayers
from speechkit.units.quantizers import assign_together
from speechkit.units.smoothed import SmoothedCodebook, Smoothing


class InvariantResult(msgspec.Struct, frozen=True):
    """Result of a training run.

    Attributes:
        quantizers: of the last round, one for each teacher.
        left_out: of each round, the versions whose targets do not fit into their frames, which CTC cannot learn.
        versions: how many there are.
    """

    quantizers: list[InvariantQuantizer]
    left_out: list[int]
    versions: int


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
    start: Sequence[InvariantQuantizer] = (),
    seed: int = 0,
    device: str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> InvariantResult | None:
    """Train a quantizer for each teacher, all at once; goes on where it was interrupted.

    Args:
        teachers: codebooks of one encoder, the teachers of the first round.
        versions: of each item, the name of its clean features, then those of its changed ones; passes take a name more
            often that is there more often.
        read: features (T, D) by name, for the heads.
        config: how.
        folder: of checkpoints and ``metrics.jsonl``, one folder a round.
        upper: copies of the encoder's layers, with which the heads begin and which are trained along.
        encoder: of the heads' features; the teachers' when absent.
        teach: features by name, for the teachers; those of the heads when absent.
        start: quantizers of an earlier training, one for each teacher: the first round follows on its last.
        seed: of weights, batches and drawings.
        device: where to train.
        should_stop: asked after every step, and between items where no steps are made.
        log: receives lines for people.

    Returns:
        The quantizers, or None when it was stopped before its end.

    Raises:
        UserError: if no item has changed features, or none is long enough for its targets; or if ``start`` was not
            trained together, or has other sizes, features or shapes than what is trained here; or if the shares or
            prices of the configuration are not as many as the teachers.
    """
    if not teachers or any(teacher.spec.encoder != teachers[0].spec.encoder for teacher in teachers):
        raise UserError(f"{len(teachers)} teachers of different encoders or none; give codebooks of one layer")
    encoder = encoder or teachers[0].spec.encoder
    if encoder is None:
        raise UserError("the codebook does not say which encoder it was made with; name it when you import it")
    if not versions or (config.epochs and all(len(names) < 2 for names in versions.values())):
        raise UserError("no item has features of changed audio; an invariant quantizer learns from nothing else")
    clean = [names[0] for names in versions.values()]
    frames = {name: len(read(name)) for names in versions.values() for name in names}
    shape = msgspec.structs.replace(config.head, upper=upper.shape if upper else None)

    @cache
    def statistics() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # Of all clean speech through the upper layers: minutes that a network which is trained on does not need.
        return feature_statistics(_through(upper, read), clean)

    shares, seeds, prices, weights = (
        _numbers(config, setting, len(teachers))
        for setting in ("recluster_share", "recluster_seed", "price", "bigram_weight")
    )
    if not config.epochs and not start:
        raise UserError("there are no rounds of training and nothing to start from; give epochs, or a start")
    if config.learns == "units" and not start:
        raise UserError("units alone are learned on a network that was trained before; give a start")
    teach = teach or read
    network: SharedHead | None = None
    made = list(start)
    before = 0
    if made:
        _check_start(made, teachers, encoder, shape)
        network, before = SharedHead.of(made, upper), made[0].spec.rounds

    def taught_by(made: Sequence[InvariantQuantizer], place: Path, seed: int) -> list[list[NDArray[np.int32]]]:
        """Of each item the units of its clean frames, by each teacher of the round that follows on ``made``."""
        if not made:
            return [assign_together(teachers, teach(name)) for name in clean]
        if config.next_round != "clusters":
            return [assign_together(made, read(name)) for name in clean]
        clusters = recluster(
            made,
            _smoothings(teachers),
            clean,
            read,
            place,
            seed,
            log,
            beside=teach,
            shares=shares,
            further_seeds=seeds,
            should_stop=should_stop,
        )
        return [[codebook.assign(heard(name)) for codebook, heard in clusters] for name in clean]

    left_out: list[int] = []
    with suppress(Stopped):
        if not config.epochs:
            made = read_with(made, prices, weights, clean, read, should_stop)
        for number, epochs in enumerate(config.epochs, start=1):
            place = Path(folder) / f"round-{number}"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + number)
                if network is None or config.next_round == "fresh":
                    head = InvariantHead(encoder.dim, teachers[0].num_units, shape, *statistics(), copy.deepcopy(upper))
                    network = SharedHead(head, [teacher.num_units for teacher in teachers[1:]])
                elif config.next_round == "clusters":
                    network.forget_units()
            targets = list(zip(*taught_by(made, place, seed + number), strict=True))
            fitting, kept = _fitting(list(versions.values()), targets, frames)
            left_out.append(len(frames) - len({name for each in fitting for name, _ in each}))
            if not kept:
                raise UserError(
                    f"round {number}: no item has as many frames as its targets need; use fewer units or a faster layer"
                )
            batches = Batches(
                [fitting[item] for item in kept],
                [[said[item] for item in kept] for said in targets],
                read,
                config,
                epochs,
                seed + number,
            )
            turn = Turn(invariant_loss, network.learn(config.learns))
            done = train(
                Objective(network, [turn], batches),
                _loop(config, batches.steps, seed + number, len(turn.groups)),
                place,
                should_stop=should_stop,
                device=device,
                log=lambda line, number=number: log(f"round {number}, {line}"),
            )
            if not done:
                raise Stopped
            made = [
                InvariantQuantizer(each, encoder, teacher.spec.digest, before + number)
                for each, teacher in zip(network.apart(), teachers, strict=True)
            ]
            made = read_with(made, prices, weights, clean, read, should_stop)
        return InvariantResult(made, left_out, len(frames))
    return None


def _check_start(
    start: Sequence[InvariantQuantizer],
    teachers: Sequence[Codebook | SmoothedCodebook],
    encoder: EncoderSpec,
    shape: HeadConfig,
) -> None:
    sizes, wanted = [each.num_units for each in start], [each.num_units for each in teachers]
    if sizes != wanted:
        raise UserError(f"the quantizers to start from have {sizes} units, the teachers {wanted}; give one for each")
    if len({each.network for each in start}) > 1:
        raise UserError("the quantizers to start from were not trained together; give those of one training")
    start[0].check(encoder, "what training starts from")
    if start[0].spec.head != shape:
        raise UserError(
            f"the quantizers to start from are {start[0].spec.head}, and {shape} is asked for; ask for theirs"
        )


def _numbers(config: InvariantConfig, setting: str, teachers: int) -> tuple[Any, ...]:
    numbers = each_of(getattr(config, setting), teachers)
    if len(numbers) != teachers:
        raise UserError(
            f"{setting} has {len(numbers)} numbers and there are {teachers} teachers; give one number, or one for each"
        )
    return numbers


def _smoothings(teachers: Sequence[Codebook | SmoothedCodebook]) -> list[Smoothing]:
    return [each.spec.smoothing if isinstance(each, SmoothedCodebook) else Smoothing() for each in teachers]


def _fitting(
    versions: Sequence[Sequence[str]], targets: Sequence[Sequence[NDArray[np.int32]]], frames: Mapping[str, int]
) -> tuple[list[list[tuple[str, int]]], list[int]]:
    """Of each item the versions with enough frames for its targets, and which items have any.

    Deduplicated units need no blanks between them: CTC takes as many as there are frames.
    """
    fitting = []
    for item, names in enumerate(versions):
        count = max(len(deduplicate(said[item])[0]) for said in targets)
        fitting.append([(name, frames[name]) for name in names if count and frames[name] >= count])
    return fitting, [item for item, each in enumerate(fitting) if each]


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


def _loop(config: InvariantConfig, steps: int, seed: int, groups: int) -> TrainingConfig:
    return TrainingConfig(
        steps=steps,
        learning_rates=(config.learning_rate, config.upper_rate)[:groups],
        warmup_steps=max(1, int(config.warmup_share * steps)),
        average_decay=0.99,
        precision=config.precision,
        log_every=max(1, steps // 10),
        evaluate_every=steps,
        save_every=max(1, steps // 4),
        keep_checkpoints=1,
        seed=seed,
    )
