"""Timed words from another tool (CTM or JSON) as a recogniser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from speechkit.asr.hypothesis import Hypothesis, RecognizerSpec
from speechkit.errors import UserError


class TimedWord(NamedTuple):
    """A word from ``start`` to ``end`` seconds; ``score`` is its log-probability, 0 where unknown."""

    word: str
    start: float
    end: float
    score: float = 0.0


def words_to_hypothesis(words: Iterable[TimedWord]) -> Hypothesis:
    """Spread words evenly over their characters; a space has the time between two words."""
    text: list[str] = []
    starts: list[float] = []
    ends: list[float] = []
    scores: list[float] = []
    for word in sorted((word for word in words if word.word), key=lambda word: word.start):
        if text:
            text.append(" ")
            starts.append(min(ends[-1], word.start))
            ends.append(max(ends[-1], word.start))
            scores.append(0.0)
        count = len(word.word)
        for index, character in enumerate(word.word):
            text.append(character)
            starts.append(word.start + (word.end - word.start) * index / count)
            ends.append(word.start + (word.end - word.start) * (index + 1) / count)
            scores.append(word.score)
    return Hypothesis(
        "".join(text), np.array(starts, np.float64), np.array(ends, np.float64), np.array(scores, np.float32)
    )


Channels = dict[str, list[TimedWord]]
"""Words by the name of their channel, "" where the file names none."""


def read_ctm(path: Path) -> dict[str, Channels]:
    """Words of each recording and channel of a CTM file: ``recording channel start duration word [confidence]``.

    Raises:
        UserError: naming the first line that is not of this form.
    """
    recordings: dict[str, Channels] = {}
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; convert it, for example with iconv") from error
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        try:
            start, duration = float(fields[2]), float(fields[3])
            word = TimedWord(fields[4], start, start + duration, _log(fields[5] if len(fields) > 5 else None))
            if not (math.isfinite(start) and math.isfinite(duration) and start >= 0 and duration >= 0):
                raise ValueError("times must be numbers from 0")
        except (IndexError, ValueError) as error:
            raise UserError(
                f"{path}:{number}: is not a CTM line ({error}); write: recording channel start duration word"
            ) from error
        recordings.setdefault(fields[0], {}).setdefault(fields[1], []).append(word)
    return recordings


def read_word_json(path: Path) -> dict[str, Channels]:
    """Words of a JSON file; the key is ``""`` for a file without recording names.

    Known forms: a list of words, ``{"words": [...]}``, ``{"segments": [{"words": [...]}]}`` as written by Whisper
    tools, or one of these under each recording's name. A word is ``{"word", "start", "end"}`` with an optional
    ``"probability"``, ``"confidence"`` or ``"score"``.

    Raises:
        UserError: if the file has none of these forms.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); fix the file") from error
    if isinstance(content, list) or (isinstance(content, dict) and ("words" in content or "segments" in content)):
        return {"": {"": _json_words(content, path)}}
    if isinstance(content, dict):
        return {str(name): {"": _json_words(value, path)} for name, value in content.items()}
    raise UserError(f"{path}: holds neither a list of words nor recordings with words")


def _json_words(content: Any, path: Path) -> list[TimedWord]:
    if isinstance(content, dict) and isinstance(content.get("segments"), list):
        return [
            word
            for part in content["segments"]
            if isinstance(part, dict)
            for word in _json_words(part.get("words", []), path)
        ]
    if isinstance(content, dict):
        content = content.get("words")
    if not isinstance(content, list):
        raise UserError(f"{path}: holds neither a list of words nor recordings with words")
    words = []
    for index, item in enumerate(content):
        try:
            confidence = next((item[key] for key in ("probability", "confidence", "score") if key in item), None)
            word = TimedWord(str(item["word"]).strip(), float(item["start"]), float(item["end"]), _log(confidence))
            if not (math.isfinite(word.start) and math.isfinite(word.end) and 0 <= word.start <= word.end):
                raise ValueError("start and end must be numbers with 0 <= start <= end")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f'{path}: word {index} is not {{"word", "start", "end"}} ({error})') from error
        words.append(word)
    return words


def _log(confidence: Any) -> float:
    """A confidence in (0, 1] as a log-probability; 0 for other values."""
    try:
        value = float(confidence)
    except (TypeError, ValueError):
        return 0.0
    return math.log(value) if 0 < value <= 1 else 0.0


class WordsRecognizer:
    """Looks recordings up in a CTM or JSON file, or in a folder with one such file per recording.

    Raises:
        UserError: if the file is missing or cannot be read.
    """

    def __init__(self, path: str | Path, lang: str):
        from speechkit.io.hashing import digest_file, digest_obj

        self._path = Path(path)
        if self._path.is_dir():
            self._files = {file.stem: file for file in sorted(self._path.iterdir()) if file.suffix in (".ctm", ".json")}
            if not self._files:
                raise UserError(f"{path}: has no .ctm or .json file")
            digest = digest_obj({stem: digest_file(file) for stem, file in self._files.items()})
        elif self._path.is_file():
            self._files = {}
            digest = digest_file(self._path)
        else:
            raise UserError(f"{path}: no such file; words: takes a CTM or JSON file, or a folder of them")
        self._spec = RecognizerSpec("words", self._path.name, digest, lang)
        self._cache: tuple[Path, dict[str, Channels]] | None = None

    @property
    def spec(self) -> RecognizerSpec:
        """Identity of the recogniser."""
        return self._spec

    def recognize(
        self,
        path: str,
        speech: list[tuple[int, int]] | None = None,
        *,
        channel: int | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> Hypothesis:
        """The words of the recording, looked up with or without suffix; ``speech`` has no effect.

        Of a ``channel`` they are those that the file names ``1``, ``2`` … or ``A``, ``B`` …, as CTM files do; a file
        that has one name for a whole recording tells nothing about channels, and all of its words are taken.

        Raises:
            UserError: if the recording is not in the file; known names are listed.
        """
        return words_to_hypothesis(_of_channel(self._channels_of(Path(path)), channel))

    def _channels_of(self, recording: Path) -> Channels:
        if self._path.is_dir():
            if recording.stem not in self._files:
                raise UserError(f"{self._path}: has no {recording.stem}.ctm or {recording.stem}.json for {recording}")
            recordings = self._read(self._files[recording.stem])
            if len(recordings) == 1:
                return next(iter(recordings.values()))
        else:
            recordings = self._read(self._path)
        for name in (recording.name, recording.stem, ""):
            if name in recordings:
                return recordings[name]
        for name, channels in recordings.items():
            if Path(name).stem == recording.stem:
                return channels
        names = ", ".join(sorted(recordings)[:5]) or "nothing"
        raise UserError(f"{self._path}: has no words of {recording.stem!r}, only of {names}; add the recording")

    def _read(self, path: Path) -> dict[str, Channels]:
        if self._cache is None or self._cache[0] != path:
            self._cache = path, read_word_json(path) if path.suffix == ".json" else read_ctm(path)
        return self._cache[1]


def _of_channel(channels: Channels, channel: int | None) -> list[TimedWord]:
    if channel is None or len(channels) == 1:
        return [word for words in channels.values() for word in words]
    first = 0 if "0" in channels else 1  # NIST counts from 1, some tools from 0
    return [word for name in (str(channel + first), chr(ord("A") + channel)) for word in channels.get(name, [])]
