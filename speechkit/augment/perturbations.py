"""Perturbations of recordings; the parameters depend only on the id, so that every run has the same ones.

Source: Gat et al. 2023, Augmentation invariant discrete representation for generative spoken language modeling (time,
pitch, room, noise). Speaker and telephone are additions; ``shift`` and ``gain`` are inaudible and measure the floor
below which differences are meaningless. The kinds in `FOREIGN` are further implementations of the same changes, so
that training and evaluation can use different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.augment import foreign
from speechkit.augment.rooms import RoomConfig, draw_response
from speechkit.augment.time_scale import change_speaker, shift_pitch, stretch
from speechkit.augment.waveforms import add_noise, audible_segment, is_silent
from speechkit.errors import AudioError, ConfigError
from speechkit.io.arrays import Float
from speechkit.runtime import item_seed

Perturbation = Literal[
    "time", "pitch", "room", "noise", "speaker", "telephone", "shift", "gain",
    "time_librosa", "time_ffmpeg", "pitch_librosa", "pitch_ffmpeg", "noise_made", "room_recorded",
]  # fmt: skip
EVERY: tuple[Perturbation, ...] = get_args(Perturbation)
KINDS = EVERY[:8]
FOREIGN = EVERY[8:]
"""Further implementations of changes among `KINDS`."""
CONTROLS: tuple[Perturbation, ...] = ("shift", "gain")
AUDIBLE: tuple[Perturbation, ...] = tuple(kind for kind in KINDS if kind not in CONTROLS)
CLEAN = "clean"
"""The kind of unchanged audio."""
SAMPLE_RATE = 16_000
TELEPHONE_RATE = 8_000
MU = 255.0
NOISE_LOWEST = 50.0
"""Frequency in hertz below which synthetic noise is flat."""
NOISE_OCTAVES = 8
"""From there to above the highest frequency."""


class PerturbationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strength of each perturbation; values are drawn uniformly from ranges.

    Attributes:
        time: factors of speed.
        pitch: semitones.
        room: rooms and reverberation times.
        noise: signal-to-noise ratios in decibels.
        formants: factors of formant frequencies, log-uniform.
        voice: F0 shift in semitones that accompanies the formant shift.
        telephone: edges of the band in hertz.
        shift: samples.
        gain: decibels, positive or negative.
    """

    time: tuple[float, float] = (0.8, 1.2)
    pitch: tuple[float, float] = (-4.0, 4.0)
    room: RoomConfig = RoomConfig()
    noise: tuple[float, float] = (5.0, 15.0)
    formants: tuple[float, float] = (0.87, 1.15)
    voice: tuple[float, float] = (-3.0, 3.0)
    telephone: tuple[float, float] = (300.0, 3400.0)
    shift: int = 1
    gain: float = 0.1

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}: the lower bound must not exceed the upper"
            for name in ("time", "pitch", "noise", "formants", "voice", "telephone")
            if getattr(self, name)[0] > getattr(self, name)[1]
        ]
        wrong += [
            f"{name} is {getattr(self, name)}: factors lie between 0.25 and 4"
            for name in ("time", "formants")
            if not (getattr(self, name)[0] >= 0.25 and getattr(self, name)[1] <= 4)
        ]
        if not 0 < self.telephone[0] < self.telephone[1] < TELEPHONE_RATE / 2:
            wrong.append(f"telephone is {self.telephone}: a band above 0 and below {TELEPHONE_RATE // 2} Hz")
        if self.shift < 0:
            wrong.append(f"shift is {self.shift}: samples are not negative")
        if wrong:
            raise ConfigError("; ".join(wrong))


Draw = Callable[[Float, PerturbationConfig, np.random.Generator, Sequence[Float]], Float]


