"""Reference and hypothesis files: Kaldi text, NIST trn, and JSON lines manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from speechkit.data.manifest import read_jsonl
from speechkit.errors import UserError

TRN = re.compile(r"^(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)\s*$")
MAX_LINE_BYTES = 1 << 24


class Transcript(msgspec.Struct, frozen=True):
    """One line of a transcript file; other fields of a manifest are passed over."""

    id: str
    text: str | None = None
    speaker: str | None = None


def read_transcripts(path: Path | str) -> list[Transcript]:
    """Transcripts of a file, in its order.

    ``.jsonl``, ``.json`` and ``.jsonl.gz`` are manifests with ``id`` and ``text``; ``.trn`` has ``text (id)`` a line;
    anything else is Kaldi's ``id text``. An id alone is an empty text.

    Raises:
        UserError: if the file cannot be read, an id stands twice, or a manifest line has no text, with the line.
    """
    path = Path(path)
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".json")):
        found = _manifest(path)
    elif name.endswith(".trn"):
        found = _trn(path)
    else:
        found = ((n, Transcript(*_key(line))) for n, line in _lines(path))
    taken: dict[str, int] = {}
    transcripts: list[Transcript] = []
    for number, transcript in found:
        first = taken.setdefault(transcript.id, number)
        if first != number:
            raise UserError(f"{path}:{number}: {transcript.id} stands on line {first} too; every id must be unique")
        transcripts.append(transcript)
    if not transcripts:
        raise UserError(f"{path}: holds no transcript; give Kaldi text, .trn or a .jsonl manifest")
    return transcripts


def read_speakers(path: Path | str) -> dict[str, str]:
    """Speaker of each id, from Kaldi's ``utt2spk``."""
    speakers: dict[str, str] = {}
    for number, line in _lines(Path(path)):
        key, speaker = _key(line)
        if not speaker or speakers.setdefault(key, speaker) != speaker:
            raise UserError(f"{path}:{number}: {key} has no speaker or two; give one speaker for each id")
    return speakers


def _key(line: str) -> tuple[str, str]:
    key, *text = line.strip().split(maxsplit=1)
    return key, text[0] if text else ""


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise UserError(f"{path}:{number}: is longer than 16 MiB; this is no file of transcripts")
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}:{number}: byte {error.start} is not UTF-8; convert the file") from error
                if text.strip():
                    yield number, text
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error


def _trn(path: Path) -> Iterator[tuple[int, Transcript]]:
    for number, line in _lines(path):
        match = TRN.match(line.rstrip("\r\n"))
        if not match:
            raise UserError(f"{path}:{number}: does not end in (id); write: text (id)")
        yield number, Transcript(match["id"], match["text"].strip())


def _manifest(path: Path) -> Iterator[tuple[int, Transcript]]:
    for number, transcript in enumerate(read_jsonl(path, Transcript), 1):
        if transcript.text is None:
            raise UserError(f"{path}: {transcript.id} has no text; give every utterance a text, an empty one if silent")
        yield number, transcript
