"""`speechkit ued`: unit edit distance under changes of the sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Unit edit distance of codebooks and invariant quantizers under changes of the sound, side by side.

Changes: time (speed 0.8 to 1.2), pitch (4 semitones up or down), room, noise (5 to 15 dB), speaker (formants and F0),
telephone; shift (one sample) and gain (0.1 dB) are inaudible and give the floor. --kinds also takes other
implementations of these: time_librosa, time_ffmpeg, pitch_librosa, pitch_ffmpeg, noise_made and room_recorded. The
distance is the number of edits between the deduplicated units of clean and changed audio, in percent of the clean
units, with a 95 % interval.

Examples:

  speechkit ued kmeans-100 invariant-100 --manifest dev.jsonl

  speechkit ued invariant-100 --manifest dev.jsonl --encoder facebook/hubert-base-ls960 --noises musan/noise

  speechkit ued embedded-100 --manifest dev.jsonl --kinds noise,room --json

  speechkit ued embedded-100 --manifest dev.jsonl --kinds pitch_librosa,time_ffmpeg,room_recorded --rooms rooms
"""


def ued(
    quantizers: Annotated[
        list[Path], typer.Argument(metavar="QUANTIZER...", help="Folders, or names such as embedded-100.")
    ],
    manifest: Annotated[Path, typer.Option(help="Recordings to measure on.")],
    encoder: Annotated[str, typer.Option(help="The encoder of the quantizers.")] = "embedded",
    kinds: Annotated[str, typer.Option(help="Kinds of change, comma-separated.")] = "",
    noises: Annotated[Path | None, typer.Option(help="Folder of noises; default: synthetic noise.")] = None,
    rooms: Annotated[Path | None, typer.Option(help="Folder of impulse responses, for room_recorded.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the changes.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure unit edit distances."""
    import msgspec

    from speechkit.augment.perturbations import EVERY, KINDS
    from speechkit.cli.left_out import LeftOut
    from speechkit.errors import ConfigError
    from speechkit.units.quantizers import load_quantizer
    from speechkit.units.ued_measurement import measure_ued, read_noises

    chosen = [name.strip() for name in kinds.split(",") if name.strip()] or list(KINDS)
    if unknown := [name for name in chosen if name not in EVERY]:
        raise ConfigError(f"--kinds: {unknown[0]!r} is an unknown kind of change; choose from {', '.join(EVERY)}")
    named = {str(folder): load_quantizer(folder) for folder in quantizers}
    measured = measure_ued(
        named,
        encoder,
        manifest,
        kinds=[kind for kind in EVERY if kind in chosen],
        noises=read_noises(noises),
        rooms=read_noises(rooms),
        seed=seed,
        device=device,
    )
    left_out = LeftOut()
    for name, reason in measured.left_out.items():
        left_out.add(name, reason)
    if json:
        typer.echo(msgspec.json.encode(measured).decode())
        return left_out.end(1)
    tables = list(measured.tables.values())
    rows = [["change", *measured.tables]]
    for kind in [*tables[0].scores, "overall", "floor"]:
        scores = [t.scores[kind] if kind in t.scores else getattr(t, kind) for t in tables]
        if scores[0] is not None:
            rows.append(
                [
                    kind,
                    *(f"{100 * s.ued:.1f} % ({100 * s.interval.low:.1f}-{100 * s.interval.high:.1f})" for s in scores),
                ]
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo(f"{measured.utterances} utterances; intervals at 95 % over {tables[0].interval_over}")
    return left_out.end(1)


ued.__doc__ = EXAMPLES
