"""Durations in synthesis: whole frames per token or sentence, and predictors of a sentence's length.

Predictions of an aligned model for its tokens and of a `SentenceDuration` for a sentence go through the same functions,
where ``seconds`` or ``speed`` override them. The frames of tokens sum exactly to the requested total.
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
    predicted: float, *, seconds: float | None = None, speed: float = 1.0, rate: float = FRAME_RATE
) -> int:
    """Frames of a sentence, at least one: those of ``seconds`` if given, else of the predicted seconds / ``speed``.

    Raises:
        ConfigError: if both ``seconds`` and ``speed`` are given, or one of them is out of range.
    """
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ConfigError(f"speed is {speed}; give a number from {SPEEDS[0]:g} to {SPEEDS[1]:g}, 1 being unchanged")
    if seconds is None:
        return max(1, round(min(predicted / speed, MAX_SECONDS) * rate))
    if speed != 1.0:
        raise ConfigError(f"seconds is {seconds} and speed {speed}; give one of them")
    if not 0.0 < seconds <= MAX_SECONDS:
        raise ConfigError(f"seconds is {seconds}; give a number above 0 and up to {MAX_SECONDS:g}")
    return max(1, round(seconds * rate))


def token_frames(
    predicted: ArrayLike,
    *,
    seconds: float | None = None,
    speed: float = 1.0,
    rate: float = FRAME_RATE,
    least: int = 0,
) -> NDArray[np.int32]:
    """Whole frames per token (L,), proportional to the predicted ones, that sum to the frames of the sentence.

    Args:
        predicted: frames of each token (L,), real and not negative.
        seconds: total duration, instead of the predicted sum.
        speed: divides the predicted sum.
        rate: frames per second.
        least: minimum frames per token. Without ``seconds`` the total grows to what these need.

    Raises:
        ConfigError: as `sentence_frames`; if ``seconds`` leaves fewer than ``least`` frames for a token.
        ValueError: if predicted durations are negative or not finite.
    """
    wanted = np.asarray(predicted, np.float64)
    if wanted.ndim != 1 or not np.isfinite(wanted).all() or (wanted < 0).any():
        raise ValueError("durations of tokens must be one row of finite numbers, none of them negative")
    if not len(wanted):
        return np.zeros(0, np.int32)
    total = sentence_frames(float(wanted.sum()) / rate, seconds=seconds, speed=speed, rate=rate)
    needed = least * len(wanted)
    if total < needed:
        if seconds is not None:
            raise ConfigError(
                f"{seconds:g} s is {total} frames, too few for {len(wanted)} tokens; give at least {needed / rate:g} s"
            )
        total = needed
    beyond = np.maximum(total * _shares(wanted) - least, 0.0)
    free = total - needed
    beyond = free * _shares(beyond)
    # Cumulative sums are rounded, so that no boundary is off by more than half a frame and the last is the total.
    bounds = np.concatenate([[0], np.floor(np.cumsum(beyond) + 0.5)])
    bounds[-1] = free
    return np.asarray(np.diff(np.minimum(bounds, free)) + least, np.int32)


def _shares(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each part divided by the sum; equal shares if the sum is 0."""
    total = parts.sum()
    return parts / total if total > SMALLEST else np.full(len(parts), 1 / len(parts))


class SentenceDuration(Protocol):
    """Predicts the duration of a text."""

    def seconds(self, text: str) -> float:
        """Predicted duration, above 0."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `load_sentence_duration` reads."""


class ByteDuration(msgspec.Struct, frozen=True, tag="bytes", tag_field="model_type"):
    """Linear in the number of UTF-8 bytes, as in F5-TTS, plus a constant pause."""

    seconds_per_byte: float
    pause_seconds: float

    def seconds(self, text: str) -> float:
        """See `SentenceDuration`."""
        return max(self.pause_seconds + self.seconds_per_byte * len(text.encode()), 1 / FRAME_RATE)

    def save_pretrained(self, folder: str | Path) -> None:
        """See `SentenceDuration`."""
        write_json(Path(folder) / CONFIG_FILE, self)


