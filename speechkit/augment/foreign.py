"""Changes of speed and pitch by other programs.

A network may learn the artefacts of one implementation. Training therefore uses two implementations, and evaluation a
third: the phase vocoder of `time_scale`, that of librosa, and ffmpeg, which repeats and skips pieces of the waveform.

Notation used for array shapes: S samples.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import numpy as np

from speechkit.errors import AudioError, MissingExtraError, require
from speechkit.io.arrays import Float

SAMPLE_RATE = 16_000
LEAST_SAMPLES = 2048
"""About the window length of both programs; shorter waveforms are not changed."""


def stretch_by_librosa(waveform: Float, rate: float) -> Float:
    """Change the tempo by a factor ``rate`` at the same pitch, by librosa's phase vocoder: (S,) to (round(S / rate),).

    Raises:
        MissingExtraError: if librosa is not installed.
    """
    librosa: Any = require("librosa")
    if len(waveform) < LEAST_SAMPLES:
        return np.asarray(waveform, np.float32)
    return np.asarray(librosa.effects.time_stretch(waveform, rate=rate), np.float32)


def shift_pitch_by_librosa(waveform: Float, semitones: float) -> Float:
    """Shift the pitch by ``semitones``, by librosa: (S,) to (S,).

    Raises:
        MissingExtraError: if librosa is not installed.
    """
    librosa: Any = require("librosa")
    if len(waveform) < LEAST_SAMPLES:
        return np.asarray(waveform, np.float32)
    return np.asarray(librosa.effects.pitch_shift(waveform, sr=SAMPLE_RATE, n_steps=semitones), np.float32)


def stretch_by_ffmpeg(waveform: Float, rate: float) -> Float:
    """Change the tempo by the factor ``rate`` at constant pitch, by ffmpeg's ``atempo``: (S,) to about S / rate.

    Raises:
        MissingExtraError: if the ffmpeg program is not installed.
        AudioError: if it fails.
    """
    return _filtered(waveform, f"atempo={rate:.6f}")


def shift_pitch_by_ffmpeg(waveform: Float, semitones: float) -> Float:
    """Shift the pitch by ``semitones``, by ffmpeg (resampled, then slowed down): (S,) to (S,).

    Raises:
        MissingExtraError: if the ffmpeg program is not installed.
        AudioError: if it fails.
    """
    factor = 2.0 ** (semitones / 12)
    faster = round(SAMPLE_RATE * factor)
    moved = _filtered(waveform, f"asetrate={faster},aresample={SAMPLE_RATE},atempo={SAMPLE_RATE / faster:.6f}")
    return np.pad(moved[: len(waveform)], (0, max(0, len(waveform) - len(moved))))


def _filtered(waveform: Float, filters: str) -> Float:
    program = shutil.which("ffmpeg")
    if program is None:
        raise MissingExtraError(
            "perturbations by ffmpeg need its program; install ffmpeg, or leave out the kinds that name it"
        )
    samples = np.asarray(waveform, "<f4")
    if len(samples) < LEAST_SAMPLES:
        return samples
    raw = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    command = [program, "-v", "error", *raw, "-i", "pipe:0", "-af", filters, *raw, "pipe:1"]
    done = subprocess.run(command, input=samples.tobytes(), capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise AudioError(f"ffmpeg cannot apply {filters} ({lines[0] if lines else 'no message'}); install a newer one")
    return np.frombuffer(done.stdout, "<f4").astype(np.float32)
