"""Units as other toolkits write them: slamkit and TWIST's JSON lines, textlesslib's and fairseq's lines of text.

What a format cannot hold (speaker, text, durations) is lost, and comes back from audio that is there, or not at all.
Facts of the formats: slamkit ``cli/extract_features.py`` and ``cli/prepare_tokens.py``, textlesslib
``tools/distributed_transcribe``, fairseq ``examples/textless_nlp/gslm/speech2unit``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from speechkit.data.manifest import read_jsonl, write_jsonl
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ManifestError, UserError
from speechkit.io.atomic import atomic_path
from speechkit.io.paths import safe_id
from speechkit.units.sequences import MOST_UNITS
from speechkit.units.tokenizer import Units
from speechkit.units.tokenizer_spec import TokenizerSpec
from speechkit.units.unit_manifest import with_units

UNIT = re.compile(r"<Un(\d{1,9})>")
MOST_LINE = 64 << 20
"""Characters; of a line of units, some thousand are usual."""
Pair = tuple[Utterance, Units]


class SlamkitRow(msgspec.Struct, omit_defaults=True):
    """A row of slamkit: features have ``units`` and ``duration``, tokens have ``audio_repr``."""

    file_name: str
    units: list[int] | None = None
    duration: list[int] | None = None
    audio_repr: str | None = None


def write_slamkit(path: Path, rows: Iterable[Pair], *, tokens: bool = False) -> int:
    """Slamkit's JSON lines: ``units`` and ``duration``, or, as ``tokens``, ``audio_repr`` such as ``<Un3><Un49>``."""

    def row(utterance: Utterance, units: Units) -> SlamkitRow:
        plain = _plain(utterance, units)
        if tokens:
            return SlamkitRow(utterance.audio_filepath, audio_repr="".join(f"<Un{unit}>" for unit in plain))
        return SlamkitRow(utterance.audio_filepath, units=plain, duration=units.durations.tolist())

    return write_jsonl(path, (row(*pair) for pair in rows))


def read_slamkit(path: Path, spec: TokenizerSpec) -> Iterator[Utterance]:
    """Rows of slamkit's features or tokens; tokens have no durations, each lasts one frame.

    Raises:
        ManifestError: if a row holds no units, or a unit that ``spec`` has not, with its line.
    """
    for number, row in enumerate(read_jsonl(path, SlamkitRow), 1):
        where = f"{path}:{number}"
        units, durations = row.units, row.duration
        if units is None and row.audio_repr is not None:
            if UNIT.sub("", row.audio_repr).strip():
                raise ManifestError(f"{where}: audio_repr holds more than units such as <Un3>; give speech alone")
            units = [int(unit) for unit in UNIT.findall(row.audio_repr)]
        if units is None:
            raise ManifestError(f"{where}: has neither units nor audio_repr; give what slamkit wrote")
        yield _row(where, path.parent / row.file_name, units, durations, spec)


def write_textless(path: Path, rows: Iterable[Pair]) -> int:
    """Textlesslib's lines, ``name<TAB>units``, and ``.durations`` beside them, line for line."""
    count = 0
    with ExitStack() as stack:
        file, lasting = (
            stack.enter_context(stack.enter_context(atomic_path(each)).open("w", encoding="utf-8"))
            for each in (path, _durations_path(path))
        )
        for row, units in rows:
            name = _line_name(row)
            print(f"{name}\t{' '.join(map(str, _plain(row, units)))}", file=file)
            print(f"{name}\t{' '.join(map(str, units.durations.tolist()))}", file=lasting)
            count += 1
    return count


