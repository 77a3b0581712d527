"""Voices: one interface to all synthesis models, from a text of any length to speech."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from speechkit.errors import UserError, require
from speechkit.io.arrays import Float
from speechkit.text import split_sentences
from speechkit.tts.speech import Speech, UnspeakableError, join_speech

if TYPE_CHECKING:
    from speechkit.tts.text2vec import Text2Vec
    from speechkit.tts.vocoder import Vocoder

PAUSE_SECONDS = 0.25
MAX_CHARACTERS = 240
"""Longer sentences are split at clauses: models were not trained on much longer ones."""

MODELS = Path(__file__).parent / "models"
EMBEDDED = ("english", "german")
"""Voices included in the package."""
PIPER = ("joe",)
"""Voices of other packages, in Piper's format."""
ESPEAK = "espeak"
"""The voice of the program espeak-ng."""
VOCODER = "vocoder"
"""Subfolder of a voice's folder."""


class SpeakingVoice(Protocol):
    """Interface of voices, which speak one sentence at a time.

    Attributes:
        name: name of the voice.
        lang: language of its texts.
        rate: sample rate in hertz.
    """

    name: str
    lang: str
    rate: int

    def say(
        self,
        text: str,
        *,
        speaker: Path | str | None = None,
        seconds: float | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> Speech:
        """Speak a sentence in the voice of ``speaker`` (a recording), in ``seconds`` or at ``speed``.

        Raises:
            UnspeakableError: if the voice has no sound for any of the sentence.
            UserError: if the speaker cannot be used.
        """


class VocodedVoice:
    """A voice of an acoustic model and a vocoder.

    Args:
        model: predicts frames from text.
        vocoder: synthesises waveforms from these frames.
        name: name in messages.

    Raises:
        UserError: if the vocoder takes other frames than the model predicts, naming the difference.
    """

    def __init__(self, model: Text2Vec, vocoder: Vocoder, name: str) -> None:
        vocoder.config.input.require(model.config.target, vocoder.name)
        self.model, self.vocoder, self.name = model, vocoder, name
        self.lang, self.rate = model.config.text.lang, vocoder.sample_rate
        self._references: dict[Path, Float] = {}

    def sentences(self, text: str) -> list[str]:
        """Sentences of a text, with numbers and abbreviations spelled out."""
        return self.model.front_end.sentences(text)

    def say(
        self,
        text: str,
        *,
        speaker: Path | str | None = None,
        seconds: float | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> Speech:
        """See `SpeakingVoice`; ``speaker`` may also be the name of one of the model's speakers.

        Parts of the sentence that have no sound are listed in ``notes``.
        """
        names = self.model.config.speakers
        known_speaker = str(speaker) if speaker is not None and str(speaker) in names else None
        if names and known_speaker is None and speaker is not None and not Path(speaker).is_file():
            raise UserError(
                f"{speaker}: is neither a recording nor a speaker of {self.name}; choose from {', '.join(names)}"
            )
        reference = None if known_speaker is not None or speaker is None else self._reference(Path(speaker))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            spoken = self.model.generate(text, speaker=known_speaker, seconds=seconds, speed=speed, seed=seed)
        stacked = self.model.config.stacked
        frames = spoken.frames.reshape(len(spoken.frames) * stacked, -1)
        waveform = np.clip(self.vocoder.generate(frames, reference, seed), -1.0, 1.0)
        samples = self.vocoder.samples_per_frame * stacked
        durations = tuple(count * samples for count in spoken.durations)
        return Speech(waveform, self.rate, spoken.tokens, durations, tuple(str(warning.message) for warning in caught))

    def _reference(self, path: Path) -> Float:
        """The speaker vector of a recording, computed once."""
        if path not in self._references:
            from speechkit.io.audio import read_audio

            if self.vocoder.speaker is None:
                raise UserError(f"{self.name} takes no speaker; leave {path} out, or convert its speech afterwards")
            rate = self.vocoder.speaker.config.mel.sample_rate
            self._references[path] = self.vocoder.reference(read_audio(path, sample_rate=rate))
        return self._references[path]

    def save_pretrained(self, folder: str | Path, *, half: bool = True, vocoder: bool = True) -> None:
        """Write the model and, with ``vocoder``, the vocoder in a subfolder."""
        self.model.save_pretrained(folder, half=half)
        if vocoder:
            self.vocoder.save_pretrained(Path(folder) / VOCODER, half=half)


def load_voice(name_or_folder: str | Path, device: str = "auto", vocoder: str | None = None) -> SpeakingVoice:
    """Load a voice by name (``english``, ``german``, ``joe``, ``espeak``), folder, or ``.onnx`` file of Piper.

    Args:
        name_or_folder: a folder holds a text2vec or SimpleSpeech model; text2vec uses the vocoder in its subfolder
            ``vocoder``, else the one included in the package.
        device: ``auto``, ``cpu``, ``cuda`` …
        vocoder: name or folder of another vocoder, for text2vec.

    Raises:
        UserError: if there is no such voice, one of its files is damaged, or the vocoder takes other frames or is given
            for a voice that needs none.
        MissingExtraError: if a library that it needs is not installed.
    """
    name = str(name_or_folder)
    folder = None if name == ESPEAK or name in PIPER or name.endswith(".onnx") else voice_folder(name)
    kind = None if folder is None else _model_type(folder)
    if vocoder is not None and kind != "text2vec":
        raise UserError(f"the voice {name} takes no vocoder; leave it out, or give the folder of a text2vec model")
    if name == ESPEAK:
        from speechkit.tts.espeak import EspeakVoice

        return EspeakVoice()
    if folder is None:
        from speechkit.tts.piper import load_piper

        return load_piper(name)
    from speechkit.runtime import choose_device

    chosen = choose_device(device)
    if kind == "speechkit-simplespeech":
        from speechkit.tts.simplespeech import SimpleSpeech

        return SimpleSpeech.from_pretrained(folder, chosen)
    if kind == "text2vec":
        from speechkit.tts.text2vec import Text2Vec
        from speechkit.tts.vocoder import load_vocoder

        own_vocoder = folder / VOCODER
        loaded_vocoder = load_vocoder(vocoder or (own_vocoder if own_vocoder.is_dir() else "embedded"), chosen)
        model = Text2Vec.from_pretrained(folder).to(chosen).eval()
        return VocodedVoice(model, loaded_vocoder, f"the voice {name}")
    raise UserError(
        f"{folder}: holds a model of type {kind}, which is no voice; give the folder of a text2vec or SimpleSpeech "
        "model"
    )


def voice_folder(name: str) -> Path:
    """Folder of a voice, given by path or by the name of an embedded voice.

    Raises:
        UserError: if there is no such voice, or its weights are missing from the package.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if name in EMBEDDED:
        folder = MODELS / name
        if not (folder / "model.safetensors").is_file():
            raise UserError(
                f"{folder}: the weights of the voice {name} are missing; install the package again, or give the "
                "folder of a voice that you trained"
            )
        return folder
    raise UserError(
        f"there is no voice {name!r}; choose {', '.join((*EMBEDDED, *PIPER, ESPEAK))}, or give the folder of a voice"
    )


def _model_type(folder: Path) -> str:
    from speechkit.nn.checkpoints import CONFIG, checkpoint_folder

    path = checkpoint_folder(folder) / CONFIG
    try:
        return str(json.loads(path.read_bytes())["model_type"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: does not say what model it belongs to ({error}); give the folder of a voice"
        ) from error


def voice_digest(name: str) -> str:
    """Digest of a voice: of the content of its files and of the vocoder that it uses."""
    from speechkit.io.hashing import digest_file

    if name == ESPEAK:
        from speechkit.tts.espeak import espeak_version

        return espeak_version()
    if name in PIPER:
        from speechkit.tts.piper import PACKAGED

        name = str(require(PACKAGED[name]).model_path())
    if name.endswith(".onnx"):
        return " ".join(digest_file(Path(file)) for file in (name, f"{name}.json"))
    folder = voice_folder(name)
    kind = _model_type(folder)  # fails before the files of a folder that is no voice are read
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = [digest_file(path) for path in files]
    if kind == "text2vec" and not (folder / VOCODER).is_dir():
        from speechkit.tts.vocoder.load import vocoder_digest

        digests.append(vocoder_digest("embedded"))
    return " ".join(digests)


def sentences_of(text: str, voice: SpeakingVoice) -> list[str]:
    """Sentences of a text, one line each, as the voice splits them; long ones are split at clauses.

    Raises:
        UserError: if the text is empty, or holds bytes that are no text.
    """
    if not text.strip():
        raise UserError("the text is empty; give at least one word")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the text is not UTF-8 at character {error.start + 1}; give it in UTF-8") from error
    split = getattr(voice, "sentences", None)
    if split is not None:
        sentences: list[str] = split(text)
        return sentences or [" ".join(text.split())]
    spans = split_sentences(text, voice.lang.partition("-")[0], max_characters=MAX_CHARACTERS)
    return [" ".join(text[begin:end].split()) for begin, end in spans]


def say_sentences(
    voice: SpeakingVoice,
    text: str,
    *,
    speaker: Path | str | None = None,
    seconds: float | None = None,
    speed: float = 1.0,
    seed: int = 0,
    pause_seconds: float = PAUSE_SECONDS,
) -> Iterator[Speech | UnspeakableError]:
    """Speak a text sentence by sentence, lazily; a sentence that cannot be spoken gives its error instead.

    ``seconds`` is the total duration: pauses are subtracted, and the rest is divided by the sentences' characters. The
    time of a sentence that cannot be spoken goes to those after it.

    Raises:
        UserError: if the text is empty, the speaker cannot be used, or ``seconds`` is not longer than the pauses.
    """
    sentences = sentences_of(text, voice)
    total = sum(map(len, sentences))
    if seconds is not None:
        pauses = pause_seconds * (len(sentences) - 1)
        if seconds <= pauses:
            raise UserError(f"{seconds:g} s is no longer than the {pauses:g} s of pauses; give more, or shorter pauses")
        seconds -= pauses
    for sentence in sentences:
        share = None if seconds is None else seconds * len(sentence) / total
        total -= len(sentence)
        try:
            speech: Speech | UnspeakableError = voice.say(
                sentence, speaker=speaker, seconds=share, speed=speed, seed=seed
            )
        except UnspeakableError as error:
            speech = error
        if seconds is not None and share is not None:
            # What is not spoken leaves its time, and that of a pause, to the sentences after it.
            seconds += pause_seconds if isinstance(speech, UnspeakableError) else -share
        yield speech


def say_text(
    voice: SpeakingVoice,
    text: str,
    *,
    speaker: Path | str | None = None,
    seconds: float | None = None,
    speed: float = 1.0,
    seed: int = 0,
    pause_seconds: float = PAUSE_SECONDS,
) -> Speech:
    """Speak a text of any length, with pauses between sentences; ``notes`` list those that cannot be spoken.

    Raises:
        UserError: as `say_sentences`, or if no sentence can be spoken.
    """
    settings = {"speaker": speaker, "seconds": seconds, "speed": speed, "seed": seed, "pause_seconds": pause_seconds}
    parts = list(say_sentences(voice, text, **settings))  # type: ignore[arg-type]
    spoken = [part for part in parts if isinstance(part, Speech)]
    failures = [part for part in parts if isinstance(part, UnspeakableError)]
    if not spoken:
        raise failures[0]
    joined = join_speech(spoken, pause_seconds)
    return replace(joined, notes=(*joined.notes, *(f"left out: {error}" for error in failures)))
