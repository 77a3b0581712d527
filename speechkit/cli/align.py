"""`speechkit align`: two texts, a document in recognised text, or a recording with its text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.errors import shown

if TYPE_CHECKING:
    from speechkit.mining.alignment.pairwise import Operation

MOST_CELLS = 20_000_000_000
MARKS = {"equal": " ", "substitute": "*", "delete": "-", "insert": "+"}

app = typer.Typer(
    name="align",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="""Align two texts, a document with recognised text, or a recording with its text.

Examples:

  speechkit align text reference.txt hypothesis.txt

  speechkit align sentences report.pdf recognised.txt --json

  speechkit align audio talk.flac talk.txt --out talk.TextGrid
""",
)


@app.command("text")
def text(
    a: Annotated[Path, typer.Argument(metavar="A", help="A text file, UTF-8.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The text to align it with.")],
    words: Annotated[bool, typer.Option("--words", help="Align words instead of characters.")] = False,
    match: Annotated[float, typer.Option(help="Score of two equal items.")] = 1.0,
    mismatch: Annotated[float, typer.Option(help="Score of two different items.")] = -1.0,
    gap_open: Annotated[float, typer.Option(help="Score of starting a gap.")] = 0.0,
    gap_extend: Annotated[float, typer.Option(help="Score of each item in a gap.")] = -1.0,
    width: Annotated[int, typer.Option(help="Characters on a line of the side-by-side view.", min=20)] = 100,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Best global alignment of two texts (Needleman-Wunsch, affine gaps, linear memory).

    The view marks differences: * substituted, - only in A, + only in B.

    Examples:
      speechkit align text reference.txt hypothesis.txt --words

      speechkit align text a.txt b.txt --gap-open -2 --gap-extend -0.5 --json
    """
    from speechkit.errors import AlignmentError
    from speechkit.mining.alignment import Scores, needleman_wunsch

    items_a, items_b = _items(a, words), _items(b, words)
    if len(items_a) * len(items_b) > MOST_CELLS:
        raise AlignmentError(
            f"{a} and {b} have {len(items_a)} and {len(items_b)} items, too many for a full alignment; "
            "align words with --words, or use: speechkit align sentences"
        )
    score, operations = needleman_wunsch(items_a, items_b, Scores(match, mismatch, gap_open, gap_extend))
    if json:
        names = ("kind", "a_begin", "a_end", "b_begin", "b_end")
        rows = [dict(zip(names, operation, strict=True)) for operation in operations]
        typer.echo(_json({"score": score, "operations": rows}))
        return
    typer.echo(f"score {score:g}")
    for line in side_by_side(items_a, items_b, operations, width):
        typer.echo(line)


