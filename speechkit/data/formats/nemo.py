"""NeMo manifests: the same JSON lines with fewer fields.

Writing is lossless: NeMo ignores fields that it does not know. Reading adds what NeMo's files lack: an id from path
and offset, and the sample rate from the audio header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.formats.identity import Identifiers, utterance_from_fields
from speechkit.data.formats.losses import OPTIONAL, Losses, Written
from speechkit.data.manifest import read_jsonl, rebase, write_jsonl
from speechkit.data.records import AlignmentItem, Channel, SampleRate, Seconds, Source, Utterance
from speechkit.errors import ManifestError

HELD = frozenset(OPTIONAL)
OWN = {"id", "audio_filepath", "duration", "sample_rate", *OPTIONAL}


def write_nemo(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write a NeMo manifest; relative audio paths of the records refer to ``folder``."""
    losses = Losses(HELD)

    def line(record: Utterance) -> dict[str, Any]:
        # NeMo requires these three in every row, even with their default values.
        fields = {"audio_filepath": record.audio_filepath, "offset": record.offset, "duration": record.duration}
        if record.text is None:
            losses.changed["text missing, written as an empty one"] += 1
        return {**fields, "text": record.text or "", **msgspec.to_builtins(record)}

    write_jsonl(path, (line(record) for record in losses.passing(rebase(records, folder, path.parent))))
    return losses.written(path)


def read_nemo(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read a NeMo manifest as utterances for a manifest in ``folder``; unknown fields go to ``custom``."""
    identifiers = Identifiers()
    for number, row in enumerate(read_jsonl(path, dict[str, Any]), 1):
        location = f"{path}:{number}"
        audio = row.pop("audio_filepath", None) or row.pop("audio_file", None)
        if not isinstance(audio, str):
            raise ManifestError(f"{location}: has no audio_filepath; give each row the path of its audio")
        custom = {key: row.pop(key) for key in list(row) if key not in OWN}
        custom.update(row.pop("custom", None) or {})
        try:
            known = {
                name: msgspec.convert(row.pop(name), kind) for name, kind in KINDS.items() if row.get(name) is not None
            }
        except msgspec.ValidationError as error:
            raise ManifestError(f"{location}: {error}") from error
        yield utterance_from_fields(
            location, path.parent, audio, {**known, "custom": custom or None}, folder, identifiers
        )


KINDS: dict[str, Any] = {
    "id": str,
    "offset": Seconds,
    "duration": Seconds,
    "sample_rate": SampleRate,
    "channel": Channel,
    "text": str,
    "speaker": str,
    "lang": str,
    "alignment": dict[str, list[AlignmentItem]],
    "units": list[int],
    "features": str,
    "score": float,
    "source": Source,
}
