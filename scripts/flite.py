"""Synthesise sentences with the program flite, with pitch and tempo derived from the sentence number."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

from speechkit.errors import UserError

VOICES = ("slt", "rms", "awb", "kal16")


def flite_program() -> str:
    """Path of the flite program.

    Raises:
        UserError: if it is not installed.
    """
    program = shutil.which("flite")
    if program is None:
        raise UserError("the flite program is not installed; install it (apt install flite), or do without its speech")
    return program


def say(program: str, text: str, number: int, path: Path, voices: tuple[str, ...] = VOICES) -> str:
    """Write the sentence as a WAV file; returns the voice, derived from ``number`` like pitch and tempo."""
    generator = random.Random(number)
    voice = generator.choice(voices)
    tempo = f"duration_stretch={generator.uniform(0.85, 1.15):.2f}"
    pitch = f"int_f0_target_mean={generator.uniform(80, 220):.0f}"
    settings = ["--setf", tempo, "--setf", pitch, "-t", text, "-o", str(path)]
    subprocess.run([program, "-voice", voice, *settings], check=True)
    return voice