def perturb(
    waveform: NDArray[np.floating[Any]],
    kind: Perturbation,
    item: str,
    *,
    config: PerturbationConfig | None = None,
    noises: Sequence[Float] = (),
    rooms: Sequence[Float] = (),
    seed: int = 0,
) -> Float:
    """A recording (S,) at 16 kHz under one perturbation.

    Random parameters depend only on seed, kind and item id. Only ``time`` and its further implementations change the
    length.

    Args:
        waveform: float in [-1, 1].
        kind: one of `EVERY`.
        item: id of the recording, which seeds the parameters.
        config: strengths.
        noises: recordings at 16 kHz to mix in; if empty, noise of varying colour and loudness is synthesised.
        rooms: recorded impulse responses at 16 kHz, for ``room_recorded``.
        seed: of all random parameters.

    Raises:
        ConfigError: if there is no such kind, or no recorded room for it.
        MissingExtraError: if the kind needs a program or library that is not installed.
        AudioError: if the waveform is not one channel, or holds NaN or infinity; or the drawn noise is silent.
    """
    if kind not in _DRAWS:
        raise ConfigError(f"{kind!r} unknown perturbation; choose from {', '.join(EVERY)}")
    if kind == "room_recorded" and not len(rooms):
        raise ConfigError("room_recorded needs recorded rooms; give a folder of impulse responses, or leave it out")
    samples = np.asarray(waveform, np.float32)
    if samples.ndim != 1:
        raise AudioError(f"{item}: shape {samples.shape}; a perturbation takes one channel, shape (samples,)")
    if not np.isfinite(samples).all():
        raise AudioError(f"{item}: has NaN or infinite samples; fix or remove the recording")
    if not len(samples):
        return samples
    generator = np.random.default_rng(item_seed(seed, f"{kind} {item}"))
    try:
        given = rooms if kind == "room_recorded" else noises
        return _DRAWS[kind](samples, config or PerturbationConfig(), generator, given)
    except AudioError as error:
        raise AudioError(f"{item}: {error}") from error


def telephone(waveform: Float, band: tuple[float, float]) -> Float:
    """A line of 8 kHz, its band, and the companding of G.711 (mu-law, 8 bits)."""
    import soxr
    from scipy.signal import butter, sosfiltfilt

    narrow = np.asarray(soxr.resample(waveform, SAMPLE_RATE, TELEPHONE_RATE, quality="HQ"), np.float64)
    if len(narrow) > 32:  # the filter needs some samples of padding
        narrow = sosfiltfilt(butter(4, band, "bandpass", fs=TELEPHONE_RATE, output="sos"), narrow)
    clipped = np.clip(narrow, -1, 1)
    companded = np.sign(clipped) * np.log1p(MU * np.abs(clipped)) / np.log1p(MU)
    steps = np.round((companded + 1) / 2 * MU) / MU * 2 - 1
    expanded = np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(MU)) / MU
    wide = np.asarray(soxr.resample(expanded, TELEPHONE_RATE, SAMPLE_RATE, quality="HQ"), np.float32)
    return np.pad(wide[: len(waveform)], (0, max(0, len(waveform) - len(wide))))


def made_noise(samples: int, generator: np.random.Generator, sample_rate: int = SAMPLE_RATE) -> Float:
    """Noise with a random spectral slope, random resonances and varying loudness.

    The power of recorded noise is between flat (hiss) and falling with the cube of frequency (rumble); resonances
    differ, and loudness rarely stays constant for a second.
    """
    frequencies = np.maximum(np.fft.rfftfreq(samples, 1 / sample_rate), NOISE_LOWEST)
    slope = generator.uniform(0.0, 1.5)  # of amplitude: 0 is white, 1/2 pink, 1 brown
    octaves = np.log2(frequencies / NOISE_LOWEST)
    humps = np.interp(octaves, np.arange(NOISE_OCTAVES + 1), generator.uniform(-10, 10, NOISE_OCTAVES + 1))
    lines = generator.standard_normal(len(frequencies)) + 1j * generator.standard_normal(len(frequencies))
    noise = np.fft.irfft(lines * 10 ** (humps / 20) / frequencies**slope, samples)
    knots = max(2, round(samples / sample_rate * generator.uniform(1.0, 6.0)) + 1)
    decibels = np.interp(np.linspace(0, knots - 1, samples), np.arange(knots), generator.uniform(-10, 10, knots))
    return np.asarray(noise * 10 ** (decibels / 20), np.float32)


