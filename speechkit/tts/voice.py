"""A voice: text of any length in, speech out, whatever model speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from speechkit.errors import UserError
from speechkit.text import split_sentences
from speechkit.tts.speech import Speech, UnspeakableError, join_speech

PAUSE_SECONDS = 0.25
MAX_CHARACTERS = 240
"""Longer sentences are cut at clauses: models have heard nothing much longer."""

PIPER = ("joe",)


class SpeakingVoice(Protocol):
    """What speaks a sentence.

    ``lang`` is that of its text, ``rate`` samples a second.
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
        """The sentence in the voice of ``speaker`` (a recording), in ``seconds`` or at ``speed``.

        Raises:
            UnspeakableError: if the sentence holds nothing that the voice can speak.
            UserError: if the speaker cannot be used.
        """


def load_voice(name_or_folder: str, device: str = "auto") -> SpeakingVoice:
    """A voice by name (``joe``), the ``.onnx`` file of one in Piper's form.

    Raises:
        UserError: if there is no such voice.
        MissingExtraError: if a library that it needs is not installed.
    """
    if name_or_folder in PIPER or name_or_folder.endswith(".onnx"):
        from speechkit.tts.piper import load_piper

        return load_piper(name_or_folder)
    raise UserError(f"voice {name_or_folder!r} is not known; choose {', '.join(PIPER)} or give the file of a voice")


def voice_digest(name: str) -> str:
    """What a voice's name stands for: the content of its files."""
    from speechkit.errors import require
    from speechkit.io.hashing import digest_file
    from speechkit.tts.piper import PACKAGED

    path = Path(require(PACKAGED[name]).model_path()) if name in PIPER else Path(name)
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return " ".join(digest_file(each) for each in files) or name


def sentences_of(text: str, lang: str) -> list[str]:
    """The text's sentences, each in one line; long ones are cut at their clauses.

    Raises:
        UserError: if the text is empty.
    """
    spans = split_sentences(text, lang, max_characters=MAX_CHARACTERS)
    if not spans:
        raise UserError("the text is empty; give at least one word")
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
    """Each sentence of the text as soon as it is spoken, or why it is not; none is spoken before it is asked for.

    ``seconds`` is the length of the whole: pauses are taken off, and the sentences share the rest by their characters.

    Raises:
        UserError: if the text is empty, the speaker cannot be used, or ``seconds`` leave no time beside the pauses.
    """
    sentences = sentences_of(text, voice.lang.partition("-")[0])
    total = sum(map(len, sentences))
    if seconds is not None:
        pauses = pause_seconds * (len(sentences) - 1)
        if seconds <= pauses:
            raise UserError(f"{seconds:g} s hold no more than the {pauses:g} s of pauses; give more, or no pauses")
        seconds -= pauses
    for sentence in sentences:
        share = None if seconds is None else seconds * len(sentence) / total
        try:
            yield voice.say(sentence, speaker=speaker, seconds=share, speed=speed, seed=seed)
        except UnspeakableError as error:
            yield error


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
    """A text of any length with pauses between its sentences; ``notes`` name the sentences that cannot be spoken.

    Raises:
        UserError: as `say_sentences`, and if no sentence can be spoken.
    """
    settings = {"speaker": speaker, "seconds": seconds, "speed": speed, "seed": seed, "pause_seconds": pause_seconds}
    parts = list(say_sentences(voice, text, **settings))  # type: ignore[arg-type]
    spoken = [part for part in parts if isinstance(part, Speech)]
    failures = [part for part in parts if isinstance(part, UnspeakableError)]
    if not spoken:
        raise failures[0]
    return replace(join_speech(spoken, pause_seconds), notes=tuple(f"left out: {each}" for each in failures))
