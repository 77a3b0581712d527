"""`speechkit say` and `speechkit convert`: text to speech, and voice conversion."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from speechkit.io.arrays import Float
    from speechkit.tts.voice import SpeakingVoice

MOST_SEED = 2**63 - 1
SAY_EXAMPLES = """
Synthesise TEXT, a text file, or a list of texts.

Voices: english, german; joe (US English, extra tts-data, needs the program espeak-ng); espeak (that program); the
folder of a text2vec or SimpleSpeech model; the .onnx file of a Piper voice. Long texts are synthesised sentence by
sentence, with pauses.

--texts takes JSON lines, in parts, on any backend, with resume: {"id": "a", "text": "..."}, optionally with "speaker"
(a recording, relative to the list) and "seconds". --out is then a folder.

Examples:

  speechkit say "Bees begin the year by listening." -o bees.wav

  speechkit say "Die Bienen hören zu." --voice german --speed 1.2 -o bienen.flac

  speechkit say --file chapter.txt --voice exp/wavthruvec/voice -o chapter.mp3

  speechkit say --texts texts.jsonl --voice joe --out spoken --backend pool --workers 4
"""

CONVERT_EXAMPLES = """
Convert SOURCE, of any length, to the voice of another recording.

The vocoder takes encoder frames (vec2wav: recipes/vocoder with an encoder); the voice comes from its speaker encoder,
or with --neighbours from the frames of --to (kNN-VC), which should then be minutes long.

Examples:

  speechkit convert talk.wav --to her.wav --vocoder exp/vec2wav/model -o talk-her.wav

  speechkit convert talk.wav --to her-minutes.wav --vocoder exp/vec2wav/model --neighbours 4 -o talk-her.wav
"""


def say(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to say.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Audio file; a folder with --texts.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file to speak instead of TEXT.")] = None,
    texts: Annotated[Path | None, typer.Option(help="A list of texts to speak instead of TEXT.")] = None,
    voice: Annotated[str, typer.Option(help="Name or folder.")] = "english",
    vocoder: Annotated[str | None, typer.Option(help="Another vocoder for text2vec: name or folder.")] = None,
    speaker: Annotated[str | None, typer.Option(help="A recording of the target speaker, or a speaker's name.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Total length.")] = None,
    speed: Annotated[float, typer.Option(help="2 is twice as fast.")] = 1.0,
    pause: Annotated[float, typer.Option(help="Seconds of silence between sentences.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Seed of voices that sample noise.", min=0, max=MOST_SEED)] = 0,
    backend: Annotated[str, typer.Option(help="With --texts: inline, pool or ray.")] = "inline",
    workers: Annotated[int, typer.Option(help="Processes of the backend.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Speak a text."""
    from speechkit.errors import ConfigError
    from speechkit.io.paths import refuse_inputs

    if sum(item is not None for item in (text, file, texts)) != 1:
        raise ConfigError("give exactly one of TEXT, --file and --texts")
    if out is None:
        raise ConfigError("--out is not given; name the audio file, or with --texts the folder")
    if not 0.1 <= speed <= 10:
        raise ConfigError(f"--speed {speed:g}: give a number from 0.1 to 10, 1 being unchanged")
    if seconds is not None and (not 0 < seconds <= 3600 or speed != 1):
        raise ConfigError(f"--seconds {seconds:g}: give a number above 0 and up to 3600, without --speed")
    if not 0 <= pause <= 60:
        raise ConfigError(f"--pause {pause:g}: give seconds from 0 to 60")
    if texts is not None:
        if speaker is not None or seconds is not None or vocoder is not None:
            raise ConfigError(
                "--speaker, --seconds and --vocoder are for a single text; put speaker and seconds into the list's rows"
            )
        _say_list(texts, out, voice, speed, pause, seed, backend, workers, device, json)
        return
    _require_format(out)
    refuse_inputs(out, [speaker] if speaker is not None else [])
    words = _read_text(file) if file is not None else text or ""
    from speechkit.tts.voice import load_voice

    begun = time.perf_counter()
    loaded = load_voice(voice, device, vocoder)
    loading = time.perf_counter() - begun
    settings = {"speaker": speaker, "seconds": seconds, "speed": speed, "seed": seed, "pause_seconds": pause}
    _report({"loading_seconds": round(loading, 3), **_spoken(loaded, words, out, settings)}, json)


