"""The two stages of training: the work of stages 5 and 6; heavy libraries load when it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import AudioError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import Context, Interrupted
from speechkit.pipeline.manifests import manifest_of
from speechkit.pipeline.processes import is_first, process_count, run_together

from .seeds import ABOVE_ZERO, Seeds

if TYPE_CHECKING:
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.syllables.self_distillation import SelfSegmentation

CLEARLY_APART = 2.0
"""Deviations between the norms of speech and silence, from which on the norm alone tells them apart."""
MERGE_SPREAD = 0.05
"""Around the cosine that gives the syllable rate."""


def train_first(context: Context) -> None:
    """Learn the means of the first segments of the encoder to begin with."""
    run_together(_train_first, context, process_count(context.config.processes, context.device))


def _train_first(context: Context) -> None:
    from speechkit.syllables.self_distillation import SelfSegmentation
    from speechkit.syllables.syllable_encoder import SyllableEncoder

    config = context.config
    folder = context.inputs["encoder"]
    seeds = msgspec.json.decode(context.inputs["seeds"].read_bytes(), type=Seeds)
    student, teacher = SyllableEncoder(folder, train_front=config.train_front), SyllableEncoder(folder)

    def objective(name: str) -> SelfSegmentation:
        return SelfSegmentation(
            student,
            teacher,
            **seeds.settings(list(context.read(name)), manifest_of(context.inputs, f"{name}_manifest")),
            mixing=config.mixing,
            noises=recorded_noises(context),
            seed=config.loop.seed,
        )

    _train(context, objective)


def train_second(context: Context) -> None:
    """Learn from the student of stage 1, cut while training with a cosine that changes from batch to batch."""
    seeds = msgspec.json.decode(context.inputs["seeds"].read_bytes(), type=Seeds)
    cutting = teacher_cutting(context, seeds)
    work = partial(_train_second, seeds, cutting)
    run_together(work, context, process_count(context.config.processes, context.device))
    write_json(context.output("teacher.json"), cutting)


def _train_second(seeds: Seeds, cutting: Cutting, context: Context) -> None:
    from speechkit.syllables.segments import Segmenter, make_segmenter
    from speechkit.syllables.self_distillation import SelfSegmentation
    from speechkit.syllables.syllable_encoder import SyllableEncoder

    config = context.config
    folder = context.inputs["model"]
    student, teacher = SyllableEncoder(folder, train_front=config.train_front), SyllableEncoder(folder)

    def online(merge: float) -> Segmenter:
        return make_segmenter("greedy", norm=cutting.norm, merge=merge)

    def objective(_: str) -> SelfSegmentation:
        return SelfSegmentation(
            student,
            teacher,
            online=online,
            speech=None if cutting.silence_by == "norm" else seeds.speech_runs,
            merge_range=cutting.merge_range,
            mixing=config.mixing,
            noises=recorded_noises(context),
            seed=config.loop.seed,
        )

    _train(context, objective)


class Cutting(msgspec.Struct, frozen=True):
    """How the teacher of stage 2 is cut.

    Attributes:
        norm: a frame of at least this norm is speech.
        separation: of the norms of speech and silence, in deviations.
        silence_by: ``norm``; or ``loudness`` where the norms overlap, as those of a teacher that learnt little.
        merge_range: cosines that are drawn from.
    """

    norm: float
    separation: float
    silence_by: str
    merge_range: tuple[float, float]


def teacher_cutting(context: Context, seeds: Seeds) -> Cutting:
    """Measured before training, on the same recordings in every run, so that a resumed run cuts alike."""
    from speechkit.data.audio import read_waveform
    from speechkit.encoders import load_encoder
    from speechkit.syllables.norms import frame_norms
    from speechkit.syllables.thresholds import estimate_thresholds
    from speechkit.syllables.two_gaussians import fit_two_gaussians

    config = context.config
    rows = list(context.read("train"))
    manifest = manifest_of(context.inputs, "train_manifest")
    encoder = load_encoder(str(context.inputs["model"]), device=context.device)
    waveforms = [read_waveform(row, manifest) for row in rows[:: max(1, len(rows) // config.measured_items)]]
    tables = [encoder.encode(waveform) for waveform in waveforms]
    kinds = fit_two_gaussians(np.concatenate([frame_norms(table) for table in tables]), "norms of frames")
    by_norm = kinds.separation >= CLEARLY_APART
    if not by_norm:
        for table, waveform in zip(tables, waveforms, strict=True):
            silent = np.ones(len(table), bool)
            for start, end in seeds.speech_runs(waveform):
                silent[start:end] = False
            table[silent] = 0
    norm = kinds.crossing if by_norm else ABOVE_ZERO
    merges = config.merge_range
    if merges is None:
        merge = estimate_thresholds(tables, encoder.spec, rate=config.rate).merge
        # A segmenter refuses what is no cosine, and would do so in the middle of the training.
        merges = (max(merge - MERGE_SPREAD, -1.0), min(merge + MERGE_SPREAD, 1.0))
    context.say(
        f"silence by {'norm' if by_norm else 'loudness'} ({kinds.separation:.1f} deviations apart), "
        f"segments merged from a cosine of {merges[0]:.2f} to {merges[1]:.2f}"
    )
    return Cutting(norm, kinds.separation, "norm" if by_norm else "loudness", merges)


def training_batches(context: Context, name: str) -> WaveformBatches:
    """Clean crops of a part of the prepared recordings."""
    from speechkit.encoders.pretraining.batches import WaveformBatches

    config = context.config
    rows = list(context.read(name))
    manifest = manifest_of(context.inputs, f"{name}_manifest")
    return WaveformBatches(rows, manifest, config.batch_seconds, config.crop_seconds, config.loop.seed)


def recorded_noises(context: Context) -> list[NDArray[np.float32]]:
    """The recordings of ``noise_manifest``, at most a minute of each.

    Raises:
        UserError: if the manifest is empty.
        AudioError: if a recording cannot be read, or is silent, naming it.
    """
    from speechkit.augment.waveforms import is_silent
    from speechkit.data.audio import read_waveform
    from speechkit.data.manifest import read_manifest

    if "noise_manifest" not in context.inputs:
        return []
    manifest = Path(context.inputs["noise_manifest"])
    noises = []
    for row in read_manifest(manifest):
        noise = read_waveform(row, manifest, num_samples=60 * row.sample_rate)
        if is_silent(noise):
            raise AudioError(
                f"{manifest}: {row.id!r} is silent or not finite, and would change nothing as noise; take it out"
            )
        noises.append(noise)
    if not noises:
        raise UserError(f"{manifest}: holds no noise; give some, or leave noise_manifest out for white noise alone")
    return noises


def _train(context: Context, objective_of: Callable[[str], SelfSegmentation]) -> None:
    """Train the objective of ``train``, watched by that of ``dev``, which has the same networks."""
    import torch

    from speechkit.runtime import seed_everything
    from speechkit.training import train

    config = context.config
    seed_everything(context.seed)
    objective, judge = objective_of("train"), objective_of("dev")
    batches, judging = training_batches(context, "train"), training_batches(context, "dev")
    judged = [judge.prepare(judging(number), number) for number in range(config.judged_batches)]

    def evaluate(network: Any) -> dict[str, float]:
        sums: dict[str, float] = {}
        device = next(network.parameters()).device
        with torch.no_grad():
            for batch in judged:
                loss, values = judge.loss(network, {name: value.to(device) for name, value in batch.items()})
                for name, value in {"loss": float(loss), **values}.items():
                    sums[f"dev_{name}"] = sums.get(f"dev_{name}", 0.0) + value / len(judged)
        return sums

    if not objective.groups()[0]:
        raise UserError("nothing of the encoder learns; keep at least one layer")
    done = train(
        objective.network,
        objective.groups(),
        lambda number: objective.prepare(batches(number), number),
        objective.loss,
        config.loop,
        context.scratch,
        evaluate=evaluate if judged else None,
        should_stop=lambda: context.interrupted,
        device=context.device,
        tensorboard=config.tensorboard,
        log=context.say,
    )
    if not done:
        raise Interrupted
    if not is_first():
        return
    shutil.copy(context.scratch / "metrics.jsonl", context.output("metrics.jsonl"))
    objective.save(context.output("model"))
