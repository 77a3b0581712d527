"""`speechkit lm follows`: rank candidate recordings as continuations of another by a concept model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechkit.cli.options import Device, Json, Seed, settings

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder
    from speechkit.io.arrays import Float
    from speechkit.mining.pauses import PausesConfig


def follows(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of a concept model.")],
    context: Annotated[Path, typer.Argument(metavar="CONTEXT", help="The recording to be continued.")],
    among: Annotated[list[Path], typer.Option("--among", help="A candidate recording; give several.")],
    encoder: Annotated[str, typer.Option(help="Encoder of the model's frames.")] = "embedded",
    pause: Annotated[float, typer.Option(min=0, help="Seconds of silence between two segments.")] = 0.25,
    vad: Annotated[str, typer.Option(help="Speech detector: silero or energy.")] = "silero",
    draws: Annotated[int, typer.Option(min=1, help="Number of sampled concepts; the nearest one counts.")] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Rank recordings by the distance of their first segment from a concept model's prediction after another one.

    Distances are per dimension, in units of its robust deviation. The model is trained to tell recordings of the same
    speaker apart; the report of the recipe concept_lm says how well it does.

    Examples:
      speechkit lm follows concept-lm talk.wav --among one.wav --among other.wav
    """
    import msgspec
    import numpy as np

    from speechkit.encoders import load_encoder
    from speechkit.lm.concepts.model import ConceptModel
    from speechkit.mining.pauses import PausesConfig
    from speechkit.runtime import choose_device, item_seed

    where = choose_device(device)
    opened = ConceptModel.from_pretrained(model).to(where)
    spec = opened.config.encoder
    frames = load_encoder(encoder, layer=int(spec.layer) if spec.layer.isdecimal() else None, device=where)
    spec.require(frames.spec, f"the concept model {model}")
    options = {"vad": vad, "min_silence_seconds": pause}
    pauses: PausesConfig = settings(options, PausesConfig, "speechkit lm follows --help")
    concepts = opened.concepts(_vectors(context, frames, pauses))
    candidates = [opened.concepts(_vectors(path, frames, pauses)[:1])[0] for path in among]
    predictions = [opened.generate(concepts, 1, item_seed(seed, str(number)))[0] for number in range(draws)]
    scale = len(predictions[0]) ** 0.5
    distances = [
        min(float(np.linalg.norm(candidate - predicted)) for predicted in predictions) / scale
        for candidate in candidates
    ]
    order = sorted(range(len(distances)), key=distances.__getitem__)
    rows = [
        {"rank": rank, "file": str(among[index]), "distance": distances[index]} for rank, index in enumerate(order, 1)
    ]
    if json:
        typer.echo(msgspec.json.encode({"context_segments": len(concepts), "candidates": rows}).decode())
        return
    for row in rows:
        typer.echo(f"{row['rank']}  {row['distance']:.4f}  {row['file']}")


def _vectors(path: Path, encoder: Encoder, pauses: PausesConfig) -> Float:
    """Mean frames (T, D) of the speech segments between pauses.

    Raises:
        UserError: if there is no speech.
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
    segments = [encode_frames(encoder, sound[begin:end]) for begin, end in speech]
    means = [frames.mean(0, dtype=np.float64) for frames in segments if len(frames)]
    if not means:
        raise UserError(f"{path}: contains no speech of at least half a second; give a recording of speech")
    return np.stack(means).astype(np.float32)