say.__doc__ = SAY_EXAMPLES


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A recording of any length.")],
    to: Annotated[Path, typer.Option(help="A recording of the target speaker.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Audio file.")],
    vocoder: Annotated[str, typer.Option(help="Folder of a vocoder that takes encoder frames.")],
    encoder: Annotated[str, typer.Option(help="The encoder that it was trained with: name or folder.")] = "embedded",
    layer: Annotated[int | None, typer.Option(help="Layer of the encoder; default: that of the vocoder.")] = None,
    neighbours: Annotated[int, typer.Option(help="Nearest frames of --to per source frame; 0: none.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of vocoders that sample noise.", min=0, max=MOST_SEED)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Convert a voice."""
    from speechkit.errors import UserError
    from speechkit.io.paths import refuse_inputs

    for path in (source, to):
        if not path.is_file():
            raise UserError(f"{path}: no such file; give a recording")
    _require_format(out)
    refuse_inputs(out, (source, to))
    from speechkit.encoders.load import load_encoder
    from speechkit.io.audio import write_blocks
    from speechkit.runtime import choose_device
    from speechkit.tts.conversion import Converter
    from speechkit.tts.vocoder import load_vocoder
    from speechkit.tts.vocoder.config import EncoderInput

    chosen = choose_device(device)
    loaded = load_vocoder(vocoder, chosen)
    taken = loaded.config.input
    if layer is None and isinstance(taken, EncoderInput) and taken.encoder.layer.isdigit():
        layer = int(taken.encoder.layer)
    converter = Converter(loaded, load_encoder(encoder, layer=layer, device=chosen))
    begun, first, samples = time.perf_counter(), 0.0, 0

    def timed(pieces: Iterator[Float]) -> Iterator[Float]:
        nonlocal first, samples
        for piece in pieces:
            first = first or time.perf_counter() - begun
            samples += len(piece)
            yield piece

    pieces = timed(converter.convert(source, to, neighbours=neighbours, seed=seed))
    beginning = next(pieces, None)
    if beginning is None:
        raise UserError(f"{source}: is shorter than a frame; give a longer recording")
    write_blocks(out, chain([beginning], pieces), converter.rate)  # as they come: memory does not grow with the length
    _report(_speed_facts(out, samples / converter.rate, time.perf_counter() - begun, first), json)


convert.__doc__ = CONVERT_EXAMPLES


def _spoken(voice: SpeakingVoice, text: str, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Synthesise, write the file, and return the speed."""
    from speechkit.io.audio import write_audio
    from speechkit.tts.speech import Speech, UnspeakableError, join_speech
    from speechkit.tts.voice import say_sentences

    begun, first = time.perf_counter(), 0.0
    parts: list[Speech] = []
    failures: list[UnspeakableError] = []
    for part in say_sentences(voice, text, **settings):
        if not isinstance(part, Speech):
            failures.append(part)
            continue
        first = first or time.perf_counter() - begun
        parts.append(part)
    taken = time.perf_counter() - begun
    if not parts:
        raise failures[0]
    for line in (*(note for part in parts for note in part.notes), *(f"left out: {item}" for item in failures)):
        print(f"speechkit: {line}", file=sys.stderr)
    speech = join_speech(parts, settings["pause_seconds"])
    write_audio(out, speech.waveform, speech.rate)
    return {**_speed_facts(out, speech.seconds, taken, first), "sentences": len(parts)}


def _speed_facts(out: Path, seconds: float, taken: float, first: float) -> dict[str, Any]:
    return {
        "file": str(out),
        "seconds": round(seconds, 3),
        "real_time_factor": round(taken / max(seconds, 1e-9), 4),
        "first_audio_seconds": round(first, 3),
    }


def _report(facts: dict[str, Any], json: bool) -> None:
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(facts).decode())
        return
    speed = 1 / max(facts["real_time_factor"], 1e-9)
    typer.echo(
        f"{facts['file']}: {facts['seconds']:.2f} s, real-time factor {facts['real_time_factor']:.3f} "
        f"({speed:.1f} times real time), first audio after {facts['first_audio_seconds']:.2f} s"
    )


def _require_format(out: Path) -> None:
    """Refuse an unknown suffix before a model is loaded."""
    from speechkit.errors import ConfigError
    from speechkit.io.audio import FORMATS, names_audio

    if not names_audio(out):
        raise ConfigError(f"--out {out}: give a file that ends with .{', .'.join(item.lower() for item in FORMATS)}")


def _read_text(path: Path) -> str:
    from speechkit.errors import UserError

    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); give a file in UTF-8") from error


def _say_list(texts: Path, out: Path, voice: str, speed: float, pause: float, seed: int, *running: Any) -> None:
    """Synthesise a list in two stages, and print the path of the manifest."""
    from speechkit.errors import UserError
    from speechkit.pipeline import DropRecord, Recipe, outputs, run_recipe
    from speechkit.tts.stages import say_stages

    backend, workers, device, json = running
    if not texts.is_file():
        raise UserError(f"{texts}: no such file; give JSON lines with id and text")
    if out.is_file():
        raise UserError(f"{out}: is a file; name a folder for the clips")
    recipe = Recipe("say", say_stages(1))
    arguments = {
        "seed": seed,
        "texts": str(texts),
        "voice": voice,
        "say": {"speed": float(speed), "pause_seconds": float(pause)},
    }
    run_recipe(
        recipe,
        out,
        backend=backend,
        workers=workers,
        device=device,
        arguments=arguments,
        quiet=json,
        show_results=False,
    )
    from speechkit.cli.facts import print_facts
    from speechkit.cli.left_out import LeftOut
    from speechkit.data.manifest import read_jsonl, read_manifest
    from speechkit.pipeline.folder import CURRENT

    folder = outputs(recipe, out, "clips")
    rows = list(read_manifest(folder / "manifest.jsonl"))
    dropped = outputs(recipe, out, "say") / "drops.jsonl"
    left_out = LeftOut()
    for drop in read_jsonl(dropped, DropRecord) if dropped.is_file() else ():
        left_out.add(drop.id, f"{drop.reason} {drop.detail}".rstrip())
    seconds = sum(row.duration for row in rows)
    current = folder.parent / CURRENT  # stays where it is when the list changes
    manifest = (current if current.is_dir() else folder) / "manifest.jsonl"
    facts = {"manifest": str(manifest), "clips": len(rows), "seconds": round(seconds, 2)}
    print_facts({**facts, "left_out": len(left_out.reasons)}, json)
    left_out.end(len(rows))