def reverberate(waveform: Float, response: Float) -> Float:
    """The recording in a room, as long and as loud as before."""
    from scipy.signal import fftconvolve

    wet = np.asarray(fftconvolve(waveform, response)[: len(waveform)], np.float32)
    before, after = float(np.mean(waveform**2)), float(np.mean(wet**2))
    return np.asarray(wet * np.float32(np.sqrt(before / after)), np.float32) if after > 0 else wet


def _time(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Sequence[Float]) -> Float:
    return stretch(samples, generator.uniform(*config.time))


def _pitch(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Sequence[Float]) -> Float:
    return shift_pitch(samples, generator.uniform(*config.pitch))


def _room(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Sequence[Float]) -> Float:
    return reverberate(samples, draw_response(generator, config.room))


def _noise(
    samples: Float, config: PerturbationConfig, generator: np.random.Generator, noises: Sequence[Float]
) -> Float:
    ratio = generator.uniform(*config.noise)
    if not len(noises):
        return add_noise(samples, made_noise(len(samples), generator), ratio)
    number = int(generator.integers(len(noises)))
    if is_silent(noises[number]):
        raise AudioError(f"noise {number + 1} of {len(noises)} is silent or not finite; remove it")
    return add_noise(samples, audible_segment(noises[number], len(samples), generator), ratio)


def _time_librosa(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Any) -> Float:
    return foreign.stretch_by_librosa(samples, generator.uniform(*config.time))


def _time_ffmpeg(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Any) -> Float:
    return foreign.stretch_by_ffmpeg(samples, generator.uniform(*config.time))


def _pitch_librosa(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Any) -> Float:
    return foreign.shift_pitch_by_librosa(samples, generator.uniform(*config.pitch))


def _pitch_ffmpeg(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Any) -> Float:
    return foreign.shift_pitch_by_ffmpeg(samples, generator.uniform(*config.pitch))


def _noise_made(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Any) -> Float:
    return _noise(samples, config, generator, ())


def _room_recorded(
    samples: Float, _: PerturbationConfig, generator: np.random.Generator, rooms: Sequence[Float]
) -> Float:
    response = rooms[int(generator.integers(len(rooms)))]
    # What lies before the direct sound is how far away the loudspeaker stood.
    return reverberate(samples, response[int(np.argmax(np.abs(response))) :])


def _speaker(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Sequence[Float]) -> Float:
    formants = float(np.exp(generator.uniform(*np.log(config.formants))))
    return change_speaker(samples, formants, generator.uniform(*config.voice))


def _telephone(samples: Float, config: PerturbationConfig, _: np.random.Generator, __: Sequence[Float]) -> Float:
    return telephone(samples, config.telephone)


def _shift(samples: Float, config: PerturbationConfig, _: np.random.Generator, __: Sequence[Float]) -> Float:
    """Delay by a few samples of silence, which moves only the frame borders."""
    moved: Float = np.concatenate([np.zeros(config.shift, np.float32), samples])
    return moved[: len(samples)]


def _gain(samples: Float, config: PerturbationConfig, generator: np.random.Generator, _: Sequence[Float]) -> Float:
    sign = 1 if generator.random() < 0.5 else -1
    return np.asarray(samples * np.float32(10 ** (sign * config.gain / 20)), np.float32)


_DRAWS: Mapping[Perturbation, Draw] = {
    "time": _time,
    "pitch": _pitch,
    "room": _room,
    "noise": _noise,
    "speaker": _speaker,
    "telephone": _telephone,
    "shift": _shift,
    "gain": _gain,
    "time_librosa": _time_librosa,
    "time_ffmpeg": _time_ffmpeg,
    "pitch_librosa": _pitch_librosa,
    "pitch_ffmpeg": _pitch_ffmpeg,
    "noise_made": _noise_made,
    "room_recorded": _room_recorded,
}
