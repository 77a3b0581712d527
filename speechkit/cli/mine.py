"""`speechkit mine`: recordings and documents to an aligned data set and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from speechkit.mining.mined_set import MinedSet

EXAMPLES = """
Find the sentences of DOCS that are read in AUDIO, with times and the probability that each pair is correct.

AUDIO and DOCS are folders or single files: WAV, FLAC, OGG, Opus, MP3 and video; PDF, scans, HTML, DOCX, EPUB, TXT, SRT
and VTT. --out then contains manifest.jsonl, train, dev and test, rejected.jsonl and unmatched.jsonl (with reasons),
left_out.jsonl (files that could not be used), a data card and report.html, on which every sentence can be played,
accepted, rejected and edited, for --decisions. Finished work is reused: after an interruption, or with more files or
other settings, run the same command again.

Examples:

  speechkit mine recordings documents --out mined

  speechkit mine meeting.mp3 minutes.pdf --out mined --min-precision 0.95 --clips flac

  speechkit mine radio bulletins --out mined --lang hi --recognizer ai4bharat/indicwav2vec-hindi --pairs pairs.tsv

  speechkit mine debates transcripts --out mined --separate

  speechkit mine recordings documents --out mined --decisions decisions.json

  speechkit mine recordings documents --out mined --recognizer words:transcripts.ctm --to kaldi,textgrid --json
"""


def mine(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO", help="Folder of recordings, or one recording.")],
    documents: Annotated[Path, typer.Argument(metavar="DOCS", help="Folder of documents, or one document.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    lang: Annotated[str, typer.Option(help="Language of recordings and documents.")] = "en",
    recognizer: Annotated[
        str,
        typer.Option(help="auto, embedded, a Hugging Face CTC name or folder, faster-whisper:MODEL or words:FILE."),
    ] = "auto",
    min_precision: Annotated[float, typer.Option(help="Expected precision of the kept pairs, 0 to 1.")] = 0.98,
    pairs: Annotated[
        Path | None, typer.Option(help="TSV or CSV of recording and document, instead of automatic pairing.")
    ] = None,
    to: Annotated[list[str] | None, typer.Option(help="Other formats, comma-separated: lhotse, kaldi, …")] = None,
    clips: Annotated[str, typer.Option(help="Cut the kept sentences: none, flac or opus.")] = "none",
    channels: Annotated[
        str, typer.Option(help="together: average the channels; each: one recording per channel.")
    ] = "together",
    decisions: Annotated[
        Path | None, typer.Option(help="What a curator decided on report.html, as the page exports it.")
    ] = None,
    vad: Annotated[str, typer.Option(help="Speech detector: silero, energy or none.")] = "silero",
    separate: Annotated[bool, typer.Option("--separate", help="Separate speakers first, and mine the tracks.")] = False,
    separator: Annotated[
        str | None, typer.Option(help="Model for --separate: embedded (the default), a folder or a hub id.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of a stage, such as pairing.min_score=0.03.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="inline, pool or ray; pool when more than one worker is given.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of the backend.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Ignore earlier results.")] = False,
    show: Annotated[int, typer.Option(help="How many mined sentences to print.", min=0)] = 12,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Mine AUDIO with DOCS."""
    from speechkit.errors import UserError
    from speechkit.mining.mined_set import mine as mine_set

    if not 0 <= min_precision <= 1:
        raise UserError(f"--min-precision {min_precision}: give a share from 0 to 1, such as 0.98")
    if backend not in (None, "inline", "pool", "ray"):
        raise UserError(f"--backend {backend}: choose inline, pool or ray")
    if separator is not None and not separate:
        raise UserError(f"--separator {separator}: is for --separate; give both, or leave --separator out")
    if clips not in ("none", "flac", "opus"):
        raise UserError(f"--clips {clips}: choose none, flac or opus")
    if channels not in ("together", "each"):
        raise UserError(f"--channels {channels}: choose together or each")
    forms = [part.strip() for given in to or [] for part in given.split(",") if part.strip()]
    mined = mine_set(
        audio,
        documents,
        out,
        lang=lang,
        recognizer=recognizer,
        min_precision=min_precision,
        pairs=pairs,
        formats=forms,
        clips=clips,  # type: ignore[arg-type]
        overrides=[*([f"regions.vad={vad}"] if vad != "silero" else []), *(settings or [])],
        backend=backend,  # type: ignore[arg-type]
        workers=workers,
        force=force,
        device=device,
        separator=separator or "embedded" if separate else None,
        channels=channels,  # type: ignore[arg-type]
        decisions=decisions,
        quiet=json,
    )
    typer.echo(_json(mined) if json else "\n".join(lines_of(mined, show)))


mine.__doc__ = EXAMPLES


def _json(mined: MinedSet) -> str:
    import msgspec

    return msgspec.json.encode(mined).decode()


def lines_of(mined: MinedSet, show: int) -> list[str]:
    """The result as text: the first sentences, counts by reason, and the paths."""
    import itertools

    summary = mined.summary
    lines: list[str] = []
    if summary.kept:
        lines.append(f"{'start':>9}  {'end':>9}  {'score':>5}  text")
    for item in itertools.islice(mined.utterances(), show):
        text = item.text or ""
        shown = text if len(text) <= 76 else f"{text[:75]}…"
        score = f"{item.score:.3f}" if item.score is not None else ""
        lines.append(f"{item.offset:9.2f}  {item.offset + item.duration:9.2f}  {score:>5}  {shown}")
    if summary.kept > show:
        lines.append(f"… and {summary.kept - show:,} more in {mined.manifest}")
    lines.append("")
    rows: list[tuple[str, Any]] = [("kept", f"{summary.kept:,} sentences, {_time(summary.kept_seconds)}")]
    if summary.expected_precision is not None:
        rows.append(("expected precision", f"{summary.expected_precision:.3f} (asked for {summary.min_precision:g})"))
    rows += [(f"rejected: {_words(name)}", f"{count:,} sentences") for name, count in sorted(summary.rejected.items())]
    rows += [(f"unmatched: {_words(name)}", _time(value)) for name, value in sorted(summary.unmatched_seconds.items())]
    rows += [(f"curator: {name}", f"{count:,} sentences") for name, count in mined.decisions.items()]
    rows.append(("recordings", f"{mined.recordings:,}, {_time(summary.audio_seconds)}"))
    if mined.silent_recordings:
        rows.append(("without speech", _some(mined.silent_recordings)))
    width = max(len(name) for name, _ in rows)
    lines += [f"{name.ljust(width)}  {value}" for name, value in rows]
    lines += [f"warning: {warning}" for warning in summary.warnings]
    for drop in mined.left_out[:10]:
        detail = drop.detail or _words(drop.reason)
        lines.append(f"left out: {detail}" if detail.startswith(drop.id) else f"left out: {drop.id}: {detail}")
    if len(mined.left_out) > 10:
        lines.append(f"… and {len(mined.left_out) - 10:,} more in {Path(mined.folder) / 'left_out.jsonl'}")
    if not summary.kept:
        lines.append("Nothing was kept; see the report, or lower --min-precision to keep more.")
    lines += ["", f"manifest  {mined.manifest}", f"report    {mined.report}"]
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _time(seconds: float) -> str:
    """Hours from one hour on, minutes below, seconds below one minute."""
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
