"""`speechkit separate`: recordings of several speakers to one track per speaker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from speechkit.separation.files import SeparatedFile, SeparatedSet

EXAMPLES = """
Separate recordings, folders of recordings, or rows of manifests into one audio file per speaker.

--out then contains NAME_source1.wav, NAME_source2.wav, …, NAME_tracks.json (number of speakers, its confidence, and
overlapping regions), tracks.jsonl (a manifest of all tracks) and separation.json (a summary). A single speaker gives
one track. Finished work is reused: after an interruption run the same command again.

A recording that cannot be read is left out with the reason, the others are processed, and the command exits with 2.

Examples:

  speechkit separate meeting.wav --out tracks

  speechkit separate calls --out tracks --speakers 2 --rate 16000 --format flac

  speechkit separate test.jsonl --out tracks --speakers 2

  speechkit separate meeting.mp3 --out tracks --model exp/mossformer2/model --json
"""


def separate(
    inputs: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings, folders of them, or manifests.")],
    out: Annotated[Path, typer.Option(help="Folder of the tracks.")],
    model: Annotated[str, typer.Option(help="embedded, a folder or a hub id.")] = "embedded",
    speakers: Annotated[int | None, typer.Option(help="Number of speakers, if known; counted otherwise.")] = None,
    rate: Annotated[int | None, typer.Option(help="Sample rate of the tracks; default: the recording's.")] = None,
    format: Annotated[str, typer.Option(help="wav or flac.")] = "wav",  # noqa: A002
    channel: Annotated[
        int | None, typer.Option(help="Channel from 0; default: the mean, and of rows their own.")
    ] = None,
    window: Annotated[float, typer.Option(help="Window length in seconds.")] = 8.0,
    overlap: Annotated[float, typer.Option(help="Overlap of windows in seconds; at most half a window.")] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Ignore earlier results.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Separate speakers."""
    import msgspec

    from speechkit.errors import ConfigError, UserError
    from speechkit.separation.files import TrackOptions, separate_files
    from speechkit.separation.inputs import named_inputs
    from speechkit.separation.streaming import Windowing

    if format not in ("wav", "flac"):
        raise ConfigError(f"--format {format}: choose wav or flac")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder for the tracks")
    options = TrackOptions(speakers, rate, format, channel, Windowing(window, overlap))  # type: ignore[arg-type]
    named_inputs(inputs, out)  # before the separator is loaded
    from speechkit.separation.separate import load_window_separator, separation_digest

    separated = separate_files(
        inputs,
        out,
        load_window_separator(model, device),
        model=model,
        digest=separation_digest(model),
        options=options,
        force=force,
        reported=lambda done: typer.echo(line_of(done), err=isinstance(done, str) or json),
    )
    typer.echo(msgspec.json.encode(separated).decode() if json else summary_of(separated))
    if separated.failed:
        raise typer.Exit(2)


separate.__doc__ = EXAMPLES


def line_of(done: SeparatedFile | str) -> str:
    """One line per recording: speakers, seconds of silence, single and overlapping speech, speed, notes."""
    if isinstance(done, str):
        return f"speechkit: {done}"
    count = done.count
    sure = "" if count.confidence is None else f" ({count.confidence:.2f})"
    people = "nobody speaks" if not count.speakers else f"{count.speakers} speaker{'s'[: count.speakers > 1]}{sure}"
    parts = [people, ", ".join(done.tracks)]
    if count.speakers > 1:
        parts.append(f"{sum(count.seconds[2:]):.1f} of {done.audio_seconds:.1f} s overlapping")
    if done.audio_seconds >= 1:  # for shorter ones start-up time dominates
        parts.append(f"{done.seconds / done.audio_seconds:.3f} s per second")
    return f"{done.name}: {'; '.join([*parts, *done.notes])}"


def summary_of(separated: SeparatedSet) -> str:
    """Summary line of all recordings."""
    factor = separated.real_time_factor
    speed = "" if factor is None else f", real-time factor {factor:.3f}"
    left_out = f", {len(separated.failed)} left out" if separated.failed else ""
    left_out += f", {len(separated.skipped)} other files" if separated.skipped else ""
    done = f"{len(separated.files)} recording{'s'[: len(separated.files) != 1]}"
    return f"{done}, {separated.audio_seconds:.1f} s{speed}{left_out}; {separated.folder}/tracks.jsonl"
