"""Export of a mined manifest to the formats of other tools, one folder each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data import audio_path, recording_of
from speechkit.data.convert import convert
from speechkit.data.formats.losses import Written
from speechkit.errors import AudioError, UserError
from speechkit.io.audio import audio_info
from speechkit.mining.export.card import data_card, write_card
from speechkit.mining.export.ctm import write_ctm
from speechkit.mining.export.recordings import utterances_of
from speechkit.mining.export.subtitles import write_subtitles
from speechkit.mining.export.textgrid import write_textgrids

# Name to (file or folder inside the target, what it is); the manifest converters are speechkit.data's.
CONVERTED = {
    "lhotse": ("cuts.jsonl.gz", "Lhotse cuts with word alignments"),
    "shar": ("shards", "Lhotse Shar with the audio inside"),
    "webdataset": ("shards", "WebDataset tar shards with the audio inside"),
    "kaldi": ("", "Kaldi data directory"),
    "parquet": ("data.parquet", "Hugging Face Parquet, audio inside or by path"),
    "fairseq": ("data.tsv", "fairseq tsv, ltr and wrd"),
    "nemo": ("manifest.json", "NeMo manifest"),
    "csv": ("data.csv", "CSV with a header"),
}
TIMED = {
    "ctm": "word times, one line each (NIST)",
    "textgrid": "Praat TextGrid of every recording",
    "srt": "subtitles of every recording",
}
FORMATS = {**{name: what for name, (_, what) in CONVERTED.items()}, **TIMED, "card": "data card, JSON and Markdown"}


class Exported(msgspec.Struct, frozen=True):
    """Result of one export: utterances, files, and what the format could not represent."""

    format: str
    utterances: int
    files: list[str]
    lost: dict[str, int] = {}
    changed: dict[str, int] = {}


def export_manifest(
    manifest: Path | str,
    folder: Path | str,
    name: str,
    *,
    embed: bool = True,
    durations: Mapping[str, float] | None = None,
) -> Exported:
    """Write a manifest in one format into ``folder``.

    Args:
        manifest: utterances; audio paths are relative to it.
        folder: made if it is missing.
        name: a key of `FORMATS`.
        embed: whether Parquet holds the audio itself or its path.
        durations: seconds of each recording, for TextGrids; read from the audio where absent.

    Raises:
        UserError: if the format is unknown, or a file cannot be read or written.
    """
    source, target = Path(manifest), Path(folder)
    if name not in FORMATS:
        raise UserError(f"format {name!r} is not known; choose from {', '.join(FORMATS)}")
    if name in CONVERTED:
        options: dict[str, Any] = {"embed": embed} if name == "parquet" else {}
        written = convert(source, target / CONVERTED[name][0], target_format=name, **options)
        return Exported(name, written.rows, written.files, written.lost, written.changed)
    target.mkdir(parents=True, exist_ok=True)
    return _timed(source, target, name, durations)


def _timed(source: Path, target: Path, name: str, durations: Mapping[str, float] | None) -> Exported:
    total = sum(1 for _ in utterances_of(source))
    written = Written(rows=total)
    if name == "ctm":
        written.rows = write_ctm(source, target / "words.ctm")
        written.files = [str(target / "words.ctm")]
        if written.rows < total:
            written.lost["utterances without word times"] = total - written.rows
    elif name == "card":
        written.files = [str(path) for path in write_card(data_card(source, name=source.stem), target)]
    elif name == "srt":
        written.files = [str(path) for path in write_subtitles(source, target)]
    else:
        known = durations if durations is not None else recording_seconds(source)
        written.files = [str(path) for path in write_textgrids(source, target, known)]
    return Exported(name, written.rows, written.files, written.lost, written.changed)


def recording_seconds(manifest: Path | str) -> dict[str, float]:
    """Length of every recording of a manifest whose audio can be read."""
    paths: dict[str, Path] = {}
    for utterance in utterances_of(manifest):
        paths.setdefault(recording_of(utterance), audio_path(manifest, utterance))
    known = {}
    for recording, path in paths.items():
        try:
            known[recording] = audio_info(path).duration
        except AudioError:
            # Without the audio a grid ends at its last sentence, which is still a valid grid.
            continue
    return known


def export(manifest: Path | str, out: Path | str, formats: Iterable[str], *, embed: bool = True) -> list[Exported]:
    """Write a manifest in several formats, each into ``out/<format>``; a name may be a comma-separated list.

    Raises:
        UserError: if a format is unknown (before anything is written), or the manifest is empty.
    """
    names = [part.strip() for name in formats for part in name.split(",") if part.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise UserError(f"format {', '.join(unknown) or 'none'} is not known; choose from {', '.join(FORMATS)}")
    if next(iter(utterances_of(Path(manifest))), None) is None:
        raise UserError(f"{manifest}: holds no utterances; there is nothing to export")
    return [export_manifest(manifest, Path(out) / name, name, embed=embed) for name in dict.fromkeys(names)]
