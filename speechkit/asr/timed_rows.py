"""Recordings and rows of manifests, recognised one by one, with recognition times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from speechkit.asr.hypothesis import Recognizer
from speechkit.asr.named import RATE, recognize_cut
from speechkit.data.manifest import audio_path, read_manifest, unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import UserError, shown
from speechkit.io.audio import audio_info


def input_rows(inputs: Sequence[Path]) -> Iterator[tuple[Utterance, Path]]:
    """A row with its audio path per recording, and per row of inputs that are manifests (.jsonl).

    Raises:
        UserError: if ids are duplicate, or a manifest cannot be read.
    """
    ids: dict[str, Path] = {}
    for path in inputs:
        rows: Iterator[tuple[Utterance, Path]]
        if path.suffix == ".jsonl":
            rows = ((row, audio_path(path, row)) for row in unique_ids(read_manifest(path), path))
        else:
            rows = iter(
                [(Utterance(id=shown(path.stem), audio_filepath=str(path), duration=0.0, sample_rate=RATE), path)]
            )
        for row, audio in rows:
            if row.id in ids:
                raise UserError(f"{path}: duplicate id {row.id}, also of {ids[row.id]}; recognise them separately")
            ids[row.id] = path
            yield row, audio


def recognize_row(recognizer: Recognizer, row: Utterance, audio: Path) -> Utterance:
    """The row with the recognised text and ``custom.compute_seconds``, the time taken, reading the audio included.

    Raises:
        AudioError: if the audio cannot be read.
    """
    began = time.perf_counter()
    if row.duration:
        text = recognize_cut(recognizer, row, audio).text
    else:
        text = recognizer.recognize(str(audio)).text
        info = audio_info(audio)
        row = Utterance.from_samples(
            id=row.id, audio_filepath=row.audio_filepath, num_samples=info.num_samples, sample_rate=info.sample_rate
        )
    seconds = round(time.perf_counter() - began, 6)
    custom = {**(row.custom or {}), "compute_seconds": seconds}
    return msgspec.structs.replace(row, text=" ".join(text.split()), alignment=None, custom=custom)
