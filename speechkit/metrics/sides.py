"""References and hypotheses matched by id, with notes on what did not match."""

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
    """Computing time and audio duration of a test set, in seconds."""

    compute_seconds: float
    audio_seconds: float

    @property
    def real_time_factor(self) -> float:
        """Computing time per second of audio (RTF)."""
        return self.compute_seconds / self.audio_seconds

    @property
    def times_real_time(self) -> float:
        """Audio duration per second of computing (RTFx)."""
        return self.audio_seconds / self.compute_seconds


class Sides(msgspec.Struct, frozen=True):
    """References in order, the texts of every system by id, and notes on what was left out.

    ``speeds`` has the systems whose hypotheses all have recognition times.
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

    Words of a ctm are assigned to the segments of an stm reference by time. Segments of an stm reference are joined if
    a hypothesis has whole recordings only.

    Raises:
        UserError: for unreadable files, duplicate names, and as `match_sides`.
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
            # A recording without words in the ctm counts as not recognised.
            read[name] = [t for t in placed.transcripts if t.recording in words]
            if placed.ignored_words:
                notes.append(f"{name}: {placed.ignored_words:,} words are in segments that the stm marks as ignored")
            if placed.moved_words:
                notes.append(
                    f"{name}: {placed.moved_words:,} words are outside all segments and count in the nearest one"
                )
        else:
            read[name] = each_transcript(path, "hypothesis", text_field=hypothesis_field)
        if path.resolve() == reference.resolve():
            read[name] = transcripts = list(read[name])
            if [t.text for t in transcripts] == [t.text for t in references]:
                notes.append(f"{name}: is the reference itself; name the hypothesis field with --hyp-field")
    if is_stm:
        several = {name: list(transcripts) for name, transcripts in read.items()}
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

    ``missing`` is the treatment of missing hypotheses: "error" raises, "empty" counts all words as deletions, "drop"
    leaves the utterance out for every system. Hypotheses without a reference raise under "error" and are otherwise left
    out. The notes count what is left out.

    Raises:
        UserError: with the first missing ids, if ``missing`` is "error", if an id is duplicate, or if
            nothing is left.
    """
    known = {t.id: t for t in references}
    if len(known) < len(references):
        _by_id("the reference", references)
    texts: dict[str, dict[str, str]] = {}
    remarks = list(notes)
    absent: set[str] = set()
    speeds: dict[str, Speed] = {}
    for name, transcripts in hypotheses.items():
        timer = _Timer(known)
        by_id = _by_id(name, map(timer, transcripts))
        without = [t.id for t in references if t.id not in by_id]
        beyond = [key for key in by_id if key not in known]
        if without and len(without) == len(known):
            raise UserError(
                f"{name}: has none of the {len(known)} ids of the reference ({_some(list(by_id))} against "
                f"{_some(without)}); check that both files use the same ids"
            )
        if (without or beyond) and missing == "error":
            lacking = f"lacks {len(without)} of {len(known)} utterances ({_some(without)})" if without else ""
            more = f"has {len(beyond)} that the reference lacks ({_some(beyond)})" if beyond else ""
            both = " and ".join(filter(None, (lacking, more)))
            raise UserError(f"{name}: {both}; fix it, or use --missing empty or --missing drop")
        if without:
            treatment = "count as empty" if missing == "empty" else "are left out for every system"
            remarks.append(f"{name}: {len(without):,} utterances have no hypothesis and {treatment} ({_some(without)})")
        if beyond:
            remarks.append(f"{name}: {len(beyond):,} hypotheses have no reference and are left out ({_some(beyond)})")
        texts[name] = by_id
        if speed := timer.speed():
            speeds[name] = speed
        absent.update(without)
    kept = [t for t in references if missing != "drop" or t.id not in absent]
    if not kept:
        raise UserError("no utterance has a hypothesis of every system; check the files")
    return Sides(kept, {n: _for_ids(kept, by_id) for n, by_id in texts.items()}, remarks, speeds)


def _for_ids(references: Sequence[Transcript], texts: dict[str, str]) -> dict[str, str]:
    """Texts by the references' ids, in their order; missing texts are empty."""
    return {t.id: texts.get(t.id, "") for t in references}


class _Timer:
    """Sums computing times of hypotheses and audio durations of references while iterating."""

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
        """Over all references; None if one has no time."""
        return Speed(self.compute, self.audio) if not self.left and self.compute and self.audio else None


def _by_id(name: str, transcripts: Iterable[Transcript]) -> dict[str, str]:
    texts_by_id: dict[str, str] = {}
    for transcript in transcripts:
        if transcript.id in texts_by_id:
            raise UserError(f"{name}: duplicate id {transcript.id}; ids must be unique")
        texts_by_id[transcript.id] = transcript.text or ""
    return texts_by_id


def name_systems(given: Sequence[str]) -> dict[str, Path]:
    """The path of each system, named by ``NAME=``, else by file name, or by folders if file names coincide.

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
        raise UserError(f"{twice[0]}: name of two hypotheses; use NAME=PATH")
    return dict(zip(chosen, paths, strict=True))


def _stem(path: PurePath) -> str:
    name = path.name or str(path)
    return name.removesuffix(".gz").rsplit(".", 1)[0] or name


def _apart(path: PurePath, alike: Sequence[PurePath]) -> str:
    """Parent folders, nearest first, until the name is unique."""
    for depth in range(2, len(path.parts) + 1):
        ending = path.parts[-depth:]
        if sum(p.parts[-depth:] == ending for p in alike) == 1:
            return (
                path.parts[-depth]
                if sum(p.parts[-depth : 1 - depth] == ending[:1] for p in alike) == 1
                else "/".join(ending)
            )
    return str(path)


def _joined_if_asked(references: list[Transcript], read: Mapping[str, Sequence[Transcript]]) -> list[Transcript]:
    recordings = {t.recording for t in references}
    if not all({t.id for t in transcripts} <= recordings for transcripts in read.values()):
        return references
    texts: dict[str, list[Transcript]] = {}
    for segment in references:
        texts.setdefault(segment.recording or "", []).append(segment)
    return [
        Transcript(
            name,
            " ".join(s.text or "" for s in sorted(transcripts, key=lambda s: s.audio.offset if s.audio else 0.0)),
            recording=name,
        )
        for name, transcripts in texts.items()
    ]


def _some(ids: Sequence[str]) -> str:
    short = (i if len(i) <= 60 else i[:59] + "…" for i in ids[:3])
    # Ids from files must not control the terminal.
    shown = ", ".join("".join(c if c.isprintable() else "\ufffd" for c in i) for i in short)
    return shown + (" ..." if len(ids) > 3 else "")
