"""The program espeak-ng: phonemes and phone names of texts, and its own voice for tests that want a second one."""

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
WORDS_A_MINUTE = 160
ESPEAK_VOICE = r"^[A-Za-z0-9][A-Za-z0-9+_-]*$"
"""A name: with a path espeak-ng would read any file as a voice."""


class EspeakVoice:
    """US English by formants; the same text gives the same samples.

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
        """The sentence at 16 kHz; ``seed`` changes nothing.

        Raises:
            UnspeakableError: if nothing of the text can be spoken.
            UserError: if a speaker or a length is given, which it cannot take, or the program fails.
        """
        from speechkit.io.audio import read_audio

        if speaker is not None or seconds is not None:
            raise UserError("espeak: takes no speaker and no length; leave them out, or choose another voice")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            pace = str(min(450, max(80, round(WORDS_A_MINUTE * speed))))
            command = [self._program, "-v", self.lang, "-s", pace, "-w", str(path), "--stdin"]
            done = subprocess.run(command, input=text.encode(), capture_output=True)
            if done.returncode:
                raise UserError(f"espeak-ng failed: {done.stderr.decode(errors='replace').strip()[:200]}")
            waveform = read_audio(path, sample_rate=RATE) if path.exists() else np.zeros(0, np.float32)
        if not len(waveform) or not np.abs(waveform).max():
            raise UnspeakableError(f"{text[:60]!r}: holds nothing that espeak can speak; give words of {self.lang}")
        return Speech(np.clip(waveform, -1.0, 1.0), RATE)


def espeak_program() -> str:
    """Where espeak-ng is.

    Raises:
        UserError: if it is not installed.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise UserError("the program espeak-ng is not installed; install it (apt install espeak-ng)")
    return program


def phonemize(clauses: Sequence[str], lang: str, program: str, form: Sequence[str] = ("--ipa",)) -> list[str]:
    """The phonemes of each clause with stress, in IPA or the ``form`` of espeak-ng's options.

    One call of it says all clauses where it keeps lines apart.

    Raises:
        UserError: if espeak-ng fails, which it does for languages that it has not, or ``lang`` is no name.
    """
    if not re.match(ESPEAK_VOICE, lang):
        raise UserError(f"{lang[:60]!r} is no voice of espeak-ng; give the name of one, as en-us")
    if not clauses:
        return []

    def lines(given: Sequence[str]) -> list[str]:
        command = [program, "-q", "-b", "1", *form, "-v", lang]
        # A full stop ends a clause wherever the line would not.
        done = subprocess.run(command, input="".join(f"{each}.\n" for each in given).encode(), capture_output=True)
        if done.returncode:
            raise UserError(f"espeak-ng -v {lang} failed: {done.stderr.decode(errors='replace').strip()[:200]}")
        return [line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]

    phonemes = lines(clauses)
    if len(phonemes) == len(clauses):
        return phonemes
    return [" ".join(lines([clause])) for clause in clauses]


def phone_names(texts: list[str], lang: str = "en-us") -> list[tuple[str, ...]]:
    """The phones of each text by espeak-ng's own names, stress before its vowel, "_" between words.

    Raises:
        UserError: if espeak-ng is not installed, fails, or gives other lines than it was given.
    """
    lines = phonemize(texts, lang, espeak_program(), ("-x", "--sep=_"))
    if len(lines) != len(texts):
        raise UserError(f"espeak-ng gave {len(lines)} lines for {len(texts)} texts; leave out empty ones")
    found = []
    for line in lines:
        words = [[phone for phone in word.split("_") if phone.strip("':,;|")] for word in line.split()]
        phones: list[str] = []
        for word in filter(None, words):
            phones += [*(["_"] if phones else []), *word]
        found.append(tuple(phones))
    return found


def espeak_version() -> str:
    """What says which espeak-ng speaks.

    Raises:
        UserError: if it is not installed.
    """
    done = subprocess.run([espeak_program(), "--version"], capture_output=True)
    return done.stdout.decode(errors="replace").partition("Data at")[0].strip()
