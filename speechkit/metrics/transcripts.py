"""Reference and hypothesis files in common formats, and folders with one file per recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from speechkit.errors import UserError
from speechkit.metrics.nist_files import TRN, ctm_transcripts, read_stm, read_trn
from speechkit.metrics.text_lines import numbered_lines
from speechkit.metrics.transcript_records import Audio, Role, Transcript
from speechkit.metrics.transcript_rows import read_rows

__all__ = [
    "TRN",
    "Audio",
    "Format",
    "Transcript",
    "each_transcript",
    "read_speakers",
    "read_transcripts",
    "transcript_format",
]

Format = Literal["kaldi", "trn", "stm", "ctm", "rows", "fairseq", "nlp", "folder"]
SUFFIXES: dict[str, Format] = {
    ".jsonl": "rows",
    ".json": "rows",
    ".ndjson": "rows",
    ".csv": "rows",
    ".trn": "trn",
    ".stm": "stm",
    ".ctm": "ctm",
    ".nlp": "nlp",
}
LARGEST_SIDE_FILE = 1 << 30


def read_transcripts(path: Path | str, role: Role = "reference", *, text_field: str | None = None) -> list[Transcript]:
    """Transcripts of a file, in its order.

    Args:
        path: JSON lines (NeMo, Hugging Face, Lhotse cuts, our manifests), ``.csv``, ``.tsv`` with a header (SLUE,
            submissions, Common Voice), a fairseq manifest ``.tsv`` with its ``.wrd`` or ``.ltr`` beside it, ``.trn``,
            ``.stm``, ``.ctm``, ``.nlp``, a folder of ``.txt`` or ``.nlp`` files (the id is the name of the file), or
            Kaldi's ``id text`` under any other name. All may be compressed with gzip.
        role: which text is used if a row has both: ``text`` of a reference, ``pred_text`` of a hypothesis.
        text_field: the text field, if it has another name.

    An id alone is an empty text. Ignored segments of an stm file are left out.

    Raises:
        UserError: if the file cannot be read, an id is duplicate, or a line has no text, with the line.
    """
    return list(each_transcript(Path(path), role, text_field=text_field))


def each_transcript(path: Path, role: Role = "reference", *, text_field: str | None = None) -> Iterator[Transcript]:
    """The same as an iterator; errors of the file as a whole are raised at the end."""
    kind = transcript_format(path)
    taken: dict[str, int] = {}
    count = 0
    for number, transcript in _read(path, kind, role, text_field):
        first = taken.setdefault(transcript.id, number)
        if first != number:
            raise UserError(f"{path}:{number}: {transcript.id} is on line {first} too; ids must be unique")
        if kind != "stm" or transcript.text is not None:
            count += 1
            yield transcript
    if len(taken) < count:  # two supervisions of one line
        raise UserError(f"{path}: duplicate id on one line; ids must be unique")
    if not count:
        raise UserError(f"{path}: has no transcript; {_instead(path)}")


def _instead(path: Path) -> str:
    """What to give instead of a path without transcripts: its subfolders, or the supported formats."""
    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
    if not inside:
        return "give Kaldi text, .trn, .stm, .ctm, .jsonl, .csv or .tsv"
    more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
    return f"give one of the folders in it: {', '.join(inside[:5])}{more}"


def transcript_format(path: Path) -> Format:
    """The format of a file, by suffix; for ``.tsv`` the first line decides between rows and a manifest."""
    if path.is_dir():
        return "folder"
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix == ".tsv":
        _, first = next(numbered_lines(path), (1, ""))
        return "rows" if "\t" in first else "fairseq"
    return SUFFIXES.get(suffix, "kaldi")


def read_speakers(path: Path | str) -> dict[str, str]:
    """Speaker of each id, from Kaldi's ``utt2spk``; files of calls or groups have the same format."""
    speakers: dict[str, str] = {}
    for number, line in numbered_lines(Path(path)):
        key, speaker = _key(line)
        if not speaker or speakers.setdefault(key, speaker) != speaker:
            raise UserError(f"{path}:{number}: {key} has no speaker or two; give one speaker for each id")
    return speakers


