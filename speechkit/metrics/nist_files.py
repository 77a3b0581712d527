"""The files of NIST's scoring toolkit: trn, stm and ctm, and ctm words assigned to stm segments by time."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from speechkit.errors import UserError
from speechkit.metrics.text_lines import numbered_lines
from speechkit.metrics.transcript_records import Audio, TimedWord, Transcript

TRN = re.compile(r"^(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)\s*$")
LABELS = re.compile(r"^<[^<>\s]*>$")
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"


def read_trn(path: Path) -> Iterator[tuple[int, Transcript]]:
    """``text (id)`` per line, with line number; lines that start with ``;;`` are comments."""
    for number, line in numbered_lines(path):
        if line.startswith(";;"):
            continue
        match = TRN.match(line)
        if not match:
            raise UserError(f"{path}:{number}: does not end in (id); write: text (id)")
        yield number, Transcript(match["id"], match["text"].strip())


def read_stm(path: Path) -> Iterator[tuple[int, Transcript]]:
    """``file channel speaker begin end [<labels>] text`` per line: one transcript per segment, with line number.

    The id of a segment is ``file-channel-begin-end`` with three digits after the point. A segment whose text is
    ``IGNORE_TIME_SEGMENT_IN_SCORING`` has no text (None).
    """
    for number, line in numbered_lines(path):
        if line.lstrip().startswith(";;"):
            continue
        fields = line.split(maxsplit=5)
        if len(fields) < 5:
            raise UserError(f"{path}:{number}: has {len(fields)} fields; write: file channel speaker begin end text")
        recording, channel, speaker = fields[:3]
        begin, end = _seconds(path, number, fields[3]), _seconds(path, number, fields[4])
        if end < begin:
            raise UserError(f"{path}:{number}: ends at {end} s before it begins at {begin} s; fix the times")
        text = fields[5].strip() if len(fields) == 6 else ""
        groups = {}
        label, _, rest = text.partition(" ")
        if LABELS.match(label):
            groups = {"labels": label.strip("<>")} if label != "<>" else {}
            text = rest.strip()
        name = f"{_recording(recording, channel)}-{begin:.3f}-{end:.3f}"
        words = None if text.upper() == IGNORED else text
        audio = Audio(recording, begin, end - begin)
        yield number, Transcript(name, words, speaker, _recording(recording, channel), audio, groups)


def read_ctm(path: Path) -> dict[str, list[TimedWord]]:
    """``file channel start duration word [confidence]`` per line: the words of every recording by start time.

    Raises:
        UserError: if a line is malformed, with ``file:line``; ctm alternatives (``<ALT_BEGIN>``) are not scored.
    """
    words: dict[str, list[TimedWord]] = {}
    for number, line in numbered_lines(path):
        if line.lstrip().startswith(";;"):
            continue
        fields = line.split()
        if not 5 <= len(fields) <= 8:
            raise UserError(f"{path}:{number}: has {len(fields)} fields; write: file channel start duration word")
        recording, channel, start, duration, word = fields[:5]
        if word.upper().startswith("<ALT"):
            raise UserError(f"{path}:{number}: has alternatives (<ALT_BEGIN>); keep only the first choice")
        timed = TimedWord(word, _seconds(path, number, start), _seconds(path, number, duration))
        words.setdefault(_recording(recording, channel), []).append(timed)
    # Words with equal start times keep their order in the file.
    return {name: sorted(timed, key=lambda w: w.start) for name, timed in words.items()}


def ctm_transcripts(path: Path) -> Iterator[tuple[int, Transcript]]:
    """One transcript per recording and channel."""
    for number, (name, words) in enumerate(read_ctm(path).items(), 1):
        yield number, Transcript(name, " ".join(w.word for w in words), recording=name, audio=Audio(name))


class Placed(msgspec.Struct, frozen=True):
    """The words of a ctm file by segment; how many fell into ignored segments and between segments."""

    transcripts: list[Transcript]
    ignored_words: int
    moved_words: int


def place_words(segments: Sequence[Transcript], words: dict[str, list[TimedWord]]) -> Placed:
    """Assign each word to the segment that contains its midpoint, or to the nearest one of its recording.

    Words in ignored segments (text None) are left out and counted. If segments overlap, the word goes to the one that
    began last.

    Raises:
        UserError: if a recording of ``words`` has no segment.
    """
    inside: dict[str, list[str]] = {segment.id: [] for segment in segments}
    by_recording: dict[str, list[Transcript]] = {}
    for segment in segments:
        by_recording.setdefault(segment.recording or "", []).append(segment)
    ignored = moved = 0
    for recording, timed in words.items():
        if recording not in by_recording:
            raise UserError(f"{recording}: has words but no segment; check file and channel names of both files")
        here = sorted(by_recording[recording], key=_begin)
        begins = [_begin(segment) for segment in here]
        for word in timed:
            middle = word.start + word.duration / 2
            last = bisect_right(begins, middle)
            around = [s for s in reversed(here[max(0, last - 8) : last]) if middle <= _end(s)]
            if not around:
                moved += 1
                near = here[max(0, last - 8) : last + 1]
                around = [min(near, key=lambda s: max(_begin(s) - middle, middle - _end(s)))]
            if around[0].text is None:
                ignored += 1
            else:
                inside[around[0].id].append(word.word)
    kept = [s for s in segments if s.text is not None]
    made = [Transcript(s.id, " ".join(inside[s.id]), s.speaker, s.recording, s.audio) for s in kept]
    return Placed(made, ignored, moved)


def _recording(name: str, channel: str) -> str:
    return name if channel.upper() in ("A", "1") else f"{name}-{channel}"


def _begin(segment: Transcript) -> float:
    return segment.audio.offset if segment.audio else 0.0


def _end(segment: Transcript) -> float:
    return _begin(segment) + ((segment.audio.duration or 0.0) if segment.audio else 0.0)


def _seconds(path: Path, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise UserError(f"{path}:{number}: {text!r} is not a time in seconds; fix the line")
    return value
