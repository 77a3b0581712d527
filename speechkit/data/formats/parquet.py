"""Hugging Face Parquet: rows with embedded audio or audio paths, and the schema of an Audio feature of `datasets`.

The conversion is lossless: units, and ``durations`` of ``custom``, are lists of numbers; other nested fields are stored
as JSON text. With embedded audio, each row contains its cut as FLAC, and offset, channel and path give its origin. With
paths, `datasets` decodes the whole file: rows that are cuts of longer recordings are counted, and keep their offset and
duration. Requires the extra ``parquet``.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.audio import read_cut
from speechkit.data.formats.identity import AbsoluteAudio, FileNames, relative_audio
from speechkit.data.formats.losses import OPTIONAL, Losses, Written
from speechkit.data.formats.nemo import KINDS
from speechkit.data.records import Utterance
from speechkit.errors import ManifestError, require
from speechkit.io.atomic import atomic_path, write_bytes
from speechkit.io.audio import audio_info
from speechkit.io.paths import safe_id

ROWS_PER_GROUP = 100
ROWS_PER_GROUP_BY_PATH = 10_000
NESTED = ("alignment", "source", "custom")
LISTS = ("units", "durations")
"""Columns of integers; durations only if the first row has units."""


def write_parquet(records: Iterable[Utterance], path: Path, folder: Path, *, embed: bool = True) -> Written:
    """Write a Parquet file; relative audio paths of the records refer to ``folder``.

    Args:
        records: the utterances.
        path: the ``.parquet`` file.
        folder: base of relative audio paths.
        embed: store the audio of each cut in its row as FLAC; otherwise its absolute path.

    Raises:
        MissingExtraError: if pyarrow is not installed.
    """
    arrow = require("pyarrow")
    parquet = require("pyarrow.parquet")
    losses, absolute = Losses(OPTIONAL), AbsoluteAudio(folder)
    remaining = iter(records)
    first = list(itertools.islice(remaining, 1))
    schema = _schema(arrow, bool(first) and first[0].units is not None)
    size = ROWS_PER_GROUP if embed else ROWS_PER_GROUP_BY_PATH
    with atomic_path(path) as temporary, parquet.ParquetWriter(str(temporary), schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for record in losses.passing(itertools.chain(first, remaining)):
            row = _row(record, absolute.of(record), embed, losses)
            rows.append(row if "durations" in schema.names else {**row, "custom": _json(record.custom)})
            if len(rows) == size:
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
                rows = []
        if rows:
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
    return losses.written(path)


def read_parquet(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read a Parquet file (also one of `datasets`) for a manifest in ``folder``.

    Embedded audio is written to ``folder / "audio"``. Unknown columns go to ``custom``.

    Raises:
        MissingExtraError: if pyarrow is not installed.
        ManifestError: if the file is not Parquet or has no column ``audio``.
    """
    arrow = require("pyarrow")
    parquet = require("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(str(path))
    except (arrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ManifestError(f"{path}: is not a readable Parquet file ({reason}); make it again") from error
    with file:
        if "audio" not in file.schema_arrow.names:
            raise ManifestError(f"{path}: has no column audio; rename the column that holds the audio")
        number = 0
        file_names = FileNames()
        for batch in file.iter_batches(batch_size=ROWS_PER_GROUP):
            for row in batch.to_pylist():
                number += 1
                try:
                    yield _utterance(row, f"{path}: row {number}", path, folder, number, file_names)
                except msgspec.MsgspecError as error:
                    raise ManifestError(f"{path}: row {number}: {error}") from error


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _schema(arrow: Any, with_durations: bool) -> Any:
    text, floating = arrow.string(), arrow.float64()
    columns = [
        ("id", text, "string"),
        ("audio", arrow.struct([("bytes", arrow.binary()), ("path", text)]), None),
        ("text", text, "string"),
        ("speaker", text, "string"),
        ("lang", text, "string"),
        ("duration", floating, "float64"),
        ("sample_rate", arrow.int32(), "int32"),
        ("offset", floating, "float64"),
        ("channel", arrow.int32(), "int32"),
        ("score", floating, "float64"),
        ("features", text, "string"),
        *((name, text, "string") for name in NESTED),
    ]
    features: dict[str, Any] = {
        name: {"_type": "Audio"} if kind is None else {"dtype": kind, "_type": "Value"} for name, _, kind in columns
    }
    for name in LISTS if with_durations else LISTS[:1]:
        columns.append((name, arrow.list_(arrow.int64()), None))
        features[name] = [{"dtype": "int64", "_type": "Value"}]
    metadata = msgspec.json.encode({"info": {"features": features}}).decode()
    return arrow.schema([(name, kind) for name, kind, _ in columns], metadata={"huggingface": metadata})


def _row(record: Utterance, audio: str, embed: bool, losses: Losses) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in ("id", "text", "speaker", "lang", "duration", "sample_rate")}
    row |= {name: getattr(record, name) for name in ("offset", "channel", "score", "features")}
    row |= {name: _json(getattr(record, name)) for name in NESTED}
    row["units"] = record.units
    custom = dict(record.custom or {})
    durations = custom.get("durations")
    if (
        record.units is not None
        and isinstance(durations, list)
        and all(type(duration) is int for duration in durations)
    ):
        row["durations"] = custom.pop("durations")
        row["custom"] = _json(custom or None)
    if not embed:
        header = audio_info(audio)
        if record.offset_samples or record.num_samples != header.num_samples or header.channels > 1:
            losses.changed["cuts by path: datasets decodes their whole file; embed the audio instead"] += 1
        row["audio"] = {"bytes": None, "path": audio}
        return row
    import soundfile

    coded = io.BytesIO()
    soundfile.write(coded, read_cut(audio, record), audio_info(audio).sample_rate, format="FLAC", subtype="PCM_16")
    row["audio"] = {"bytes": coded.getvalue(), "path": f"{safe_id(record.id)}.flac"}
    return row


def _utterance(
    row: dict[str, Any], location: str, path: Path, folder: Path, number: int, file_names: FileNames
) -> Utterance:
    audio = row.pop("audio") or {}
    known: dict[str, Any] = {}
    for name, kind in KINDS.items():
        value = row.pop(name, None)
        if value is None:
            continue
        nested = name in (*NESTED, "units") and isinstance(value, str)  # older files store units as text
        known[name] = msgspec.json.decode(value, type=kind) if nested else msgspec.convert(value, kind, strict=False)
    stored = row.pop("custom", None)
    custom = {key: value for key, value in row.items() if value is not None}
    custom |= msgspec.json.decode(stored, type=dict[str, Any]) if isinstance(stored, str) else dict(stored or {})
    identifier = known.pop("id", None) or f"{safe_id(path.stem)}-{number:07d}"
    offset, duration, _ = known.pop("offset", 0.0), known.pop("duration", None), known.pop("sample_rate", None)
    if audio.get("bytes"):
        suffix = Path(audio.get("path") or "").suffix.lower() or ".flac"
        file = folder / "audio" / file_names.give(identifier, suffix if suffix[1:].isalnum() else ".flac")
        write_bytes(file, audio["bytes"])
        header = audio_info(file)
        begin, length = 0, header.num_samples
        known.pop("channel", None)
    elif audio.get("path"):
        file = path.parent / audio["path"]
        header = audio_info(file)
        begin = round(offset * header.sample_rate)
        length = header.num_samples - begin if duration is None else round(duration * header.sample_rate)
    else:
        raise ManifestError(f"{location}: has neither audio bytes nor a path; fill the column audio")
    return Utterance.from_samples(
        offset_samples=begin,
        num_samples=length,
        sample_rate=header.sample_rate,
        id=identifier,
        audio_filepath=relative_audio(folder, file),
        custom=custom or None,
        **known,
    )