def write_fairseq(path: Path, rows: Iterable[Pair]) -> int:
    """Fairseq's lines, ``name|units``, with a unit for every frame, as its quantizer writes them."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row, units in rows:
            frames = np.repeat(np.asarray(_plain(row, units), np.int32), units.durations)
            print(f"{_line_name(row)}|{' '.join(map(str, frames.tolist()))}", file=file)
            count += 1
    return count


def read_lines(path: Path, spec: TokenizerSpec) -> Iterator[Utterance]:
    """Rows of lines ``name<TAB>units`` or ``name|units``, with the durations of ``.durations`` where that is there.

    Without it, runs of one unit are one unit with its duration where ``spec`` is deduplicated.

    Raises:
        ManifestError: if a line is none, or holds a unit that ``spec`` has not, with its number.
    """
    lasting: Iterable[str | None] = ()
    beside = _durations_path(path)
    try:
        with path.open(encoding="utf-8") as file:
            if path.suffix == ".units" and beside.is_file():
                lasting = beside.open(encoding="utf-8")
            for number, (line, other) in enumerate(zip_longest(file, lasting), 1):
                where = f"{path}:{number}"
                if line is None:
                    raise ManifestError(f"{where}: {beside.name} has more lines; give files of one run")
                name, units = _numbers(where, line)
                if not lasting:
                    durations = None
                    if spec.deduplicated:
                        units, durations = _deduplicated(units)
                    yield _row(where, path.parent / name, units, durations, spec)
                    continue
                if other is None:
                    raise ManifestError(f"{beside}:{number}: has fewer lines than {path.name}; give files of one run")
                again, lengths = _numbers(f"{beside}:{number}", other)
                if again != name:
                    raise ManifestError(f"{beside}:{number}: is of {again[:80]!r}, the units of {name[:80]!r}")
                yield _row(where, path.parent / name, units, lengths, spec)
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); give lines of text in UTF-8") from error
    finally:
        close: Callable[[], Any] = getattr(lasting, "close", lambda: None)
        close()


def _durations_path(path: Path) -> Path:
    return path.with_suffix(".durations")


def _line_name(row: Utterance) -> str:
    name = row.audio_filepath
    if any(mark in name for mark in "\t|\n"):
        raise UserError(f"{row.id}: its path holds a tab, a bar or a line end, which lines of units cannot; rename it")
    return name


def _numbers(where: str, line: str) -> tuple[str, list[int]]:
    if len(line) > MOST_LINE:
        raise ManifestError(f"{where}: has {len(line):,} characters, more than any recording; remove it")
    name, mark, text = line.rstrip("\n").partition("\t" if "\t" in line else "|")
    words = text.split()
    if not mark or not name or not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
        raise ManifestError(f"{where}: is no name with numbers behind a tab or a bar; give lines of units")
    return name, [int(word) for word in words]


def _deduplicated(frames: list[int]) -> tuple[list[int], list[int]]:
    from speechkit.units.deduplication import deduplicate

    units, durations = deduplicate(np.asarray(frames, np.int32))
    return units.tolist(), durations.tolist()


def _plain(row: Utterance, units: Units) -> list[int]:
    if units.units.ndim > 1:
        raise UserError(
            f"{row.id}: has units of several codebooks, which this format cannot hold; give shards or Parquet"
        )
    plain: list[int] = units.units.tolist()
    return plain


def _row(where: str, audio: Path, units: list[int], durations: list[int] | None, spec: TokenizerSpec) -> Utterance:
    """A row of a manifest in the folder that commands run in, as long as its audio, or its units where that is gone."""
    durations = [1] * len(units) if durations is None else durations
    if len(units) != len(durations) or min(durations, default=1) < 1 or max(durations, default=1) >= MOST_UNITS:
        raise ManifestError(f"{where}: {len(units)} units have {len(durations)} durations; give each one of its own")
    if len(units) > MOST_UNITS or min(units, default=0) < 0 or max(units, default=0) >= spec.num_units:
        raise ManifestError(f"{where}: holds a unit that {spec.name} has not; it has {spec.num_units}")
    from speechkit.io.audio import audio_info

    rate = spec.encoder.sample_rate
    samples, given = sum(durations) * spec.encoder.hop, rate
    try:
        found = audio_info(audio)
        samples, given = found.num_samples, found.sample_rate
    except AudioError:
        pass
    row = Utterance.from_samples(
        id=safe_id(audio.stem or str(audio)), audio_filepath=str(audio), num_samples=samples, sample_rate=given
    )
    return with_units(row, Units(np.asarray(units, np.int32), np.asarray(durations, np.int32)), spec)


def detect_text(path: Path) -> str:
    """``slamkit`` of JSON lines that have its fields, else ``lines``.

    Raises:
        ManifestError: if the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline(MOST_LINE)
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); give a file of units") from error
    try:
        row = json.loads(first)
    except ValueError:
        return "lines"
    return "slamkit" if isinstance(row, dict) and "file_name" in row else "manifest"
