"""Rows of manifests, recognised one by one, with recognition times."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from speechkit.asr.hypothesis import Recognizer
from speechkit.asr.named import recognize_cut
from speechkit.data.records import Utterance


def recognize_row(recognizer: Recognizer, row: Utterance, audio: Path) -> Utterance:
    """The row with the recognised text and ``custom.compute_seconds``, the time taken, reading the audio included.

    Raises:
        AudioError: if the audio cannot be read.
    """
    began = time.perf_counter()
    text = recognize_cut(recognizer, row, audio).text
    seconds = round(time.perf_counter() - began, 6)
    custom = {**(row.custom or {}), "compute_seconds": seconds}
    return msgspec.structs.replace(row, text=" ".join(text.split()), alignment=None, custom=custom)
