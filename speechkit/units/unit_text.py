"""Unit formats of other toolkits: JSON lines of slamkit and TWIST, text lines of textlesslib and fairseq.

Fields that a format does not have (speaker, text, durations) are lost; durations of audio are read from the audio file
if it exists. Sources of the formats: slamkit ``cli/extract_features.py`` and ``cli/prepare_tokens.py``, textlesslib
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

from speechkit.data.formats.identity import Identifiers
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
"""Maximum characters of a line; a few thousand are usual."""
Pair = tuple[Utterance, Units]


class SlamkitRow(msgspec.Struct, omit_defaults=True):
    """A row of slamkit: features have ``units`` and ``duration``, tokens have ``audio_repr``."""

    file_name: str
    units: list[int] | None = None
    duration: list[int] | None = None
    audio_repr: str | None = None


def write_slamkit(path: Path, rows: Iterable[Pair], *, tokens: bool = False) -> int:
    """Write slamkit's JSON lines: ``units`` and ``duration``, or ``audio_repr`` (``<Un3><Un49>``) with ``tokens``."""

    def row(utterance: Utterance, units: Units) -> SlamkitRow:
        plain = _plain(utterance, units)
        if tokens:
            return SlamkitRow(utterance.audio_filepath, audio_repr="".join(f"<Un{unit}>" for unit in plain))
        return SlamkitRow(utterance.audio_filepath, units=plain, duration=units.durations.tolist())

    return write_jsonl(path, (row(*pair) for pair in rows))


def read_slamkit(path: Path, spec: TokenizerSpec) -> Iterator[Utterance]:
    """Read slamkit's features or tokens; tokens, which have no durations, last one frame each.

    Raises:
        ManifestError: if a row has no units, or a unit outside of ``spec``, with its line.
    """
    ids = _Ids()
    for number, row in enumerate(read_jsonl(path, SlamkitRow), 1):
        where = f"{path}:{number}"
        units, durations = row.units, row.duration
        if units is None and row.audio_repr is not None:
            if UNIT.sub("", row.audio_repr).strip():
                raise ManifestError(f"{where}: audio_repr contains more than units such as <Un3>; give speech only")
            units = [int(unit) for unit in UNIT.findall(row.audio_repr)]
        if units is None:
            raise ManifestError(f"{where}: has neither units nor audio_repr; give a file of slamkit")
        yield _row(where, path.parent, row.file_name, units, durations, spec, ids)


def write_textless(path: Path, rows: Iterable[Pair]) -> int:
    """Write textlesslib's lines, ``name<TAB>units``, and the parallel file ``.durations``."""
    count = 0
    with ExitStack() as stack:
        file, durations_file = (
            stack.enter_context(stack.enter_context(atomic_path(output)).open("w", encoding="utf-8"))
            for output in (path, _durations_path(path))
        )
        for row, units in rows:
            name = _line_name(row)
            print(f"{name}\t{' '.join(map(str, _plain(row, units)))}", file=file)
            print(f"{name}\t{' '.join(map(str, units.durations.tolist()))}", file=durations_file)
            count += 1
    return count


