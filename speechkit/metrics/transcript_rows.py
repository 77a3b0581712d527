"""Transcripts from rows with named fields: JSON lines of many toolkits, CSV, and tsv files with a header."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from speechkit.data.manifest import read_jsonl
from speechkit.errors import UserError
from speechkit.metrics.text_lines import numbered_lines
from speechkit.metrics.transcript_records import NO_GROUPS, Audio, Role, Transcript

IDS = ("id", "utt_id", "utterance_id", "uttid", "utt", "key", "segment_id", "question_id")
AUDIOS = ("audio_filepath", "audio_file", "audio_path", "file_name", "filename", "wav", "audio", "path", "file")
TEXTS = ("text", "normalized_text", "reference", "ref", "transcript", "transcription", "sentence", "raw_text")
HYPOTHESES = ("pred_text", "hypothesis", "hyp", "prediction", "predicted_text", "pred", "transcription")
GUESSES = (*HYPOTHESES, *TEXTS)
SPEAKERS = ("speaker", "speaker_id", "spk", "spk_id", "client_id")
RECORDINGS = ("recording", "recording_id", "call", "session_id", "meeting_id", "issue_id", "document_id")
SEVERAL = ("pred_text_", "hypothesis_", "hyp_", "prediction_", "pred_")  # prefixes of the fields of several systems
SECONDS = ("compute_seconds", "processing_seconds", "transcription_time", "time")  # of recognition
MOST_SHARED = 10_000
LONGEST_GROUP = 64  # characters; longer fields are not groups


def read_rows(path: Path, role: Role, text_field: str | None = None) -> Iterator[tuple[int, Transcript]]:
    """Rows of a ``.jsonl``, ``.csv`` or ``.tsv`` file as transcripts with their line numbers.

    The id is the first of `IDS` that a row has, else its audio path with its offset, if it has one. The text is
    ``text_field``, else the first of `TEXTS` (reference) or `GUESSES` (hypothesis), so that one NeMo manifest with
    ``text`` and ``pred_text`` can be both sides. If any row of a hypothesis file has one of `HYPOTHESES`, rows
    without it, or with null, are missing hypotheses and left out. A row with ``supervisions`` is a Lhotse cut.

    Raises:
        UserError: with ``file:line`` if a row has no id or no text, or does not match the file's suffix.
    """
    if role == "hypothesis":
        return _recognised(_rows(path, role, text_field))
    return ((number, transcript) for number, transcript, _ in _rows(path, role, text_field) if transcript is not None)


def _recognised(rows: Iterable[tuple[int, Transcript | None, bool]]) -> Iterator[tuple[int, Transcript]]:
    """Rows with a hypothesis; reference texts count as hypotheses only if no row of the file has one."""
    others: list[tuple[int, Transcript]] | None = []
    for number, transcript, named in rows:
        if named:
            others = None
        if transcript is None:
            continue
        if named:
            yield number, transcript
        elif others is not None:
            others.append((number, transcript))
    yield from others or ()


def _rows(path: Path, role: Role, text_field: str | None) -> Iterator[tuple[int, Transcript | None, bool]]:
    """Line number, transcript (None: a hypothesis that is missing), and whether its field is a hypothesis field."""
    name = path.name.removesuffix(".gz")
    shared = _Shared()
    rows: Iterable[tuple[int, Mapping[str, Any]]]
    if name.endswith((".jsonl", ".json", ".ndjson")):
        rows = enumerate(read_jsonl(path, dict[str, Any]), 1)
    else:
        rows = _table(path, "\t" if name.endswith(".tsv") else ",")
    for number, row in rows:
        location = f"{path}:{number}"
        if "supervisions" in row:
            yield from ((number, transcript, False) for transcript in _cut(row, location, text_field))
        else:
            asked = (text_field,) if text_field else HYPOTHESES
            named = role == "hypothesis" and any(field in row for field in asked)
            yield number, _row(row, location, role, text_field, named, shared), named


def _table(path: Path, separator: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows by the names in the first line. A tsv has no quoting: a quotation mark is a character of the text."""
    if separator == "\t":
        lines = numbered_lines(path)
        _, first = next(lines, (1, ""))
        head = first.split("\t")
        for number, line in lines:
            cells = line.split("\t")
            if len(cells) != len(head):
                raise UserError(f"{path}:{number}: has {len(cells)} cells and the header {len(head)}; fix the row")
            yield number, dict(zip(head, cells, strict=True))
        return
    csv.field_size_limit(1 << 24)
    reader = csv.DictReader(line + "\n" for _, line in numbered_lines(path))
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{path}:{reader.line_num}: has another number of cells than the header; fix the row")
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: is not CSV ({error}); fix it") from error


def _first(row: Mapping[str, Any], names: Iterable[str]) -> tuple[str | None, Any]:
    """The first name with a value that is not None, and that value."""
    for name in names:
        if row.get(name) is not None:
            return name, row[name]
    return None, None


class _Shared(dict[str, str]):
    """Interned strings of speakers, recordings and group values."""

    def __missing__(self, text: str) -> str:
        if len(self) < MOST_SHARED:
            self[text] = text
        return text


