"""`speechkit units say` and `speechkit syllables say`: units and syllable tokens made audible."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.left_out import LeftOut

if TYPE_CHECKING:
    from speechkit.tts.unit_decoder import UnitDecoder

Spoken = list[tuple[str, list[int], list[int] | None]]
"""Id, units and, where they are known, frames of each."""

Out = Annotated[Path, typer.Option("--out", "-o", help="Audio file; a folder where there are several sequences.")]
Vocoder = Annotated[str, typer.Option(help="Of log-mel frames: name or folder.")]
Speaker = Annotated[Path | None, typer.Option(help="A recording of who shall speak, for decoders of many voices.")]
Seconds = Annotated[float | None, typer.Option(help="Length of each sequence, instead of its durations.")]
Speed = Annotated[float, typer.Option(help="2 is twice as fast.")]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]


def say_units(
    units: Annotated[str, typer.Argument(metavar="UNITS", help='A file that assign wrote, or "85 54 62 78".')],
    out: Out,
    decoder: Annotated[str, typer.Option(help="Name of a codebook that the package decodes, or a folder.")] = (
        "embedded-100"
    ),
    vocoder: Vocoder = "embedded",
    ids: Annotated[str, typer.Option(help="Which sequences of the file, with commas between them.")] = "",
    speaker: Speaker = None,
    seconds: Seconds = None,
    speed: Speed = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Make units audible: those of recordings, or a continuation that a model of units wrote.

    Units of a file must be of the decoder's codebook; of units in words each lasts what it does on average. Tokens of
    acoustic BPE are decoded first (speechkit units decode), unless the decoder was trained on them.

    Examples:
      speechkit units say units.jsonl -o spoken

      speechkit units say "85 54 62 78 4 92" --speed 0.9 -o six.wav
    """
    _say(_units(units), out, decoder, vocoder, ids, speaker, seconds, speed, seed, device)


def say_syllables(
    tokens: Annotated[Path, typer.Argument(metavar="TOKENS", help="tokens.jsonl of the recipe sylber.")],
    out: Out,
    decoder: Annotated[str, typer.Option(help="Folder of a decoder of these tokens, of the recipe unit_decoder.")],
    vocoder: Vocoder = "embedded",
    ids: Annotated[str, typer.Option(help="Which rows, with commas between them.")] = "",
    speaker: Speaker = None,
    seconds: Seconds = None,
    speed: Speed = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Make syllable tokens audible.

    Examples:
      speechkit syllables say tokens.jsonl --decoder exp/unit_decoder/03-train/current/model -o spoken
    """
    from speechkit.data.manifest import read_jsonl
    from speechkit.syllables.tokens import TokenRow, token_runs

    rows: Spoken = [(row.id, *token_runs(row)) for row in read_jsonl(tokens, TokenRow)]
    _say((rows, None), out, decoder, vocoder, ids, speaker, seconds, speed, seed, device)


def _units(given: str) -> tuple[Spoken, str | None]:
    """What to say, and the digest of its codebook where that is known."""
    from speechkit.errors import UserError
    from speechkit.units.sequences import read_sequences

    if given.replace(",", " ").replace(" ", "").isdigit():
        return [("units", [int(unit) for unit in given.replace(",", " ").split()], None)], None
    if not Path(given).is_file():
        raise UserError(f"{given}: is no file of units and no row of numbers; give one of them")
    rows = read_sequences([Path(given)])
    return [(row.id, row.units, row.durations) for row in rows], rows[0].codebook


def _say(
    given: tuple[Spoken, str | None],
    out: Path,
    decoder: str,
    vocoder: str,
    ids: str,
    speaker: Path | None,
    seconds: float | None,
    speed: float,
    seed: int,
    device: str,
) -> None:
    from speechkit.errors import UserError
    from speechkit.io.audio import FORMATS, read_audio, write_audio
    from speechkit.runtime import choose_device, item_seed
    from speechkit.tts.unit_decoder import load_unit_decoder, say_units
    from speechkit.tts.vocoder import load_vocoder

    rows, digest = given
    asked = [name.strip() for name in ids.split(",") if name.strip()]
    chosen = [row for row in rows if not asked or row[0] in asked]
    if missing := sorted(set(asked) - {row[0] for row in chosen}):
        raise UserError(f"no sequence is called {missing[0]}; choose from {rows[0][0]} and {len(rows) - 1} more")
    if not chosen:
        raise UserError("there is nothing to say; give at least one sequence of units")
    chosen_device = choose_device(device)
    decodes = load_unit_decoder(decoder, chosen_device)
    _same_codebook(decodes, digest)
    vocodes = load_vocoder(vocoder, chosen_device)
    heard = None if speaker is None else read_audio(speaker, sample_rate=decodes.config.mel.sample_rate)
    one = out.suffix.lstrip(".").upper() in FORMATS
    if one and len(chosen) > 1:
        raise UserError(f"{out}: there are {len(chosen)} sequences; name a folder, or one of them by --ids")
    spoken, taken, done, left_out = 0.0, 0.0, 0, LeftOut()
    for path, (name, units, durations) in zip(_paths(out, one, chosen), chosen, strict=True):
        began = time.monotonic()
        speech = None
        with left_out.one(name):
            frames = decodes.frame_units(units, durations, seconds=seconds, speed=speed)
            speech = say_units(decodes, vocodes, frames, heard, item_seed(seed, name))
        if speech is None:
            continue
        done += 1
        taken += time.monotonic() - began
        spoken += speech.seconds
        write_audio(path, speech.waveform, speech.rate)
        typer.echo(path)
    if not done:
        left_out.end(done, "sequences")
    typer.echo(f"{spoken:.2f} s of speech in {taken:.2f} s, {spoken / max(taken, 1e-9):.1f} times real time")
    left_out.end(done)


def _same_codebook(decoder: UnitDecoder, digest: str | None) -> None:
    """Refuse units of another codebook."""
    from speechkit.errors import UserError

    own = decoder.config.units
    if digest is not None and digest != own.digest:
        raise UserError(
            f"{decoder.name} was trained on {own.clusters} units of the codebook {own.digest[:12]}, these are of "
            f"{digest[:12]}; assign them with its codebook, or give a decoder of theirs"
        )


def _paths(out: Path, one: bool, rows: Any) -> Iterator[Path]:
    from speechkit.io.paths import safe_id

    return iter([out] if one else [out / f"{safe_id(row[0])}.wav" for row in rows])