def write_fairseq(path: Path, rows: Iterable[Pair]) -> int:
    """Write fairseq's lines, ``name|units``, with frame-level units."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row, units in rows:
            frames = np.repeat(np.asarray(_plain(row, units), np.int32), units.durations)
            print(f"{_line_name(row)}|{' '.join(map(str, frames.tolist()))}", file=file)
            count += 1
    return count


def read_lines(path: Path, spec: TokenizerSpec) -> Iterator[Utterance]:
    """Read lines ``name<TAB>units`` or ``name|units``, with durations from the parallel file ``.durations`` if any.

    Without it, units are deduplicated if ``spec`` is.

    Raises:
        ManifestError: if a line is invalid, or has a unit outside of ``spec``, with its number.
    """
    ids = _Ids()
    duration_lines: Iterable[str | None] = ()
    durations_path = _durations_path(path)
    try:
        with path.open(encoding="utf-8") as file:
            if path.suffix == ".units" and durations_path.is_file():
                duration_lines = durations_path.open(encoding="utf-8")
            for number, (line, other) in enumerate(zip_longest(file, duration_lines), 1):
                where = f"{path}:{number}"
                if line is None:
                    raise ManifestError(f"{where}: {durations_path.name} has more lines; give files of one run")
                name, units = _numbers(where, line)
                if not duration_lines:
                    durations = None
                    if spec.deduplicated:
                        units, durations = _deduplicated(units)
                    yield _row(where, path.parent, name, units, durations, spec, ids)
                    continue
                if other is None:
                    raise ManifestError(
                        f"{durations_path}:{number}: has fewer lines than {path.name}; give files of one run"
                    )
                other_name, lengths = _numbers(f"{durations_path}:{number}", other)
                if other_name != name:
                    raise ManifestError(
                        f"{durations_path}:{number}: is of {other_name[:80]!r}, the units of {name[:80]!r}; fix one"
                    )
                yield _row(where, path.parent, name, units, lengths, spec, ids)
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); give lines of text in UTF-8") from error
    finally:
        close: Callable[[], Any] = getattr(duration_lines, "close", lambda: None)
        close()


def _durations_path(path: Path) -> Path:
    return path.with_suffix(".durations")


def _line_name(row: Utterance) -> str:
    name = row.audio_filepath
    if any(mark in name for mark in "\t|\n"):
        raise UserError(f"{row.id}: its path contains a tab, a bar or a line end, which the format forbids; rename it")
    return name


def _numbers(where: str, line: str) -> tuple[str, list[int]]:
    if len(line) > MOST_LINE:
        raise ManifestError(f"{where}: has {len(line):,} characters, more than any recording; remove it")
    name, mark, text = line.rstrip("\n").partition("\t" if "\t" in line else "|")
    words = text.split()
    if not mark or not name or not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
        raise ManifestError(f"{where}: not a name and units separated by a tab or a bar; give lines of units")
    return name, [int(word) for word in words]


def _deduplicated(frames: list[int]) -> tuple[list[int], list[int]]:
    from speechkit.units.deduplication import deduplicate

    units, durations = deduplicate(np.asarray(frames, np.int32))
    return units.tolist(), durations.tolist()


def _plain(row: Utterance, units: Units) -> list[int]:
    if units.units.ndim > 1:
        raise UserError(
            f"{row.id}: has units of several codebooks, which this format does not support; use shards or Parquet"
        )
    plain: list[int] = units.units.tolist()
    return plain


class _Ids:
    """Unique ids from audio paths: the file's name, the whole path where another file has that name, or a number."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbered = Identifiers()

    def of(self, audio: str) -> str:
        """The id of the next row."""
        name = safe_id(Path(audio).stem or audio)
        while name in self._taken:
            name = self._numbered.give(audio, 0)
        self._taken.add(name)
        return name


def _row(
    where: str,
    folder: Path,
    audio_name: str,
    units: list[int],
    durations: list[int] | None,
    spec: TokenizerSpec,
    ids: _Ids,
) -> Utterance:
    """A row with the duration of its audio, or of its units if there is no audio; paths are relative to the cwd."""
    audio = folder / audio_name
    durations = [1] * len(units) if durations is None else durations
    if len(units) != len(durations) or min(durations, default=1) < 1 or max(durations, default=1) >= MOST_UNITS:
        raise ManifestError(f"{where}: {len(units)} units but {len(durations)} durations; give one duration per unit")
    if len(units) > MOST_UNITS or min(units, default=0) < 0 or max(units, default=0) >= spec.num_units:
        raise ManifestError(f"{where}: contains a unit out of range; {spec.name} has {spec.num_units} units")
    from speechkit.io.audio import audio_info

    rate = spec.encoder.sample_rate
    samples, audio_rate = sum(durations) * spec.encoder.hop, rate
    try:
        info = audio_info(audio)
        samples, audio_rate = info.num_samples, info.sample_rate
    except AudioError:
        pass
    row = Utterance.from_samples(
        id=ids.of(audio_name), audio_filepath=str(audio), num_samples=samples, sample_rate=audio_rate
    )
    return with_units(row, Units(np.asarray(units, np.int32), np.asarray(durations, np.int32)), spec)


def detect_text(path: Path) -> str:
    """Detect the format of a file: ``slamkit``, ``manifest`` (other JSON lines) or ``lines``.

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
