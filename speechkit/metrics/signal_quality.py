"""SDR, STOI and PESQ of a track, by established libraries (extras ``separation-scores`` and ``pesq``)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError, available, require
from speechkit.metrics.separation import LIMIT_DB

LIBRARIES = {"sdr": "fast_bss_eval", "stoi": "pystoi", "pesq": "pesq"}
PESQ_RATES = {8000: "nb", 16_000: "wb"}

Array = NDArray[np.floating]


class NotMeasuredError(UserError):
    """A measure is undefined for this signal: too short, or no speech found."""


def known_measures(asked: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The measures to compute, and a sentence for each one without its library.

    Args:
        asked: names; None: all with installed libraries.

    Raises:
        UserError: if a name is unknown.
        MissingExtraError: if the library of a requested measure is missing.
    """
    wanted = tuple(LIBRARIES) if asked is None else tuple(asked)
    unknown = [name for name in wanted if name not in LIBRARIES]
    if unknown:
        raise UserError(
            f"measure {unknown[0]!r} is unknown; choose from {', '.join(LIBRARIES)} (SI-SDR is always reported)"
        )
    measures, absent = available({name: LIBRARIES[name] for name in wanted})
    if absent and asked is not None:
        raise next(iter(absent.values()))
    return measures, [f"no {name.upper()}: {error}" for name, error in absent.items()]


def measure(name: str, reference: Array, estimate: Array, sample_rate: int) -> float:
    """One measure of an estimate (S,) of a non-silent reference (S,).

    ``sdr``: signal-to-distortion ratio of BSS-eval in dB, invariant to filters of 512 samples, from -100 to 100.
    ``stoi``: short-time objective intelligibility, up to 1. ``pesq``: perceptual evaluation of speech quality as a mean
    opinion score of 1 to 4.6, narrow band (P.862) at 8 kHz, wide band (P.862.2) at 16 kHz and, resampled, at others.

    Raises:
        NotMeasuredError: if the signal is too short, or without speech.
        MissingExtraError: if the library is missing.

    Source: Vincent et al. 2006, computed as Scheibler 2022; Taal et al. 2011; ITU-T P.862.
    """
    value = _MEASURES[name](np.asarray(reference, np.float64), np.asarray(estimate, np.float64), sample_rate)
    if not np.isfinite(value):
        raise NotMeasuredError(f"{name} gave {value}")
    return float(value)


def _sdr(reference: Array, estimate: Array, sample_rate: int) -> float:
    if not np.any(estimate):
        return -LIMIT_DB
    library = require("fast_bss_eval")
    try:
        value = library.sdr(reference[None], estimate[None], clamp_db=LIMIT_DB, load_diag=1e-12)
    except np.linalg.LinAlgError as error:
        raise NotMeasuredError(f"sdr: {error}") from error
    return float(value[0])


def _stoi(reference: Array, estimate: Array, sample_rate: int) -> float:
    library = require("pystoi")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = library.stoi(reference, estimate, sample_rate)
        except (ValueError, IndexError) as error:
            raise NotMeasuredError(f"stoi: {error}") from error
    # pystoi returns the placeholder 1e-5 for fewer than 30 frames of speech.
    if any(issubclass(warning.category, RuntimeWarning) for warning in caught) and value <= 1e-5:
        raise NotMeasuredError("stoi: less than 0.4 s of speech")
    return float(value)


def _pesq(reference: Array, estimate: Array, sample_rate: int) -> float:
    library = require("pesq")
    if not np.any(estimate):
        raise NotMeasuredError("pesq: the track is silent")
    if sample_rate not in PESQ_RATES:
        import soxr

        reference, estimate = (soxr.resample(wave, sample_rate, 16_000) for wave in (reference, estimate))
        sample_rate = 16_000
    try:
        value = library.pesq(sample_rate, reference, estimate, PESQ_RATES[sample_rate])
    except (library.PesqError, ValueError, ZeroDivisionError) as error:
        cause = error.args[0] if error.args else type(error).__name__
        raise NotMeasuredError(f"pesq: {cause.decode() if isinstance(cause, bytes) else cause}") from error
    return float(value)


_MEASURES: dict[str, Callable[[Array, Array, int], float]] = {"sdr": _sdr, "stoi": _stoi, "pesq": _pesq}
