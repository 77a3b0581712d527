"""`speechkit lm follows`: which recording follows what was said, by a concept model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechkit.cli.lm_units import Device, Json, Seed, settings

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder
    from speechkit.io.arrays import Float
    from speechkit.mining.pauses import PausesConfig


def follows(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of a concept model.")],
    context: Annotated[Path, typer.Argument(metavar="CONTEXT", help="A recording of what was said.")],
    among: Annotated[list[Path], typer.Option("--among", help="A recording that may follow; give several.")],
    encoder: Annotated[str, typer.Option(help="That the model takes frames of.")] = "embedded",
    pause: Annotated[float, typer.Option(min=0, help="Seconds of silence between two segments.")] = 0.25,
    vad: Annotated[str, typer.Option(help="silero, or energy: what finds speech.")] = "silero",
    draws: Annotated[int, typer.Option(min=1, help="Concepts drawn; the nearest of them counts.")] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Order recordings by how near their first segment is to what a concept model foresees behind another.

    Distances are of concepts, in robust deviations of a dimension. Recordings of the same speaker are what it can tell
    apart; a table of how well it does so is in the report of the recipe concept_lm.

    Examples:
      speechkit lm follows concept-lm talk.wav --among one.wav --among other.wav
    """
    import msgspec
    import numpy as np

    from speechkit.encoders import load_encoder
    from speechkit.lm.concepts.model import ConceptModel
    from speechkit.mining.pauses import PausesConfig
    from speechkit.runtime import choose_device, item_seed

    place = choose_device(device)
    opened = ConceptModel.from_pretrained(model).to(place)
    spec = opened.config.encoder
    hearing = load_encoder(encoder, layer=int(spec.layer) if spec.layer.isdecimal() else None, device=place)
    spec.require(hearing.spec, f"the concept model {model}")
    given = {"vad": vad, "min_silence_seconds": pause}
    pauses: PausesConfig = settings(given, PausesConfig, "speechkit lm follows --help")
    said = opened.concepts(_vectors(context, hearing, pauses))
    ends = [opened.concepts(_vectors(path, hearing, pauses)[:1])[0] for path in among]
    drawn = [opened.go_on(said, 1, item_seed(seed, str(number)))[0] for number in range(draws)]
    width = len(drawn[0]) ** 0.5
    near = [min(float(np.linalg.norm(end - each)) for each in drawn) / width for end in ends]
    order = sorted(range(len(near)), key=near.__getitem__)
    rows = [{"rank": rank, "file": str(among[index]), "distance": near[index]} for rank, index in enumerate(order, 1)]
    if json:
        typer.echo(msgspec.json.encode({"context_segments": len(said), "candidates": rows}).decode())
        return
    for row in rows:
        typer.echo(f"{row['rank']}  {row['distance']:.4f}  {row['file']}")


def _vectors(path: Path, encoder: Encoder, pauses: PausesConfig) -> Float:
    """The mean of the frames (T, D) of each stretch of speech between pauses.

    Raises:
        UserError: if there is none.
    """
    import numpy as np

    from speechkit.encoders.stages import encode_frames
    from speechkit.errors import UserError
    from speechkit.io.audio import read_audio
    from speechkit.mining.pauses import regions_config
    from speechkit.mining.regions import find_speech
    from speechkit.mining.voice_activity import SAMPLE_RATE

    encoder.spec.require_rates("concepts", sample_rate=SAMPLE_RATE)
    speech, _ = find_speech(path, regions_config(pauses))
    sound = read_audio(path, sample_rate=SAMPLE_RATE)
    found = [encode_frames(encoder, sound[begin:end]) for begin, end in speech]
    means = [frames.mean(0, dtype=np.float64) for frames in found if len(frames)]
    if not means:
        raise UserError(f"{path}: holds no speech of half a second; give a recording of speech")
    return np.stack(means).astype(np.float32)
