"""The encoder in standard units and the first segments: the work of stage 4."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.arrays import write_arrays
from speechkit.pipeline import Context

if TYPE_CHECKING:
    from recipes.sylber.config import SeedsConfig

Float = NDArray[np.float32]
Spans = NDArray[np.int64]
HOP = 320
MEASURED_ITEMS = 60
"""Recordings, equally spaced in the manifest, from which the duration penalty is found."""


def make_seeds(context: Context) -> None:
    """Write the encoder, cut and in standard units, and the spans of every training and held-out recording."""
    from speechkit.encoders import load_encoder
    from speechkit.encoders.pretraining.batches import WaveformBatches, read_waveform
    from speechkit.syllables.syllable_encoder import SyllableEncoder

    config: SeedsConfig = context.config
    rows = [(row, Path(context.inputs["train_manifest"])) for row in context.read("train")]
    trained = len(rows)
    encoder = SyllableEncoder(encoder_folder(config.encoder), config.layers).to(context.device)
    batches = WaveformBatches(
        [row for row, _ in rows], Path(context.inputs["train_manifest"]), 40.0, 10.0, context.seed % 2**32
    )
    encoder.standardise(batches(number) for number in range(config.standardising_batches))
    folder = context.output("encoder")
    encoder.save(folder)
    rows += [(row, Path(context.inputs["dev_manifest"])) for row in context.read("dev")]

    frames_of: Callable[[Float], Float]
    if config.segmenter == "dynamic":
        frames_of = load_encoder(str(folder), device=context.device).encode
    else:
        frames_of = level_curve

    def heard(chosen: list[tuple[Utterance, Path]]) -> Iterator[tuple[Float, Spans]]:
        for row, manifest in chosen:
            waveform = read_waveform(row, manifest)
            yield frames_of(waveform), speech_runs(waveform, config.silence_db, config.silence_frames)

    segmenter = seed_segmenter(config, heard(rows[: trained : max(1, trained // MEASURED_ITEMS)]))
    spans, ends, count = [np.zeros((0, 2), np.int64)], [], 0
    for done, (frames, runs) in enumerate(heard(rows), 1):
        found = cut_runs(frames, runs, segmenter)
        spans.append(found)
        count += len(found)
        ends.append(count)
        context.progress.update(done, len(rows))
    if not count:
        raise UserError("the recordings hold no speech; raise seeds.silence_db")
    every = np.concatenate(spans)
    context.say(f"{count} first segments of {np.diff(every, axis=1).mean() / 50:.3f} s on average")
    write_arrays(
        context.output("segments.safetensors"),
        {"spans": every, "ends": np.array(ends, np.int64), "trained": np.array([trained], np.int64)},
    )


def encoder_folder(name: str) -> str:
    """The folder that ``embedded`` stands for, any other name as it is."""
    from speechkit.encoders.load import SMALL

    return str(SMALL) if name == "embedded" else name


def seed_segmenter(config: SeedsConfig, measured: Iterator[tuple[Float, Spans]]) -> Any:
    """The segmenter of stretches of speech; ``dynamic`` gets the penalty that gives the syllable rate."""
    from speechkit.syllables.dynamic import penalty_for_rate
    from speechkit.syllables.segments import make_segmenter

    if config.segmenter == "envelope":
        return make_segmenter("peaks", valleys=True, prominence=0.3)
    stretches = [frames[start:end] for frames, runs in measured for start, end in runs]
    penalty = penalty_for_rate(stretches, config.rate, shortest=config.shortest, longest=config.longest)
    return make_segmenter("dynamic", penalty=penalty, shortest=config.shortest, longest=config.longest)


def cut_runs(frames: Float, runs: Spans, segmenter: Any) -> Spans:
    """Segments (n, 2) of the stretches of speech of a recording."""
    found = [np.zeros((0, 2), np.int64)]
    for start, end in runs:
        if start < min(end, len(frames)):
            found.append(start + segmenter.segment(frames[start:end]))
    return np.concatenate(found)


def frame_levels(waveform: Float) -> NDArray[np.float64]:
    """Level in dB of each frame of 20 ms: (S,) to (S // 320,)."""
    frames = waveform[: len(waveform) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    return np.asarray(10 * np.log10((frames**2).mean(axis=1) + 1e-10))


def level_curve(waveform: Float) -> Float:
    """The level as frames (T, 1) of one dimension above zero, whose norm it is."""
    levels = frame_levels(waveform)
    return np.asarray(levels[:, None] + 100.0, np.float32)


def speech_runs(waveform: Float, silence_db: float, silence_frames: int) -> Spans:
    """Stretches (n, 2) of frames within ``silence_db`` of the recording's loud ones, short silences filled."""
    levels = frame_levels(waveform)
    if not len(levels):
        return np.zeros((0, 2), np.int64)
    loud = levels >= np.quantile(levels, 0.95) - silence_db
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(np.int8))).reshape(-1, 2)
    merged: list[list[int]] = []
    for start, end in edges.tolist():
        if merged and start - merged[-1][1] < silence_frames:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    return np.array(merged, np.int64).reshape(-1, 2)
