"""Validate manifests: rows against the schema and the audio headers."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from speechkit.data.listening import BEYOND, CLIPPED, SILENT, listen
from speechkit.data.manifest import audio_path, read_manifest
from speechkit.data.mixtures import FIELD, source_paths
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.audio import AudioInfo, audio_info

EXAMPLES_EACH = 5
ALIGNMENT_SLACK_SECONDS = 0.02
HEADERS_KEPT = 10_000

UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u2028\u2029]|^\s*$")

PROBLEMS = {
    "unusable id": "give every utterance an id of one line",
    "duplicate id": "give every utterance its own id",
    "unreadable audio": "fix or replace the file, or drop its rows",
    "beyond the audio": "fix the offset or duration",
    "negative offset": "offsets start at 0",
    "no duration": "durations are above 0",
    "wrong sample rate": "give the rate of the file itself",
    "no such channel": "channels count from 0",
    "bad source": "fix or replace the source of the mixture, or drop its row",
    "not whole samples": "offset and duration are multiples of 1 / sample_rate; build rows with Utterance.from_samples",
    "alignment outside the cut": "alignment times are seconds from the start of the cut",
}
NOTES = {
    "empty text": "rows with no text or only spaces",
    "no speaker": "rows that name no speaker",
    CLIPPED: "at least 0.1 % of the samples in flat tops",
    BEYOND: "a peak above 1",
    SILENT: "a peak below -80 dB",
}


class CheckReport(msgspec.Struct):
    """Result of a check: ``problems`` and ``notes`` count rows by kind.

    ``examples`` has the first five of each kind of problem, and of each kind of note about samples.
    """

    rows: int = 0
    audio_files: int = 0
    problems: dict[str, int] = {}
    notes: dict[str, int] = {}
    examples: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether there are no problems, regardless of notes."""
        return not self.problems


def check_manifest(
    path: Path | str, *, audio: bool = True, samples: bool = False, on_torn: Callable[[str], None] | None = None
) -> CheckReport:
    """Check every row; only audio headers are read, once per file, unless ``samples`` is set.

    Args:
        path: the manifest.
        audio: if False, audio files are not read, for example because they are on another machine.
        samples: also decode every cut, to find audio that is unreadable, clipped, silent or above full scale.
        on_torn: as in `read_jsonl`.

    Memory: 16 bytes per row to detect duplicate ids and count files; nothing else grows with the rows.

    Raises:
        ManifestError: at the first line that is not an utterance.
    """
    problems: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    examples: list[str] = []
    ids, files = array("Q"), array("Q")
    headers: dict[Path, AudioInfo | str] = {}

    def report(kind: str, location: str) -> None:
        problems[kind] += 1
        if problems[kind] <= EXAMPLES_EACH:
            examples.append(f"{location}; {PROBLEMS[kind]}")

    number = 0
    for number, row in enumerate(read_manifest(path, on_torn=on_torn), 1):
        ids.append(_key(row.id))
        files.append(_key(row.audio_filepath))
        location = f"{path}:{number}: {row.id!r}"
        if row.text is None or not row.text.strip():
            notes["empty text"] += 1
        if row.speaker is None:
            notes["no speaker"] += 1
        for kind, detail in _own_problems(row):
            report(kind, f"{location} {detail}")
        if audio:
            file = audio_path(path, row)
            faults = _audio_problems(row, _header(file, headers))
            faults += _source_problems(row, path, headers)
            for kind, detail in faults:
                report(kind, f"{location} {detail}")
            if samples and not faults and row.num_samples > 0 and row.offset >= 0:
                try:
                    sound_kinds = listen(file, row)
                except AudioError as error:
                    report("unreadable audio", f"{location} needs {error}")
                    continue
                for kind in sound_kinds:
                    notes[kind] += 1
                    if notes[kind] <= EXAMPLES_EACH:
                        examples.append(f"{location} is {kind} ({NOTES[kind]})")
    repeated = _repeated(ids)
    if len(repeated):
        _report_duplicates(path, repeated, report, on_torn)
    return CheckReport(number, len(np.unique(_as_numpy(files))), dict(problems), dict(notes), examples)


