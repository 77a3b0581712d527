"""Any folder of audio with a ``label.json`` that maps file names to labels, such as intent and slots.

Layout: ``label.json`` at the top, ``{"<file>": {...}}``, and audio anywhere below, matched by stem, so that a
corpus may list WAV names and ship Opus. The labels go to ``custom`` unchanged; there is no transcript unless they have
a string ``text``. Example: the spoken commands of barista intents.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError
from speechkit.io.paths import safe_id

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .folders import files_below, is_audio
from .tables import require_file

LABELS = "label.json"


def splits(request: Request) -> list[str]:
    """A single split, ``all``."""
    require_file(request.source / LABELS, "give the folder that holds it and the audio")
    return ["all"]


def read(request: Request, split: str) -> Iterator[Item]:
    """Clips sorted by file name, then audio without labels."""
    path = request.source / LABELS
    try:
        labels = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not an object of objects ({error}); use the published file") from error
    audio: dict[str, Path] = {}
    doubled: set[str] = set()
    for file in files_below(request.source):
        if is_audio(file):
            if file.stem in audio:
                doubled.add(file.stem)
            audio.setdefault(file.stem, file)
    stems = {Path(name).stem: record for name, record in sorted(labels.items())}
    for stem in sorted(audio.keys() | stems.keys()):
        if stem not in audio:
            yield LeftOut(stem, "audio_missing", f"{path}: names {stem}, and no audio has that stem")
        elif stem not in stems:
            yield LeftOut(stem, "transcript_missing", f"{audio[stem]}: {LABELS} does not name it")
        elif stem in doubled:
            yield LeftOut(stem, "duplicate_id", f"{audio[stem]}: another file has the same stem; labels name only one")
        else:
            text = stems[stem].get("text")
            yield Clip(
                safe_id(stem),
                audio[stem],
                text if isinstance(text, str) else None,
                speaker=request.speaker,
                lang=request.lang,
                custom=stems[stem] or None,
            )


CORPUS = Corpus(
    name="audio_labels",
    title="a folder of audio with label.json",
    licence="that of its files",
    homepage="none",
    citation="its makers",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
