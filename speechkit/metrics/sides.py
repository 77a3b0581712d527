"""A reference and several hypotheses brought together by id, and what did not fit counted and said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Literal

import msgspec

from speechkit.errors import UserError
from speechkit.metrics.nist_files import place_words, read_ctm, read_stm
from speechkit.metrics.transcript_records import Transcript
from speechkit.metrics.transcripts import each_transcript, read_transcripts, transcript_format

Missing = Literal["error", "empty", "drop"]


class Speed(msgspec.Struct, frozen=True):
    """Seconds of computing and of audio of all utterances of a test set."""

    compute_seconds: float
    audio_seconds: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for a second of audio (RTF); its inverse is RTFx."""
        return self.compute_seconds / self.audio_seconds

    @property
    def times_real_time(self) -> float:
        """Seconds of audio for a second of computing (RTFx)."""
        return self.audio_seconds / self.compute_seconds


class Sides(msgspec.Struct, frozen=True):
    """References in their order, the text of each id for every system by name, and sentences on what was left out.

    ``speeds`` are those of systems whose hypotheses all say how long their recognition took.
    """

    references: list[Transcript]
    hypotheses: dict[str, dict[str, str]]
    notes: list[str]
    speeds: dict[str, Speed] = {}


def read_sides(
    reference: Path,
    hypotheses: Sequence[str],
    *,
    missing: Missing = "error",
    reference_field: str | None = None,
    hypothesis_field: str | None = None,
) -> Sides:
    """Read all files; ``hypotheses`` are paths or ``NAME=PATH``.

    The words of a ctm go into the segments of an stm reference by time. Segments of an stm reference are joined to
    whole recordings where a hypothesis holds recordings only.

    Raises:
        UserError: for unreadable files, names that are given twice, and ids as `match_sides` says.
    """
    named = name_systems(hypotheses)
    references = read_transcripts(reference, text_field=reference_field)
    is_stm = transcript_format(reference) == "stm"
    notes: list[str] = []
    read: dict[str, Iterable[Transcript]] = {}
    for name, path in named.items():
        if is_stm and transcript_format(path) == "ctm":
            words = read_ctm(path)
            placed = place_words([segment for _, segment in read_stm(reference)], words)
            # A recording without a word in the ctm was, for all that is known, never recognised.
            read[name] = [t for t in placed.transcripts if t.recording in words]
            if placed.ignored_words:
                notes.append(f"{name}: {placed.ignored_words:,} words lie in segments that the stm says to ignore")
            if placed.moved_words:
                notes.append(f"{name}: {placed.moved_words:,} words lie in no segment and count in the nearest one")
        else:
            read[name] = each_transcript(path, "hypothesis", text_field=hypothesis_field)
        if path.resolve() == reference.resolve():
            read[name] = found = list(read[name])
            if [t.text for t in found] == [t.text for t in references]:
                notes.append(f"{name}: is the reference itself; name the field of what was recognised with --hyp-field")
    if is_stm:
        several = {name: list(found) for name, found in read.items()}
        references, read = _joined_if_asked(references, several), dict(several)
    return match_sides(references, read, missing=missing, notes=notes)


def read_text_pairs(reference: Path, hypothesis: Path) -> dict[str, tuple[str, str]]:
    """Reference and recognised text by id, from any two files that `read_sides` reads."""
    sides = read_sides(reference, [f"heard={hypothesis}"])
    texts = sides.hypotheses["heard"]
    return {t.id: (t.text or "", texts[t.id]) for t in sides.references}


def match_sides(
    references: Sequence[Transcript],
    hypotheses: Mapping[str, Iterable[Transcript]],
    *,
    missing: Missing = "error",
    notes: Sequence[str] = (),
) -> Sides:
    """Texts of all systems for the ids of the references.

    ``missing`` says what a hypothesis that is not there means: "error" stops, "empty" counts all of its words as
    deletions, "drop" leaves the utterance out for every system. Hypotheses without a reference stop too under
    "error"; else they are left out. Whatever is left out is counted in the notes.

    Raises:
        UserError: with the first missing ids, if ``missing`` is "error", if an id stands twice on one side, or if
            nothing is left.
    """
    known = {t.id: t for t in references}
    if len(known) < len(references):
        _by_id("the reference", references)
    texts: dict[str, dict[str, str]] = {}
    said = list(notes)
    absent: set[str] = set()
    speeds: dict[str, Speed] = {}
    for name, transcripts in hypotheses.items():
        timer = _Timer(known)
        found = _by_id(name, map(timer, transcripts))
        without = [t.id for t in references if t.id not in found]
        beyond = [key for key in found if key not in known]
        if without and len(without) == len(known):
            raise UserError(
                f"{name}: has none of the {len(known)} ids of the reference ({_some(list(found))} against "
                f"{_some(without)}); check that both files name utterances in the same way"
            )
        if (without or beyond) and missing == "error":
            what = f"lacks {len(without)} of {len(known)} utterances ({_some(without)})" if without else ""
            more = f"has {len(beyond)} that the reference lacks ({_some(beyond)})" if beyond else ""
            both = " and ".join(filter(None, (what, more)))
            raise UserError(f"{name}: {both}; mend it, or say --missing empty or --missing drop")
        if without:
            how = "count as empty" if missing == "empty" else "are left out for every system"
            said.append(f"{name}: {len(without):,} utterances have no hypothesis and {how} ({_some(without)})")
        if beyond:
            said.append(f"{name}: {len(beyond):,} hypotheses have no reference and are left out ({_some(beyond)})")
        texts[name] = found
        if speed := timer.speed():
            speeds[name] = speed
        absent.update(without)
    kept = [t for t in references if missing != "drop" or t.id not in absent]
    if not kept:
        raise UserError("no utterance has a hypothesis of every system; check the files")
    return Sides(kept, {n: _for_ids(kept, found) for n, found in texts.items()}, said, speeds)


