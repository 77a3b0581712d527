"""The voice of the program espeak-ng itself: no network, a second synthetic voice for tests that want two."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from speechkit.errors import UserError
from speechkit.tts.piper import espeak_program
from speechkit.tts.speech import Speech, UnspeakableError

RATE = 16_000
WORDS_A_MINUTE = 160


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


def phone_names(texts: list[str], lang: str = "en-us") -> list[tuple[str, ...]]:
    """The phones of each text by espeak-ng's own names, stress before its vowel, "_" between words.

    Raises:
        UserError: if espeak-ng is not installed, fails, or gives other lines than it was given.
    """
    from speechkit.tts.piper import phonemize

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
