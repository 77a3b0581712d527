"""The recordings of `calibration_recordings.py` with what a recogniser makes of them, kept between runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.simulated_chapters import SAMPLE_RATE, Spoken
from scripts.calibration_recordings import Reading
from speechkit.asr import load_recognizer
from speechkit.asr.hypothesis import Emissions, Hypothesis
from speechkit.asr.load import recognizer_digest
from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.io.atomic import write_json
from speechkit.io.audio import write_audio
from speechkit.mining.config import RegionsConfig
from speechkit.mining.regions import find_speech


class _Facts(msgspec.Struct):
    """What is kept beside the arrays; ``recognizer`` is a digest."""

    recognizer: str
    spoken: list[Spoken]
    text: str
    hop_seconds: float
    vocabulary: list[str]
    blank: int


@dataclass
class RecognizedReading:
    """A recording with its loudness every 10 ms and its hypothesis."""

    name: str
    reader: str
    condition: str
    spoken: list[Spoken]
    levels: NDArray[np.float32]
    hypothesis: Hypothesis


def recognized_readings(
    readings: Iterator[Reading], recognizer: str, kept: Path | None = None
) -> Sequence[RecognizedReading]:
    """Recognise every recording; with a folder ``kept``, those that are there from an earlier run are read.

    Raises:
        UserError: if there is no such recogniser, or it gives no emissions.
    """
    digest, loaded = recognizer_digest(recognizer), None
    made = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.wav"
        for reading in readings:
            file = None if kept is None else kept / f"{reading.name}.safetensors"
            done = _read(reading, file, digest) if file is not None and file.with_suffix(".json").is_file() else None
            if done is None:
                loaded = loaded or load_recognizer(recognizer)
                waveform, spoken = reading.load()
                write_audio(path, waveform, SAMPLE_RATE)
                speech, levels = find_speech(path, RegionsConfig())
                hypothesis = loaded.recognize(str(path), speech)
                done = RecognizedReading(reading.name, reading.reader, reading.condition, spoken, levels, hypothesis)
                if file is not None:
                    _write(done, file, digest)
            made.append(done)
            print(f"recognised {reading.name}", flush=True)
    return made


def _write(done: RecognizedReading, path: Path, digest: str) -> None:
    """Keep the result; without emissions there is nothing to calibrate with."""
    hypothesis, emissions = done.hypothesis, done.hypothesis.emissions
    if emissions is None:
        raise UserError(f"{done.name}: the recogniser gives no emissions; calibrate with a CTC model")
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {"levels": done.levels, "log_probs": emissions.log_probs}
    arrays |= {"starts": hypothesis.starts, "ends": hypothesis.ends, "scores": hypothesis.scores}
    vocabulary = list(emissions.vocabulary)
    facts = _Facts(digest, done.spoken, hypothesis.text, emissions.hop_seconds, vocabulary, emissions.blank)
    write_arrays(path, arrays)
    write_json(path.with_suffix(".json"), facts)  # last: with it the pair is complete


def _read(reading: Reading, path: Path, digest: str) -> RecognizedReading | None:
    """The kept result; None if it is another recogniser's."""
    facts = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=_Facts)
    if facts.recognizer != digest:
        return None
    arrays = read_arrays(path)
    log_probs, levels = np.asarray(arrays["log_probs"], np.float16), np.asarray(arrays["levels"], np.float32)
    starts, ends = np.asarray(arrays["starts"], np.float64), np.asarray(arrays["ends"], np.float64)
    emissions = Emissions(log_probs, facts.hop_seconds, tuple(facts.vocabulary), facts.blank)
    hypothesis = Hypothesis(facts.text, starts, ends, np.asarray(arrays["scores"], np.float32), emissions)
    return RecognizedReading(reading.name, reading.reader, reading.condition, facts.spoken, levels, hypothesis)