class SymbolDuration(msgspec.Struct, frozen=True, tag="symbols", tag_field="model_type"):
    """Sum of mean durations of the symbols, plus a constant pause; unknown symbols get the mean over all symbols.

    Symbols are lower-case characters, or phonemes if the texts are strings of phonemes.
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
    """Sum of the frames that an aligned model predicts for the tokens of a text."""

    def __init__(self, token_durations: Callable[[str], ArrayLike], rate: float = FRAME_RATE):
        self._token_durations, self._rate = token_durations, rate

    def seconds(self, text: str) -> float:
        """See `SentenceDuration`."""
        return max(float(np.sum(self._token_durations(text))) / self._rate, 1 / FRAME_RATE)

    def save_pretrained(self, folder: str | Path) -> None:
        """Always an error: the predictor belongs to an aligned model, which has its own folder.

        Raises:
            UserError: always.
        """
        raise UserError(f"{folder}: token sums belong to an aligned model; save that model and give its folder")


def fit_bytes(texts: Sequence[str], seconds: Sequence[float]) -> ByteDuration:
    """Least-squares fit with a slope and a pause that are not negative.

    Raises:
        UserError: if there is no text.
    """
    lengths, spoken = np.array([len(text.encode()) for text in texts], float), _positive(texts, seconds)
    slope = _non_negative_least_squares(np.stack([lengths, np.ones_like(lengths)], 1), spoken)
    return ByteDuration(float(slope[0]), float(slope[1]))


def fit_symbols(texts: Sequence[str], seconds: Sequence[float], ridge: float = 1.0) -> SymbolDuration:
    """Least-squares fit of non-negative symbol durations to symbol counts.

    ``ridge`` pulls rare symbols to the mean duration, as if each had been seen that many more times with it.

    Raises:
        UserError: if there is no text.
    """
    spoken = _positive(texts, seconds)
    lowered = [text.lower() for text in texts]
    symbols = sorted(set("".join(lowered)))
    counts = np.array([[text.count(symbol) for symbol in symbols] for text in lowered], float)
    line = _non_negative_least_squares(np.stack([counts.sum(1), np.ones(len(texts))], 1), spoken)
    rows = np.concatenate([np.c_[counts, np.ones(len(texts))], math.sqrt(ridge) * np.eye(len(symbols) + 1)])
    wanted = np.concatenate([spoken, math.sqrt(ridge) * np.array([*[line[0]] * len(symbols), line[1]])])
    solution = _non_negative_least_squares(rows, wanted)
    return SymbolDuration(dict(zip(symbols, solution[:-1].tolist(), strict=True)), float(line[0]), float(solution[-1]))


def load_sentence_duration(folder: str | Path) -> SentenceDuration:
    """Load what `SentenceDuration.save_pretrained` wrote.

    Raises:
        UserError: if the folder holds no sentence duration.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        content = path.read_bytes()
        kind = msgspec.json.decode(content, type=_Kind).model_type
        if kind == NETWORK_TYPE:
            from speechkit.tts.duration_network import DurationNetwork

            return DurationNetwork.from_pretrained(folder)
        duration: ByteDuration | SymbolDuration = msgspec.json.decode(content, type=ByteDuration | SymbolDuration)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the folder of a sentence duration") from None
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"{path}: is not a sentence duration ({error}); give the folder of one") from error
    return duration


class _Kind(msgspec.Struct):
    model_type: str


NETWORK_TYPE = "speechkit-duration"


def _positive(texts: Sequence[str], seconds: Sequence[float]) -> NDArray[np.float64]:
    if not len(texts) or len(texts) != len(seconds):
        raise UserError(
            f"{len(texts)} texts have {len(seconds)} durations; give one for each text, and at least one text"
        )
    return np.asarray(seconds, np.float64)


def _non_negative_least_squares(rows: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import nnls

    return np.asarray(nnls(rows, wanted)[0], np.float64)