def _row(
    row: Mapping[str, Any], location: str, role: Role, text_field: str | None, named: bool, shared: _Shared
) -> Transcript | None:
    audio = _audio(row, shared)
    id_field, identifier = _first(row, IDS)
    if identifier in (None, ""):
        identifier = _made_id(row, audio)
    if identifier is None:
        raise UserError(f"{location}: has no id; give each row one of {', '.join(IDS[:4])} or {AUDIOS[0]}")
    names = (text_field,) if text_field else HYPOTHESES if named else GUESSES if role == "hypothesis" else TEXTS
    text_key, text = _first(row, names)
    if text_key is None and named:
        return None
    several = []
    if role == "hypothesis" and not text_field:
        several = sorted(field for field in row if field.startswith(SEVERAL) and field not in HYPOTHESES)
    if several and text_key in TEXTS:
        raise UserError(
            f"{location}: has the hypotheses {', '.join(several)[:100]} and {text_key!r} is the reference's; "
            "choose one by --hyp-field"
        )
    if text_key is None:
        wanted = text_field or ", ".join(names[:3])
        raise UserError(f"{location}: {identifier} has no text ({wanted}); give every utterance a text, possibly empty")
    if not isinstance(text, str):
        raise UserError(f"{location}: {identifier}: {text_key} is a {type(text).__name__}; give a text")
    speaker_field, speaker = _first(row, SPEAKERS)
    recording_field, recording = _first(row, RECORDINGS)
    custom = row.get("custom")
    if recording is None and isinstance(custom, Mapping):
        recording = custom.get("recording")
    if recording is None and audio is not None and "offset" in row:
        recording = audio.path
    used = {id_field, text_key, speaker_field, recording_field, *TEXTS, *GUESSES, *AUDIOS, *IDS}
    fields = {**custom, **row} if isinstance(custom, Mapping) else row
    groups = {
        k: shared[v]
        for k, v in fields.items()
        if k and k not in used and isinstance(v, str) and 0 < len(v) <= LONGEST_GROUP
    }
    who, where = (shared[name] if (name := _text(value)) else None for value in (speaker, recording))
    seconds = _number(_first(fields, SECONDS)[1]) if role == "hypothesis" else None
    return Transcript(str(identifier), text, who, where, audio, groups or NO_GROUPS, seconds)


def _made_id(row: Mapping[str, Any], audio: Audio | None) -> str | None:
    if row.get("issue_id") and str(row.get("start_ms", "")).isdigit() and str(row.get("duration_ms", "")).isdigit():
        # SLUE's dialogue acts name a clip by its call and its milliseconds.
        return f"{row['issue_id']}_{row['start_ms']}_{int(row['start_ms']) + int(row['duration_ms'])}"
    if audio is None:
        return None
    return f"{audio.path}@{audio.offset:g}" if audio.offset else audio.path


def _audio(row: Mapping[str, Any], shared: _Shared) -> Audio | None:
    _, path = _first(row, AUDIOS)
    if isinstance(path, Mapping):  # Hugging Face's decoded audio column
        path = path.get("path")
    if not isinstance(path, str) or not path:
        return None
    offset, duration = _number(row.get("offset")), _number(row.get("duration"))
    return Audio(shared[path], offset or 0.0, duration, _channel(row))


def _channel(row: Mapping[str, Any]) -> int | None:
    """The channel of a manifest row or a Lhotse cut, where it names one."""
    channel = row.get("channel")
    return channel if isinstance(channel, int) and not isinstance(channel, bool) and channel >= 0 else None


def _cut(row: Mapping[str, Any], location: str, text_field: str | None) -> Iterator[Transcript]:
    """One transcript per Lhotse supervision; the id is the cut's if there is only one."""
    supervisions = row["supervisions"]
    if not isinstance(supervisions, list) or not all(isinstance(part, dict) for part in supervisions):
        raise UserError(f"{location}: is not a Lhotse cut: supervisions is not a list of objects; fix it")
    recording = row.get("recording")
    sources = recording.get("sources") if isinstance(recording, dict) else None
    path = sources[0].get("source") if isinstance(sources, list) and sources and isinstance(sources[0], dict) else None
    if not supervisions:
        raise UserError(f"{location}: {row.get('id')} has no supervision; give every cut a text, possibly empty")
    for part in supervisions:
        identifier = row.get("id") if len(supervisions) == 1 else part.get("id")
        custom = part.get("custom") or {}
        text = part.get(text_field, custom.get(text_field)) if text_field else part.get("text")
        if not isinstance(identifier, str) or not isinstance(text, str):
            raise UserError(f"{location}: a supervision of {row.get('id')} has no id or no text; give it both")
        start = (_number(row.get("start")) or 0.0) + (_number(part.get("start")) or 0.0)
        length = _number(part.get("duration"))
        audio = Audio(path, max(0.0, start), length, _channel(part)) if isinstance(path, str) else None
        name = part.get("recording_id") or (recording.get("id") if isinstance(recording, dict) else None)
        groups = {k: v for k, v in {**custom, **part}.items() if k in ("language", "gender") and isinstance(v, str)}
        yield Transcript(identifier, text, _text(part.get("speaker")), _text(name), audio, groups)


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < 1e9 else None