def _for_ids(references: Sequence[Transcript], texts: dict[str, str]) -> dict[str, str]:
    """The texts by the references' own ids, in their order; what is missing is empty."""
    return {t.id: texts.get(t.id, "") for t in references}


class _Timer:
    """Adds up the seconds of computing of hypotheses, and of the audio of their references, as they pass."""

    def __init__(self, references: Mapping[str, Transcript]) -> None:
        self.references, self.left = references, len(references)
        self.compute = self.audio = 0.0

    def __call__(self, hypothesis: Transcript) -> Transcript:
        reference = self.references.get(hypothesis.id)
        audio = (reference and reference.audio) or hypothesis.audio
        duration = (audio and audio.duration) or (hypothesis.audio and hypothesis.audio.duration)
        if reference is not None and hypothesis.seconds is not None and duration:
            self.left -= 1
            self.compute += hypothesis.seconds
            self.audio += duration
        return hypothesis

    def speed(self) -> Speed | None:
        """That of all references; None where one of them has no time."""
        return Speed(self.compute, self.audio) if not self.left and self.compute and self.audio else None


def _by_id(name: str, transcripts: Iterable[Transcript]) -> dict[str, str]:
    found: dict[str, str] = {}
    for transcript in transcripts:
        if transcript.id in found:
            raise UserError(f"{name}: {transcript.id} stands twice; every id must be unique")
        found[transcript.id] = transcript.text or ""
    return found


def name_systems(given: Sequence[str]) -> dict[str, Path]:
    """A path for each system, named by ``NAME=``, else by its file, and where files are alike by their folders.

    Raises:
        UserError: if two systems have one name.
    """
    names: list[str | None] = []
    paths: list[Path] = []
    for text in given:
        name, equals, rest = text.partition("=")
        explicit = bool(equals and name) and not Path(text).exists()
        names.append(name if explicit else None)
        paths.append(Path(rest if explicit else text))
    stems = [_stem(path) for path in paths]
    made = list(stems)
    for index, stem in enumerate(stems):
        if stems.count(stem) > 1:
            made[index] = _apart(paths[index], [p for p, s in zip(paths, stems, strict=True) if s == stem])
    chosen = [name or other for name, other in zip(names, made, strict=True)]
    twice = sorted({name for name in chosen if chosen.count(name) > 1})
    if twice:
        raise UserError(f"{twice[0]}: names two hypotheses; write NAME=PATH to tell them apart")
    return dict(zip(chosen, paths, strict=True))


def _stem(path: PurePath) -> str:
    name = path.name or str(path)
    return name.removesuffix(".gz").rsplit(".", 1)[0] or name


def _apart(path: PurePath, alike: Sequence[PurePath]) -> str:
    """The folders, nearest first, until no other path has the same."""
    for depth in range(2, len(path.parts) + 1):
        here = path.parts[-depth:]
        if sum(p.parts[-depth:] == here for p in alike) == 1:
            return (
                path.parts[-depth]
                if sum(p.parts[-depth : 1 - depth] == here[:1] for p in alike) == 1
                else "/".join(here)
            )
    return str(path)


def _joined_if_asked(references: list[Transcript], read: Mapping[str, Sequence[Transcript]]) -> list[Transcript]:
    recordings = {t.recording for t in references}
    if not all({t.id for t in found} <= recordings for found in read.values()):
        return references
    texts: dict[str, list[Transcript]] = {}
    for segment in references:
        texts.setdefault(segment.recording or "", []).append(segment)
    return [
        Transcript(
            name,
            " ".join(s.text or "" for s in sorted(found, key=lambda s: s.audio.offset if s.audio else 0.0)),
            recording=name,
        )
        for name, found in texts.items()
    ]


def _some(ids: Sequence[str]) -> str:
    short = (i if len(i) <= 60 else i[:59] + "…" for i in ids[:3])
    # An id of a file from elsewhere must not steer the terminal that shows it.
    shown = ", ".join("".join(c if c.isprintable() else "\ufffd" for c in i) for i in short)
    return shown + (" ..." if len(ids) > 3 else "")
