"""How long speech is: frames of tokens or of a whole sentence, and what foretells the seconds of a sentence.

Frames are whole numbers that sum exactly to what was asked for. What an aligned model foretells for its tokens and what
a `SentenceDuration` foretells for a sentence go through the same functions, where ``seconds`` or ``speed`` override.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json

FRAME_RATE = 50.0
MAX_SECONDS = 600.0
SPEEDS = (0.1, 10.0)
SMALLEST = 1e-9
CONFIG_FILE = "config.json"


def sentence_frames(
    foretold: float, *, seconds: float | None = None, speed: float = 1.0, rate: float = FRAME_RATE
) -> int:
    """Frames of a sentence: those of ``seconds`` where given, else of the foretold seconds at a speed; at least one.

    Raises:
        ConfigError: if both ``seconds`` and a ``speed`` are given, or one of them is not possible.
    """
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ConfigError(f"speed is {speed}; give a number from {SPEEDS[0]:g} to {SPEEDS[1]:g}, 1 being unchanged")
    if seconds is None:
        return max(1, round(min(foretold / speed, MAX_SECONDS) * rate))
    if speed != 1.0:
        raise ConfigError(f"seconds is {seconds} and speed {speed}; give one of them")
    if not 0.0 < seconds <= MAX_SECONDS:
        raise ConfigError(f"seconds is {seconds}; give a number above 0 and up to {MAX_SECONDS:g}")
    return max(1, round(seconds * rate))


def token_frames(
    foretold: ArrayLike,
    *,
    seconds: float | None = None,
    speed: float = 1.0,
    rate: float = FRAME_RATE,
    least: int = 0,
) -> NDArray[np.int32]:
    """Frames of each token (L,) that sum to those of the sentence, in proportion to the foretold ones.

    Args:
        foretold: frames of each token (L,), real numbers of 0 or more.
        seconds: of all tokens together, instead of the foretold sum.
        speed: divides the foretold sum.
        rate: frames a second.
        least: frames that every token has. Without ``seconds`` the sum grows to what they need.

    Raises:
        ConfigError: as `sentence_frames`; if ``seconds`` leaves less than ``least`` for a token.
        ValueError: if foretold durations are below 0, or not finite.
    """
    wanted = np.asarray(foretold, np.float64)
    if wanted.ndim != 1 or not np.isfinite(wanted).all() or (wanted < 0).any():
        raise ValueError("durations of tokens must be finite, of 0 or more, and in one row")
    if not len(wanted):
        return np.zeros(0, np.int32)
    total = sentence_frames(float(wanted.sum()) / rate, seconds=seconds, speed=speed, rate=rate)
    needed = least * len(wanted)
    if total < needed:
        if seconds is not None:
            raise ConfigError(
                f"{seconds:g} s are {total} frames, too few for {len(wanted)} tokens; give at least {needed / rate:g} s"
            )
        total = needed
    beyond = np.maximum(total * _shares(wanted) - least, 0.0)
    free = total - needed
    beyond = free * _shares(beyond)
    # Rounded sums of all tokens so far: none of them is off by more than half a frame, and the last one is the total.
    bounds = np.concatenate([[0], np.floor(np.cumsum(beyond) + 0.5)])
    bounds[-1] = free
    return np.asarray(np.diff(np.minimum(bounds, free)) + least, np.int32)


def _shares(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the sum; equal ones where the parts are nothing."""
    whole = parts.sum()
    return parts / whole if whole > SMALLEST else np.full(len(parts), 1 / len(parts))


class SentenceDuration(Protocol):
    """Foretells how long a text is when spoken."""

    def seconds(self, text: str) -> float:
        """Of the spoken text, above 0."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write it, to be read by `load_sentence_duration`."""


class ByteDuration(msgspec.Struct, frozen=True, tag="bytes", tag_field="model_type"):
    """A line in the number of UTF-8 bytes, as F5-TTS has it, with the pause that every recording has."""

    seconds_per_byte: float
    pause_seconds: float

    def seconds(self, text: str) -> float:
        """See `SentenceDuration`."""
        return max(self.pause_seconds + self.seconds_per_byte * len(text.encode()), 1 / FRAME_RATE)

    def save_pretrained(self, folder: str | Path) -> None:
        """See `SentenceDuration`."""
        write_json(Path(folder) / CONFIG_FILE, self)


