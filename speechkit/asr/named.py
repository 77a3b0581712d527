"""Recognisers with decoding options, and PocketSphinx, by name, as functions from a cut to its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechkit.asr.embedded import MODELS, embedded_words
from speechkit.asr.hypothesis import Hypothesis, Recognizer
from speechkit.asr.load import load_recognizer, recognizer_digest, with_beam
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError, require
from speechkit.io.audio import audio_info
from speechkit.io.hashing import digest_file

Transcriber = Callable[[Utterance, Path], str]
RATE = 16_000


def named_recognizers(text: str) -> dict[str, str]:
    """Parse ``LABEL=NAME,NAME`` into names by label; a name without a label is its own label.

    Raises:
        ConfigError: if there are none, or a label is repeated.
    """
    names: dict[str, str] = {}
    for part in filter(None, (entry.strip() for entry in text.split(","))):
        label, _, name = part.partition("=")
        if label in names:
            raise ConfigError(f"recognizers: duplicate label {label}; give each a unique one (LABEL=NAME)")
        names[label] = name or label
    if not names:
        raise ConfigError("recognizers is empty; give for example recognizers=embedded")
    return names


class RecognizerOptions(NamedTuple):
    """A recogniser's name with its decoding options.

    ``beam`` 0 is greedy decoding; ``model`` is an n-gram model's file, or ``embedded`` for the package's, with its
    ``weight``; ``rescoring`` is a larger model (ARPA file, hub id or folder).
    """

    name: str
    beam: int = 0
    model: str | None = None
    weight: float = 0.5
    rescoring: str | None = None


def parse_recognizer(text: str) -> RecognizerOptions:
    """Parse ``NAME``, ``NAME+beam:32`` or ``NAME+beam:32+lm:FILE@0.5``, optionally with ``+rescore:MODEL``.

    Raises:
        ConfigError: if the beam or the weight is not a valid number.
    """
    name, _, options = text.partition("+beam:")
    if not options:
        if "+rescore:" in text:
            raise ConfigError(f"recognizers: {text}: rescoring needs a beam (NAME+beam:32+rescore:MODEL)")
        return RecognizerOptions(name)
    options, _, rescoring = options.partition("+rescore:")
    beam, _, model_option = options.partition("+lm:")
    model, _, weight = model_option.rpartition("@") if "@" in model_option else (model_option, "", "0.5")
    try:
        parsed = RecognizerOptions(name, int(beam), model or None, float(weight), rescoring or None)
    except ValueError as error:
        raise ConfigError(f"recognizers: {text}: beam and weight are numbers (NAME+beam:32+lm:FILE@0.5)") from error
    if parsed.beam < 1 or not 0 <= parsed.weight < 100:
        raise ConfigError(f"recognizers: {text}: give a beam of 1 or more and a weight from 0 to 100")
    return parsed


def cut_samples(utterance: Utterance) -> tuple[int, int]:
    """Begin and end of a cut in samples at 16 kHz, as recognisers take regions."""
    begin = round(utterance.offset * RATE)
    return begin, begin + round(utterance.duration * RATE)


def recognize_cut(recognizer: Recognizer, row: Utterance, audio: Path) -> Hypothesis:
    """What is said in a cut, in its own channel; words around it, which recognisers may hear too, are left out.

    Raises:
        AudioError: if the audio cannot be read.
    """
    channel = row.channel if audio_info(audio).channels > 1 else None
    heard = recognizer.recognize(str(audio), [cut_samples(row)], channel=channel)
    return heard.between(row.offset, row.offset + row.duration)


def load_transcriber(name: str, lang: str, device: str) -> Transcriber:
    """Load a recogniser as a function from a cut to its text.

    Raises:
        UserError: if it cannot be loaded.
    """
    if name == "pocketsphinx":
        return _pocketsphinx(lang)
    parsed = parse_recognizer(name)
    recognizer = load_recognizer(parsed.name, lang, device)
    if parsed.beam:
        model = _words(lang) if parsed.model == "embedded" else parsed.model
        recognizer = with_beam(recognizer, parsed.beam, model, parsed.weight, rescoring=parsed.rescoring, device=device)

    def transcribe(utterance: Utterance, path: Path) -> str:
        return " ".join(recognize_cut(recognizer, utterance, path).text.split())

    return transcribe


def _words(lang: str) -> Path:
    """The package's n-gram model of a language.

    Raises:
        UserError: if there is none.
    """
    path = embedded_words(lang)
    if path is None:
        raise UserError(f"the package has no words of lang {lang!r}; give an n-gram model's file (speechkit lm build)")
    return path


def _pocketsphinx(lang: str) -> Transcriber:
    """PocketSphinx with the US English model of its PyPI package."""
    from speechkit.data.audio import read_cut

    pocketsphinx: Any = require("pocketsphinx")
    if lang != "en":
        raise UserError(f"lang={lang}: pocketsphinx has a model only for en; leave it out")
    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")

    def transcribe(utterance: Utterance, path: Path) -> str:
        samples = read_cut(path, utterance, sample_rate=RATE)
        decoder.start_utt()
        decoder.process_raw((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return "" if hypothesis is None else hypothesis.hypstr

    return transcribe


def recognizers_digest(text: str) -> str:
    """Digest of all named recognisers."""
    return "; ".join(f"{label}={_digest(name)}" for label, name in named_recognizers(text).items())


def _digest(name: str) -> str:
    parsed = parse_recognizer(name)
    digest = recognizer_digest(parsed.name)
    if not parsed.beam:
        return digest
    files = [Path(parsed.model)] if parsed.model is not None else []
    if parsed.model == "embedded":
        files = sorted(MODELS.glob("*/words.safetensors"))  # of all languages: the language is not known here
    elif any(not path.is_file() for path in files):
        raise ConfigError(f"recognizers: {parsed.model}: no such file; build it with speechkit lm build")
    model = f" lm {' '.join(map(digest_file, files))} weight {parsed.weight:g}" if files else ""
    return f"{digest} beam {parsed.beam}{model}"