def _read(path: Path, kind: Format, role: Role, text_field: str | None) -> Iterator[tuple[int, Transcript]]:
    if kind == "rows":
        return read_rows(path, role, text_field)
    if text_field is not None:
        raise UserError(f"{path}: has no named fields such as {text_field!r}; leave the option out")
    if kind == "folder":
        return _folder(path)
    readers = {"trn": read_trn, "stm": read_stm, "ctm": ctm_transcripts, "fairseq": _fairseq, "nlp": _nlp}
    return readers.get(kind, _kaldi)(path)


def _kaldi(path: Path) -> Iterator[tuple[int, Transcript]]:
    for number, line in numbered_lines(path):
        yield number, Transcript(*_key(line))


def _key(line: str) -> tuple[str, str]:
    key, *text = line.strip().split(maxsplit=1)
    return key, text[0] if text else ""


def _fairseq(path: Path) -> Iterator[tuple[int, Transcript]]:
    """Rows ``file<TAB>samples`` under the line of the audio root, and as many lines of text beside them."""
    words = path.with_suffix(".wrd")
    letters = path.with_suffix(".ltr")
    beside = words if words.is_file() else letters
    if not beside.is_file():
        raise UserError(f"{path}: is a manifest without text; put {words.name} or {letters.name} next to it")
    rows = list(numbered_lines(path))
    # Blank lines count here: an utterance may be empty.
    with beside.open("rb") as file:
        content = file.read(LARGEST_SIDE_FILE + 1)
    if len(content) > LARGEST_SIDE_FILE:
        raise UserError(f"{beside}: is larger than 1 GiB; this is not a transcript file")
    try:
        texts = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{beside}: byte {error.start} is not UTF-8; convert the file") from error
    if len(texts) != len(rows) - 1:
        raise UserError(f"{beside}: has {len(texts)} lines for {len(rows) - 1} rows of {path.name}; make them again")
    root = rows[0][1].strip()
    for (number, row), text in zip(rows[1:], texts, strict=True):
        audio = row.split("\t")[0]
        plain = text.replace(" ", "").replace("|", " ").strip() if beside == letters else text.strip()
        yield number, Transcript(Path(audio).stem, plain, audio=Audio(str(Path(root) / audio)))


def _nlp(path: Path) -> Iterator[tuple[int, Transcript]]:
    """``token|speaker|ts|endTs|punctuation|...``: one transcript of the whole recording."""
    lines = numbered_lines(path)
    head = next(lines, (1, ""))[1].split("|")
    if "token" not in head or "punctuation" not in head:
        raise UserError(f"{path}:1: has no columns token and punctuation; the first line names them")
    token, mark = head.index("token"), head.index("punctuation")
    words = []
    for number, line in lines:
        cells = line.split("|")
        if len(cells) != len(head):
            raise UserError(f"{path}:{number}: has {len(cells)} cells and the header {len(head)}; fix the line")
        words.append(cells[token] + cells[mark])
    name = path.name.removesuffix(".gz").removesuffix(".nlp")
    yield 1, Transcript(name, " ".join(words), recording=name)


def _folder(path: Path) -> Iterator[tuple[int, Transcript]]:
    names = sorted(p for p in path.iterdir() if p.name.removesuffix(".gz").endswith((".txt", ".nlp")))
    for number, file in enumerate(names, 1):
        plain = file.name.removesuffix(".gz")
        if plain.endswith(".nlp"):
            yield number, next(_nlp(file))[1]
        else:
            text = " ".join(line.strip() for _, line in numbered_lines(file))
            yield number, Transcript(plain.removesuffix(".txt"), text, recording=plain.removesuffix(".txt"))