@app.command("sentences")
def sentences(
    document: Annotated[Path, typer.Argument(metavar="DOCUMENT", help="PDF, HTML, DOCX, EPUB, TXT, SRT or a scan.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYPOTHESIS", help="Recognised text, UTF-8.")],
    lang: Annotated[str, typer.Option(help="Language of both.")] = "en",
    min_similarity: Annotated[float, typer.Option(help="Least similarity of a match.", min=0, max=1)] = 0.5,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the sentences of a document in recognised text, which may lack some and contain others.

    Examples:
      speechkit align sentences report.pdf recognised.txt

      speechkit align sentences report.txt recognised.txt --min-similarity 0.7 --json
    """
    from speechkit.mining.alignment import locate_sentences
    from speechkit.mining.documents import read_document
    from speechkit.text import normalizer_for

    paper = read_document(document, lang=lang)
    normalizer = normalizer_for(lang)
    transcript = _read(hypothesis)
    key = normalizer.normalize(transcript)
    keys = [normalizer.normalize(sentence.text).text for sentence in paper.sentences]
    located = locate_sentences(keys, key.text, min_similarity=min_similarity)
    rows: list[dict[str, Any]] = []
    for sentence, match in zip(paper.sentences, located.matches, strict=True):
        row: dict[str, Any] = {"sentence": sentence.id, "text": sentence.text, "heard": None}
        if match is not None:
            begin, end = key.source_span(match.begin, match.end)
            row |= {"begin": begin, "end": end, "heard": transcript[begin:end].strip()}
            row |= {"similarity": match.similarity, "edge_cer": match.edge_cer, "margin": match.margin}
        rows.append(row)
    if json:
        typer.echo(_json(rows))
        return
    for row in rows:
        alike = f"{row['similarity']:.2f}" if row["heard"] is not None else "   -"
        typer.echo(f"{alike}  {row['text']}\n      {row['heard'] if row['heard'] is not None else '(not found)'}")
    num_located = sum(row["heard"] is not None for row in rows)
    typer.echo(f"{num_located} of {len(rows)} sentences found")


@app.command("audio")
def audio(
    recording: Annotated[Path, typer.Argument(metavar="AUDIO", help="A recording of any length.")],
    document: Annotated[Path, typer.Argument(metavar="TEXT", help="The text of the recording; may have more or less.")],
    out: Annotated[Path | None, typer.Option(help="A .ctm, .TextGrid or .json file to write.")] = None,
    lang: Annotated[str, typer.Option(help="Language of both.")] = "en",
    recognizer: Annotated[str, typer.Option(help="embedded, a Hugging Face id or folder, …")] = "auto",
    min_similarity: Annotated[float, typer.Option(help="Least similarity of a match.", min=0, max=1)] = 0.4,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Times of the sentences and words of a text in a recording, by CTC alignment.

    Sentences and words that are not in the recording are reported and left out, and no word is stretched over speech
    that is not in the text. A text that does not match the recording at all is refused with exit code 2.

    Examples:
      speechkit align audio talk.flac talk.txt --out talk.ctm

      speechkit align audio lecture.mp3 lecture.pdf --out lecture.TextGrid

      speechkit align audio talk.flac talk.txt --json
    """
    from speechkit.errors import UserError

    if out is not None and out.suffix.lower() not in (".ctm", ".textgrid", ".json"):
        raise UserError(f"--out {out}: unknown suffix; give .ctm, .TextGrid or .json")
    from speechkit.mining.known_text import align_recording

    placed = align_recording(recording, document, lang=lang, recognizer=recognizer, min_similarity=min_similarity)
    rows = [
        {
            "sentence": aligned.sentence,
            "text": aligned.text,
            "start": aligned.start,
            "end": aligned.end,
            "similarity": aligned.similarity,
            "probability": aligned.probability,
            "ctc_mean": aligned.ctc_mean,
            "words": [
                {"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3), "score": w.score}
                for w in aligned.words
            ],
            "unread": aligned.unread,
        }
        for aligned in placed.sentences
    ]
    missing = placed.not_found
    result: dict[str, Any] = {"recording": shown(recording), "sentences": rows, "not_found": missing}
    result["warnings"] = placed.warnings
    if out is not None:
        _write(out, recording, result)
    if json:
        typer.echo(_json(result))
        return
    for row in rows:
        typer.echo(f"{row['start']:9.2f} {row['end']:9.2f}  {row['similarity']:.2f}  {row['text']}")
    for warning in placed.warnings:
        typer.echo(f"{'warning':>25}  {warning}")
    for text_ in missing:
        typer.echo(f"{'not found':>25}  {text_}")
    typer.echo(f"{len(rows)} of {len(rows) + len(missing)} sentences found" + (f"; written to {out}" if out else ""))


def side_by_side(a: list[str] | str, b: list[str] | str, operations: list[Operation], width: int) -> list[str]:
    """Lines of A, marks and B, padded so that aligned items are above each other."""
    joint = "" if isinstance(a, str) else " "
    columns: list[tuple[str, str, str]] = []
    for kind, a_begin, a_end, b_begin, b_end in operations:
        for step in range(max(a_end - a_begin, b_end - b_begin)):
            left = _visible(a[a_begin + step]) if a_end > a_begin else ""
            right = _visible(b[b_begin + step]) if b_end > b_begin else ""
            size = max(len(left), len(right))
            columns.append((left.ljust(size), MARKS[kind] * size, right.ljust(size)))
    lines: list[str] = []
    row: list[tuple[str, str, str]] = []
    used = 0
    for column in columns:
        if row and used + len(column[0]) > width:
            lines += [joint.join(part).rstrip() for part in zip(*row, strict=True)] + [""]
            row, used = [], 0
        row.append(column)
        used += len(column[0]) + len(joint)
    if row:
        lines += [joint.join(part).rstrip() for part in zip(*row, strict=True)]
    return lines


def _visible(item: str) -> str:
    return "".join(character if character.isprintable() else "\u2423" for character in item)


def _read(path: Path) -> str:
    from speechkit.errors import UserError

    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a text file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); convert it first") from error


def _items(path: Path, words: bool) -> list[str] | str:
    content = _read(path).strip()
    return content.split() if words else content


def _write(out: Path, recording: Path, result: dict[str, Any]) -> None:
    from speechkit.io.atomic import write_json, write_text

    rows = result["sentences"]
    words = sorted((word["start"], word["end"], word["word"], word["score"]) for row in rows for word in row["words"])
    if out.suffix.lower() == ".json":
        write_json(out, result)
    elif out.suffix.lower() == ".ctm":
        from math import exp

        name = "_".join(shown(recording.stem).split()) or "recording"
        lines = (
            f"{name} 1 {start:.3f} {end - start:.3f} {word} {min(1.0, exp(score)):.3f}\n"
            for start, end, word, score in words
        )
        write_text(out, "".join(lines))
    else:
        from speechkit.io.audio import audio_info
        from speechkit.mining.export.textgrid import format_textgrid

        info = audio_info(recording)
        spoken = sorted((row["start"], row["end"], row["text"]) for row in rows)
        tiers = {"sentences": _disjoint(spoken), "words": _disjoint([word[:3] for word in words])}
        write_text(out, format_textgrid(tiers, info.num_samples / info.sample_rate))


def _disjoint(intervals: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Praat's tiers cannot overlap: an interval that begins before the last one ended begins there."""
    tier: list[tuple[float, float, str]] = []
    for start, end, label in intervals:
        first = max(start, tier[-1][1]) if tier else start
        tier.append((first, max(end, first + 0.001), label))
    return tier


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
