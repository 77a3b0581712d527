"""Convert manifests between formats, counting what the target cannot represent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.formats.losses import OPTIONAL, Losses, Written
from speechkit.data.manifest import read_jsonl, read_manifest, rebase, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import ManifestError, UserError

Reader = Callable[[Path, Path], Iterator[Utterance]]


class Format(msgspec.Struct, frozen=True):
    """A format: the module of ``read_NAME(path, folder)`` and ``write_NAME(records, path, folder)``, and its limits."""

    module: str
    description: str
    cannot_hold: str


FORMATS = {
    "speechkit": Format("speechkit.data.convert", "JSON lines, .jsonl or .jsonl.gz", "nothing"),
    "nemo": Format("speechkit.data.formats.nemo", "NeMo manifest, .json or .jsonl", "a missing text (written empty)"),
    "lhotse": Format("speechkit.data.formats.lhotse", "CutSet, .jsonl or .jsonl.gz", "nothing"),
    "shar": Format("speechkit.data.formats.lhotse", "Shar folder (extra lhotse)", "offset, channel, file names"),
    "webdataset": Format("speechkit.data.formats.webdataset", "folder of tar shards", "offset, channel, file names"),
    "kaldi": Format(
        "speechkit.data.formats.kaldi", "data directory", "alignment, units, features, score, source, custom"
    ),
    "parquet": Format("speechkit.data.formats.parquet", "Hugging Face .parquet (extra parquet)", "nothing"),
    "fairseq": Format(
        "speechkit.data.formats.fairseq",
        ".tsv with .ltr and .wrd",
        "speaker, lang, alignment, units, features, score, source, custom; cuts become clips",
    ),
    "csv": Format("speechkit.data.formats.table", ".csv with a header", "the difference of an empty string and none"),
}


def convert(
    source: Path | str,
    target: Path | str,
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    **options: Any,
) -> Written:
    """Convert a manifest; formats not given are detected from file names and the first line.

    Relative audio paths are rebased from the source to the target. ``options`` go to the writer (Parquet: ``embed``).

    Raises:
        UserError: if a format cannot be detected, or is unknown.
        ManifestError: if the source cannot be read.
    """
    source, target = Path(source), Path(target)
    reading = _known(source_format or detect_format(source))
    writing = _known(target_format or format_of_name(target))
    if os.path.realpath(source) == os.path.realpath(target):
        raise UserError(f"{target}: is the source itself; choose another target")
    folder = target if writing in ("kaldi", "shar", "webdataset") else target.parent
    records = read_format(source, reading, folder)
    return write_format(records, target, writing, folder, **options)


def read_format(source: Path | str, name: str, folder: Path | str) -> Iterator[Utterance]:
    """The utterances of ``source`` in format ``name``, their audio paths relative to ``folder``."""
    name = _known(name)
    reader: Reader = getattr(import_module(FORMATS[name].module), f"read_{name}")
    return _guarded(source, reader(Path(source), Path(folder)))


def _guarded(source: Path | str, rows: Iterator[Utterance]) -> Iterator[Utterance]:
    """Validate rows against the record type; reader errors become messages with the row number."""
    number = 1
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Utterance).decode
    try:
        for row in rows:
            decode(encode(row))
            if "\0" in row.audio_filepath:
                raise ValueError("audio_filepath holds a NUL")
            yield row
            number += 1
    except (
        *(ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError),
        *(EOFError, OSError),  # of compressed files
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ManifestError(f"{source}: record {number} cannot be read ({reason}); fix or remove it") from error


def write_format(
    records: Iterable[Utterance], target: Path | str, name: str, folder: Path | str, **options: Any
) -> Written:
    """Write utterances whose audio paths are relative to ``folder`` in format ``name``."""
    name = _known(name)
    writer: Callable[..., Written] = getattr(import_module(FORMATS[name].module), f"write_{name}")
    return writer(records, Path(target), Path(folder), **options)


def read_speechkit(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read the native manifest format, with paths relative to ``folder``."""
    return rebase(read_manifest(path), path.parent, folder)


def write_speechkit(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write the native manifest format, without loss."""
    losses = Losses(OPTIONAL)
    write_manifest(path, losses.passing(rebase(records, folder, path.parent)))
    return losses.written(path)


def format_of_name(path: Path) -> str:
    """Detect the format of a target from its name.

    Raises:
        UserError: if the name is ambiguous or unknown.
    """
    name = path.name.lower()
    endings = {".parquet": "parquet", ".csv": "csv", ".tsv": "fairseq", ".jsonl": "speechkit", ".jsonl.gz": "speechkit"}
    for ending, format_name in endings.items():
        if name.endswith(ending):
            return format_name
    raise UserError(f"{path}: its name does not determine its format; add --to with one of {', '.join(FORMATS)}")


def detect_format(path: Path) -> str:
    """Detect the format of a source from its name, the files in its folder or its first line.

    Raises:
        UserError: if it cannot be detected.
    """
    if path.is_dir():
        if (path / "wav.scp").is_file():
            return "kaldi"
        if any(path.glob("cuts.*.jsonl*")):
            return "shar"
        if any(path.glob("*.tar")):
            return "webdataset"
        raise UserError(f"{path}: is no Kaldi directory (wav.scp), Shar (cuts.000000.jsonl.gz) or WebDataset (*.tar)")
    if path.suffix.lower() == ".tar":
        return "webdataset"
    if path.suffix.lower() in (".parquet", ".csv", ".tsv"):
        return format_of_name(path)
    first = next(iter(read_jsonl(path, dict[str, Any])), None)
    if first is None:
        raise ManifestError(f"{path}: is empty, so that its format cannot be detected; add --from")
    if "recording" in first or "supervisions" in first or first.get("type") in ("MonoCut", "MixedCut", "MultiCut"):
        return "lhotse"
    return "speechkit" if "id" in first and "sample_rate" in first else "nemo"


def _known(name: str) -> str:
    if name not in FORMATS:
        raise UserError(f"there is no format {name!r}; choose one of {', '.join(FORMATS)}")
    return name
