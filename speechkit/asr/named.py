"""Recognisers with decoding options, and PocketSphinx, by name, as functions from a cut to its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechkit.asr.load import load_recognizer, recognizer_digest, with_beam
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError, require
from speechkit.io.hashing import digest_file

Transcriber = Callable[[Utterance, Path], str]
RATE = 16_000


def named_recognizers(text: str) -> dict[str, str]:
    """Label to name of ``LABEL=NAME,NAME``; a name without a label is its own.

    Raises:
        ConfigError: if there is none, or a label is repeated.
    """
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        label, _, name = part.partition("=")
        if label in found:
            raise ConfigError(f"recognizers: duplicate label {label}; give each a unique one (LABEL=NAME)")
        found[label] = name or label
    if not found:
        raise ConfigError("recognizers is empty; give for example recognizers=embedded")
    return found


class Searched(NamedTuple):
    """A recogniser's name with its decoding options.

    ``beam`` 0 is greedy; ``model`` is an ARPA file with its weight, ``rescoring`` a larger model: ARPA file, hub id or
    folder.
    """

    name: str
    beam: int = 0
    model: str | None = None
    weight: float = 0.5
    rescoring: str | None = None


def searched(text: str) -> Searched:
    """Read ``NAME``, ``NAME+beam:32``, ``NAME+beam:32+lm:FILE@0.5`` or any of these with ``+rescore:MODEL`` behind it.

    Raises:
        ConfigError: if the beam or the weight is not a valid number.
    """
    name, _, options = text.partition("+beam:")
    if not options:
        if "+rescore:" in text:
            raise ConfigError(f"recognizers: {text}: rescoring needs a beam (NAME+beam:32+rescore:MODEL)")
        return Searched(name)
    options, _, rescoring = options.partition("+rescore:")
    beam, _, rest = options.partition("+lm:")
    model, _, weight = rest.rpartition("@") if "@" in rest else (rest, "", "0.5")
    try:
        found = Searched(name, int(beam), model or None, float(weight), rescoring or None)
    except ValueError as error:
        raise ConfigError(f"recognizers: {text}: beam and weight are numbers (NAME+beam:32+lm:FILE@0.5)") from error
    if found.beam < 1 or not 0 <= found.weight < 100:
        raise ConfigError(f"recognizers: {text}: give a beam of 1 or more and a weight from 0 to 100")
    return found


def cut_samples(utterance: Utterance) -> tuple[int, int]:
    """Begin and end of a cut in samples at 16 kHz, as recognisers take regions."""
    begin = round(utterance.offset * RATE)
    return begin, begin + round(utterance.duration * RATE)


def load_transcriber(name: str, lang: str, device: str) -> Transcriber:
    """A recogniser as a function.

    Raises:
        UserError: if it cannot be loaded.
    """
    if name == "pocketsphinx":
        return _pocketsphinx(lang)
    found = searched(name)
    recognizer = load_recognizer(found.name, lang, device)
    if found.beam:
        recognizer = with_beam(
            recognizer, found.beam, found.model, found.weight, rescoring=found.rescoring, device=device
        )

    def transcribe(utterance: Utterance, path: Path) -> str:
        return " ".join(recognizer.recognize(str(path), [cut_samples(utterance)]).text.split())

    return transcribe


def _pocketsphinx(lang: str) -> Transcriber:
    """The model inside the PyPI package, US English."""
    from speechkit.data.audio import read_cut

    pocketsphinx: Any = require("pocketsphinx")
    if lang != "en":
        raise UserError(f"lang={lang}: pocketsphinx has a model for en only; leave it out")
    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")

    def transcribe(utterance: Utterance, path: Path) -> str:
        samples = read_cut(path, utterance, sample_rate=RATE)
        decoder.start_utt()
        decoder.process_raw((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return "" if found is None else found.hypstr

    return transcribe


def recognizers_digest(text: str) -> str:
    """Digest of all named recognisers."""
    return "; ".join(f"{label}={_digest(name)}" for label, name in named_recognizers(text).items())


def _digest(name: str) -> str:
    found = searched(name)
    digest = recognizer_digest(found.name)
    if not found.beam:
        return digest
    if found.model is not None and not Path(found.model).is_file():
        raise ConfigError(f"recognizers: {found.model}: no such file; build it with speechkit lm build")
    model = "" if found.model is None else f" lm {digest_file(found.model)} weight {found.weight:g}"
    return f"{digest} beam {found.beam}{model}"