def _own_problems(row: Utterance) -> list[tuple[str, str]]:
    faults = []
    if UNPRINTABLE.search(row.id):
        faults.append(("unusable id", "is empty or holds a line end or a control character"))
    if row.offset < 0:
        faults.append(("negative offset", f"has the offset {row.offset}"))
    if row.num_samples <= 0:
        faults.append(("no duration", f"has the duration {row.duration}"))
    for name, value, samples in (
        ("offset", row.offset, row.offset_samples),
        ("duration", row.duration, row.num_samples),
    ):
        if abs(value * row.sample_rate - samples) > 1e-3:
            faults.append(("not whole samples", f"has the {name} {value} at {row.sample_rate} Hz"))
            break
    for tier, items in (row.alignment or {}).items():
        outside = [
            item
            for item in items
            if item.start < -ALIGNMENT_SLACK_SECONDS
            or item.duration < 0
            or item.start + item.duration > row.duration + ALIGNMENT_SLACK_SECONDS
        ]
        if outside:
            end = outside[0].start + outside[0].duration
            detail = f"has {outside[0].symbol!r} of tier {tier!r} at {outside[0].start} to {end:.3f} s"
            faults.append(("alignment outside the cut", f"{detail} of {row.duration} s"))
    return faults


def _audio_problems(row: Utterance, header: AudioInfo | str) -> list[tuple[str, str]]:
    if isinstance(header, str):
        return [("unreadable audio", f"needs {header}")]
    faults = []
    if row.sample_rate != header.sample_rate:
        faults.append(
            ("wrong sample rate", f"says {row.sample_rate} Hz, but {header.path} has {header.sample_rate} Hz")
        )
    elif row.offset_samples + row.num_samples > header.num_samples:
        end = row.offset + row.duration
        faults.append(("beyond the audio", f"ends at {end:.3f} s, but {header.path} at {header.duration:.3f} s"))
    if not 0 <= row.channel < header.channels:
        faults.append(("no such channel", f"says channel {row.channel}, but {header.path} has {header.channels}"))
    return faults


def _header(file: Path, known: dict[Path, AudioInfo | str]) -> AudioInfo | str:
    """Header of an audio file, or the reason why it cannot be read."""
    if file not in known:
        if len(known) >= HEADERS_KEPT:
            known.clear()
        try:
            known[file] = audio_info(file)
        except AudioError as error:
            known[file] = str(error)
    return known[file]


def _source_problems(
    row: Utterance, manifest: Path | str, headers: dict[Path, AudioInfo | str]
) -> list[tuple[str, str]]:
    """Problems of a mixture's sources; empty for other rows."""
    if FIELD not in (row.custom or {}):
        return []
    try:
        files = source_paths(row, manifest)
    except UserError as error:
        return [("bad source", f"has sources that cannot be used: {error}")]
    faults = []
    for file in files:
        header = _header(file, headers)
        if isinstance(header, str):
            faults.append(("bad source", f"needs the source {header}"))
        elif header.sample_rate != row.sample_rate:
            detail = f"says {row.sample_rate} Hz, but its source {file} has {header.sample_rate} Hz"
            faults.append(("bad source", detail))
        elif header.num_samples < row.offset_samples + row.num_samples:
            faults.append(("bad source", f"ends after its source {file} of {header.duration:.3f} s"))
    return faults


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _as_numpy(keys: array[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.frombuffer(keys, dtype=np.uint64) if len(keys) else np.zeros(0, np.uint64)


def _repeated(ids: array[int]) -> set[int]:
    """Keys that occur more than once."""
    ordered = np.sort(_as_numpy(ids))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _report_duplicates(
    path: Path | str,
    repeated: set[int],
    report: Callable[[str, str], None],
    on_torn: Callable[[str], None] | None,
) -> None:
    """Read the file again to report the lines of duplicate ids, and to rule out hash collisions."""
    first: dict[str, int] = {}
    quiet = None if on_torn is None else (lambda _: None)
    for number, row in enumerate(read_manifest(path, on_torn=quiet), 1):
        if _key(row.id) in repeated:
            first_line = first.setdefault(row.id, number)
            if first_line != number:
                report("duplicate id", f"{path}:{number}: {row.id!r} is also the id of line {first_line}")