class SymbolDuration(msgspec.Struct, frozen=True, tag="symbols", tag_field="model_type"):
    """A sum of what each symbol lasts on average, and a pause; an unknown symbol lasts what the mean one does.

    Symbols are characters in lower case, or phonemes where the texts are strings of them.
    """

    symbol_seconds: dict[str, float]
    unknown_seconds: float
    pause_seconds: float

    def seconds(self, text: str) -> float:
        """See `SentenceDuration`."""
        spoken = sum(self.symbol_seconds.get(symbol, self.unknown_seconds) for symbol in text.lower())
        return max(self.pause_seconds + spoken, 1 / FRAME_RATE)

    def save_pretrained(self, folder: str | Path) -> None:
        """See `SentenceDuration`."""
        write_json(Path(folder) / CONFIG_FILE, self)


class TokenSumDuration:
    """The sum of the frames that an aligned model foretells for the tokens of a text."""

    def __init__(self, token_durations: Callable[[str], ArrayLike], rate: float = FRAME_RATE):
        self._token_durations, self._rate = token_durations, rate

    def seconds(self, text: str) -> float:
        """See `SentenceDuration`."""
        return max(float(np.sum(self._token_durations(text))) / self._rate, 1 / FRAME_RATE)

    def save_pretrained(self, folder: str | Path) -> None:
        """It belongs to its aligned model, which has a folder of its own.

        Raises:
            UserError: always.
        """
        raise UserError(f"{folder}: token sums are of an aligned model; save that one and name its folder")


def fit_bytes(texts: Sequence[str], seconds: Sequence[float]) -> ByteDuration:
    """Least squares over texts and how long they were; the line never falls, and the pause is not below 0.

    Raises:
        UserError: if there is no text.
    """
    lengths, spoken = np.array([len(text.encode()) for text in texts], float), _positive(texts, seconds)
    slope = _not_negative_squares(np.stack([lengths, np.ones_like(lengths)], 1), spoken)
    return ByteDuration(float(slope[0]), float(slope[1]))


def fit_symbols(texts: Sequence[str], seconds: Sequence[float], ridge: float = 1.0) -> SymbolDuration:
    """Least squares over how often each symbol stands in a text; no symbol lasts below 0.

    ``ridge`` draws rare symbols to the mean one, as if each had been heard so many more times with it.

    Raises:
        UserError: if there is no text.
    """
    spoken = _positive(texts, seconds)
    lowered = [text.lower() for text in texts]
    symbols = sorted(set("".join(lowered)))
    counts = np.array([[text.count(symbol) for symbol in symbols] for text in lowered], float)
    line = _not_negative_squares(np.stack([counts.sum(1), np.ones(len(texts))], 1), spoken)
    rows = np.concatenate([np.c_[counts, np.ones(len(texts))], math.sqrt(ridge) * np.eye(len(symbols) + 1)])
    wanted = np.concatenate([spoken, math.sqrt(ridge) * np.array([*[line[0]] * len(symbols), line[1]])])
    solution = _not_negative_squares(rows, wanted)
    return SymbolDuration(dict(zip(symbols, solution[:-1].tolist(), strict=True)), float(line[0]), float(solution[-1]))


def load_sentence_duration(folder: str | Path) -> SentenceDuration:
    """Whatever `SentenceDuration.save_pretrained` wrote into a folder.

    Raises:
        UserError: if there is none.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        content = path.read_bytes()
        kind = msgspec.json.decode(content, type=_Kind).model_type
        if kind == NETWORK_TYPE:
            from speechkit.tts.duration_network import DurationNetwork

            return DurationNetwork.from_pretrained(folder)
        found: ByteDuration | SymbolDuration = msgspec.json.decode(content, type=ByteDuration | SymbolDuration)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the folder of a sentence duration") from None
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"{path}: holds no sentence duration ({error}); give the folder of one") from error
    return found


class _Kind(msgspec.Struct):
    model_type: str


NETWORK_TYPE = "speechkit-duration"


def _positive(texts: Sequence[str], seconds: Sequence[float]) -> NDArray[np.float64]:
    if not len(texts) or len(texts) != len(seconds):
        raise UserError(f"{len(texts)} texts and {len(seconds)} durations; give as many of both, and at least one")
    return np.asarray(seconds, np.float64)


def _not_negative_squares(rows: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import nnls

    return np.asarray(nnls(rows, wanted)[0], np.float64)
