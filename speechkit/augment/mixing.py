"""Noisy training input: noise, rooms and second speakers mixed into clean speech. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from speechkit.augment.waveforms import AugmentConfig, augment_waveform, is_silent
from speechkit.data.audio import WAVEFORM_RATE, read_waveform
from speechkit.data.manifest import read_manifest
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.io.arrays import Float


class MixingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often (shares of utterances) and how loudly.

    Attributes:
        augment: noise, room and gain; speed must be 0, since targets are frame-wise.
        speaker: share of utterances with another one of the batch mixed into their first or last part.
        speaker_db: level of the speech above the other.
        speaker_silent: largest share of the utterance without the other.
    """

    augment: AugmentConfig = AugmentConfig(speed=0.0, room=0.05, noise=0.2, noise_db=(3.0, 20.0), gain_db=(0.0, 0.0))
    speaker: float = 0.1
    speaker_db: tuple[float, float] = (5.0, 15.0)
    speaker_silent: float = 0.7

    def __post_init__(self) -> None:
        if self.augment.speed:
            raise ConfigError("mixing.augment.speed must be 0; the targets have unchanged timing")


NO_MIXING = MixingConfig(augment=AugmentConfig(speed=0.0, room=0.0, noise=0.0, gain_db=(0.0, 0.0)), speaker=0.0)


def add_speaker(waveform: Float, other: Float, level_db: float, silent: float, at_end: bool) -> Float:
    """Mix another speaker in, ``level_db`` below, except in a share ``silent`` at the other end."""
    begin = int(silent * len(waveform))
    length = len(waveform) - begin
    power, other_power = float(np.mean(waveform**2)), float(np.mean(other**2))
    if not length or not power or not other_power:
        return waveform
    scale = np.sqrt(power / other_power) * 10 ** (-level_db / 20)
    second: Float = np.resize(other, length) * np.float32(scale)
    mixed: Float = waveform.copy()
    mixed[begin if at_end else 0 :][:length] += second
    return mixed


def mix(
    waveforms: Sequence[Float], config: MixingConfig, generator: np.random.Generator, noises: Sequence[Float] = ()
) -> list[Float]:
    """Augment each waveform (samples,) without changing its length; second speakers come from the same batch.

    Source: Chen et al. 2022 (WavLM), utterance mixing.
    """
    augmented = []
    for index, waveform in enumerate(waveforms):
        mixed = waveform
        if len(waveforms) > 1 and generator.random() < config.speaker:
            other = int(generator.integers(len(waveforms) - 1))
            mixed = add_speaker(
                waveform,
                waveforms[other + (other >= index)],
                generator.uniform(*config.speaker_db),
                generator.uniform(0, config.speaker_silent),
                bool(generator.random() < 0.5),
            )
        augmented.append(augment_waveform(mixed, config.augment, generator, noises))
    return augmented


def recorded_noises(manifest: Path, sample_rate: int = WAVEFORM_RATE) -> list[Float]:
    """The recordings of a manifest of noise, at most a minute of each, at a sample rate.

    Raises:
        UserError: if the manifest is empty.
        AudioError: if a recording cannot be read, or is silent, naming it.
    """
    noises = []
    for row in read_manifest(manifest):
        noise = read_waveform(row, manifest, num_samples=60 * row.sample_rate, sample_rate=sample_rate)
        if is_silent(noise):
            raise AudioError(f"{manifest}: {row.id!r} is silent or not finite and cannot serve as noise; remove it")
        noises.append(noise)
    if not noises:
        raise UserError(
            f"{manifest}: has no rows; give recordings of noise, or leave noise_manifest out for white noise only"
        )
    return noises
