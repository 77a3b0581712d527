"""The two stages of training: the work of stages 5 and 6; heavy libraries load when it runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import AudioError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import Context
from speechkit.pipeline.manifests import manifest_of

from .seeds import ABOVE_ZERO, Seeds

if TYPE_CHECKING:
    from speechkit.encoders.pretraining.batches import WaveformBatches
    from speechkit.training import Objective

CLEARLY_APART = 2.0
"""Deviations between the norms of speech and silence, from which on the norm alone tells them apart."""
MERGE_SPREAD = 0.05
"""Around the cosine that gives the syllable rate."""


def train_first(context: Context) -> None:
    """Learn the means of the first segments of the encoder to begin with."""
    _train(context, _first_objective)


def _first_objective(context: Context) -> Objective:
    seeds = msgspec.json.decode(context.inputs["seeds"].read_bytes(), type=Seeds)

    def stored(name: str) -> dict[str, Any]:
        return seeds.settings(list(context.read(name)), manifest_of(context.inputs, f"{name}_manifest"))

    return _objective(context, context.inputs["encoder"], stored("train"), stored("dev"))


def train_second(context: Context) -> None:
    """Learn from the student of stage 1, cut while training with a cosine that changes from batch to batch."""
    seeds = msgspec.json.decode(context.inputs["seeds"].read_bytes(), type=Seeds)
    cutting = teacher_cutting(context, seeds)
    _train(context, partial(_second_objective, seeds, cutting))
    write_json(context.output("teacher.json"), cutting)


def _second_objective(seeds: Seeds, cutting: Cutting, context: Context) -> Objective:
    from speechkit.syllables.segments import Segmenter, make_segmenter

    def online(merge: float) -> Segmenter:
        return make_segmenter("greedy", norm=cutting.norm, merge=merge)

    speech = None if cutting.silence_by == "norm" else seeds.speech_runs
    segments = {"online": online, "speech": speech, "merge_range": cutting.merge_range}
    return _objective(context, context.inputs["model"], segments, segments)


def _train(context: Context, make_objective: Callable[[Context], Objective]) -> None:
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, make_objective, config.loop, processes=config.processes, tensorboard=config.tensorboard)


def _objective(context: Context, folder: Path, learnt: dict[str, Any], judged: dict[str, Any]) -> Objective:
    """A student that begins as its teacher does, with the segments to learn from and those to judge by."""
    from speechkit.encoders.pretraining.objective import pretraining
    from speechkit.syllables.self_distillation import SelfSegmentation
    from speechkit.syllables.syllable_encoder import SyllableEncoder

    config = context.config
    student, teacher = SyllableEncoder(folder, train_front=config.train_front), SyllableEncoder(folder)
    noises = recorded_noises(context)
    family, judge = (
        SelfSegmentation(student, teacher, **segments, mixing=config.mixing, noises=noises, seed=config.loop.seed)
        for segments in (learnt, judged)
    )
    if not family.groups()[0]:
        raise UserError("nothing of the encoder learns; keep at least one layer")
    batches, judging = training_batches(context, "train"), training_batches(context, "dev")
    return pretraining(family, batches, family.save, judging, config.judged_batches, judge)


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
