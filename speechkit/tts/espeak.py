"""The program espeak-ng: phonemes and phone names of texts, and its own formant voice."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechkit.errors import UserError
from speechkit.tts.speech import Speech, UnspeakableError

RATE = 16_000
WORDS_PER_MINUTE = 160
SPEEDS = (80, 450)
"""Words per minute that espeak-ng speaks; others it would silently clip to this range."""
ESPEAK_VOICE = r"^[A-Za-z0-9][A-Za-z0-9+_-]*$"
"""Plain names only: espeak-ng would read any path as a voice file."""


class EspeakVoice:
    """US English formant synthesis; the same text gives the same samples.

    Raises:
        UserError: if espeak-ng is not installed.
    """

    name, lang, rate = "espeak", "en-us", RATE

    def __init__(self) -> None:
        self._program = espeak_program()

    def say(
        self,
        text: str,
        *,
        speaker: Path | str | None = None,
        seconds: float | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> Speech:
        """Speak a sentence, at 16 kHz; ``seed`` has no effect.

        Raises:
            UnspeakableError: if nothing in the text can be spoken.
            UserError: if a speaker or a duration is given, which espeak-ng does not take, the speed is out of its
                range, or the program fails.
        """
        from speechkit.io.audio import read_audio

        if speaker is not None or seconds is not None:
            raise UserError(
                "the voice espeak takes no speaker and no duration; leave them out, or choose another voice"
            )
        words_per_minute = round(WORDS_PER_MINUTE * speed)
        if not SPEEDS[0] <= words_per_minute <= SPEEDS[1]:
            least, most = (each / WORDS_PER_MINUTE for each in SPEEDS)
            raise UserError(f"speed is {speed:g}; the voice espeak takes {least:g} to {most:.2f}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            command = [self._program, "-v", self.lang, "-s", str(words_per_minute), "-w", str(path), "--stdin"]
            process = subprocess.run(command, input=text.encode(), capture_output=True)
            if process.returncode:
                raise UserError(f"espeak-ng failed: {process.stderr.decode(errors='replace').strip()[:200]}")
            waveform = read_audio(path, sample_rate=RATE) if path.exists() else np.zeros(0, np.float32)
        if not len(waveform) or not np.abs(waveform).max():
            raise UnspeakableError(f"{text[:60]!r}: holds nothing that espeak-ng can speak; give words of {self.lang}")
        return Speech(np.clip(waveform, -1.0, 1.0), RATE)


def espeak_program() -> str:
    """Path of espeak-ng.

    Raises:
        UserError: if it is not installed.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise UserError("the program espeak-ng is not installed; install it (apt install espeak-ng)")
    return program


def phonemize(clauses: Sequence[str], lang: str, program: str, form: Sequence[str] = ("--ipa",)) -> list[str]:
    """Phonemes with stress of each clause, in IPA or in the notation that the options ``form`` select.

    All clauses go through one process, unless espeak-ng splits or merges lines.

    Raises:
        UserError: if espeak-ng fails, as for an unknown language, or ``lang`` is not a plain name.
    """
    if not re.match(ESPEAK_VOICE, lang):
        raise UserError(f"{lang[:60]!r} is no voice of espeak-ng; give the name of one, such as en-us")
    if not clauses:
        return []

    def lines(texts: Sequence[str]) -> list[str]:
        command = [program, "-q", "-b", "1", *form, "-v", lang]
        # The full stop ends the clause even where the line break would not.
        process = subprocess.run(command, input="".join(f"{text}.\n" for text in texts).encode(), capture_output=True)
        if process.returncode:
            raise UserError(f"espeak-ng -v {lang} failed: {process.stderr.decode(errors='replace').strip()[:200]}")
        return [line.strip() for line in process.stdout.decode(errors="replace").splitlines() if line.strip()]

    phonemes = lines(clauses)
    if len(phonemes) == len(clauses):
        return phonemes
    return [" ".join(lines([clause])) for clause in clauses]


def phone_names(texts: list[str], lang: str = "en-us") -> list[tuple[str, ...]]:
    """Phones of each text by espeak-ng's names, stress marks before vowels, "_" between words.

    Raises:
        UserError: if espeak-ng is not installed, fails, or returns another number of lines.
    """
    lines = phonemize(texts, lang, espeak_program(), ("-x", "--sep=_"))
    if len(lines) != len(texts):
        raise UserError(f"espeak-ng returned {len(lines)} lines for {len(texts)} texts; leave out empty ones")
    names = []
    for line in lines:
        words = [[phone for phone in word.split("_") if phone.strip("':,;|")] for word in line.split()]
        phones: list[str] = []
        for word in filter(None, words):
            phones += [*(["_"] if phones else []), *word]
        names.append(tuple(phones))
    return names


def espeak_version() -> str:
    """Version of the installed espeak-ng.

    Raises:
        UserError: if it is not installed.
    """
    process = subprocess.run([espeak_program(), "--version"], capture_output=True)
    return process.stdout.decode(errors="replace").partition("Data at")[0].strip()
