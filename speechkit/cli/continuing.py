"""`speechkit continue`: continuations of a recording by a unit language model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.facts import print_facts
from speechkit.cli.options import Device, Json, Seed, Temperature, TopK, TopP, settings

if TYPE_CHECKING:
    from speechkit.units.sequences import UnitSequence


def continue_(
    inputs: Annotated[str, typer.Argument(metavar="IN", help="A recording, or a file of units.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Units, .jsonl; or speech, .wav and other audio.")],
    model: Annotated[str, typer.Option(help="embedded-100, or the folder or hub id of a unit model.")] = "embedded-100",
    seconds: Annotated[float, typer.Option(min=0.02, help="Longest continuation; the model may end it earlier.")] = 5.0,
    prompt_seconds: Annotated[
        float | None, typer.Option(min=0.02, help="Length of the prompt; the whole recording if not given.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Continuations per prompt.")] = 1,
    reads: Annotated[
        int, typer.Option(min=1, help="Times that the model reads the prompt; 2 helps layers of constant memory.")
    ] = 1,
    codebook: Annotated[
        str, typer.Option(help="Codebook of the model's units, to encode a recording.")
    ] = "embedded-100",
    encoder: Annotated[str, typer.Option(help="Encoder of the codebook.")] = "embedded",
    encoder_layer: Annotated[int | None, typer.Option(help="Its layer.")] = 0,
    decoder: Annotated[str, typer.Option(help="For speech: unit decoder, a name or folder.")] = "embedded-100",
    vocoder: Annotated[str, typer.Option(help="Vocoder of the decoder: a name or folder.")] = "embedded",
    speaker: Annotated[
        Path | None, typer.Option(help="A recording of the target speaker, for decoders of many.")
    ] = None,
    temperature: Temperature = 0.8,
    top_k: TopK = 25,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Continue speech, as units with durations, or as audio that begins with the prompt.

    Examples:
      speechkit continue talk.wav --prompt-seconds 3 --seconds 5 -o continued.jsonl

      speechkit continue talk.wav --prompt-seconds 3 -o continued.wav
    """
    from speechkit.errors import ConfigError, UserError
    from speechkit.io.audio import names_audio
    from speechkit.io.paths import refuse_inputs
    from speechkit.lm.continuation import continue_units, first_seconds, likely_tokens
    from speechkit.lm.decoding.sampling import SamplingConfig
    from speechkit.lm.load import open_model
    from speechkit.runtime import choose_device, item_seed
    from speechkit.units.sequences import UnitSequence, write_sequences

    sound = names_audio(out)
    refuse_inputs(out, [inputs, *([] if speaker is None else [speaker])])
    if not sound and out.suffix not in (".jsonl", ".json"):
        raise ConfigError(f"{out}: give a units file (.jsonl) or an audio file (.wav, .flac, ...)")
    if not Path(inputs).is_file():
        raise UserError(f"{inputs}: no such file; give a recording, or units that speechkit units assign wrote")
    device_name = choose_device(device)
    opened = open_model(model, device_name)
    if opened.network is None:
        raise UserError(f"{model}: is an n-gram model without durations; give a unit model")
    rate = opened.units.frames_per_second
    sequences = _units_of(Path(inputs), codebook, encoder, encoder_layer, device_name)
    prompts = [row if prompt_seconds is None else first_seconds(row, prompt_seconds, rate) for row in sequences]
    if sound and len(prompts) * count > 1:
        raise UserError(f"{out}: there are {len(prompts) * count} continuations; write units, or give one prompt")
    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "max_tokens": max(likely_tokens(row, seconds, rate) for row in prompts),
    }
    config: SamplingConfig = settings(given, SamplingConfig, "speechkit continue --help")
    named = [(row, f"{row.id}-{turn}" if count > 1 else row.id) for row in prompts for turn in range(count)]
    seeds = [item_seed(seed, name) for _, name in named]
    continuations = continue_units(opened.network, [row for row, _ in named], seconds, config, seeds, reads)
    rows = [
        UnitSequence(name, continuation.sequence.units, continuation.sequence.durations, continuation.sequence.codebook)
        for (_, name), continuation in zip(named, continuations, strict=True)
    ]
    for row in rows:
        if not row.units:
            print(
                f"speechkit: {row.id}: the model ends the recording right after the prompt; give --prompt-seconds, so "
                "that the prompt stops inside a sentence, or another --seed",
                file=sys.stderr,
            )
    if sound:
        _say(continuations[0].prompt, rows[0], out, decoder, vocoder, speaker, seed, device_name)
    else:
        write_sequences([out], ([row] for row in rows))
    facts: dict[str, Any] = {
        "prompts": len(prompts),
        "prompt_seconds": sum(sum(row.durations) for row in prompts) / rate,
        "continuations": len(rows),
        "seconds": sum(sum(row.durations) for row in rows) / rate,
        "ended": sum(continuation.ended for continuation in continuations),
        "file": str(out),
    }
    if json:
        facts["sequences"] = [{"id": row.id, "units": row.units, "durations": row.durations} for row in rows]
    print_facts(facts if json else {name.replace("_", " "): value for name, value in facts.items()}, json)


def _units_of(path: Path, codebook: str, encoder: str, layer: int | None, device: str) -> list[UnitSequence]:
    """Units of a file, or of a recording."""
    from speechkit.data.manifest import unique_ids
    from speechkit.units.sequences import quantize_recording, read_sequences

    if path.suffix == ".jsonl":
        return list(unique_ids(read_sequences([path]), path, "prompt"))
    from speechkit.encoders.load import load_encoder
    from speechkit.encoders.stages import encode_frames
    from speechkit.errors import UserError
    from speechkit.io.audio import read_audio
    from speechkit.units.quantizers import load_quantizer

    quantizer = load_quantizer(codebook)
    loaded = load_encoder(encoder, layer=layer, device=device)
    quantizer.check(loaded.spec)
    waveform = read_audio(path, sample_rate=loaded.spec.sample_rate)
    prompt = quantize_recording(path.stem, encode_frames(loaded, waveform), quantizer)[0]
    if not prompt.units:
        raise UserError(f"{path}: is shorter than a frame; give a longer recording")
    return [prompt]


def _say(
    prompt: UnitSequence,
    row: UnitSequence,
    out: Path,
    decoder: str,
    vocoder: str,
    speaker: Path | None,
    seed: int,
    device: str,
) -> None:
    from speechkit.io.audio import read_audio, write_audio
    from speechkit.runtime import item_seed
    from speechkit.tts.unit_decoder import load_unit_decoder, say_units
    from speechkit.tts.vocoder import load_vocoder

    decodes = load_unit_decoder(decoder, device)
    decodes.check(row.codebook)
    frames = decodes.frame_units([*prompt.units, *row.units], [*prompt.durations, *row.durations])
    reference = None if speaker is None else read_audio(speaker, sample_rate=decodes.config.mel.sample_rate)
    speech = say_units(decodes, load_vocoder(vocoder, device), frames, reference, item_seed(seed, row.id))
    write_audio(out, speech.waveform, speech.rate)
