"""`speechkit features`: frames of a speech encoder for a manifest or recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from speechkit.cli.facts import print_facts

EXAMPLES = """
Encode the cuts of a manifest, or whole recordings, and store the frames: safetensors shards with the encoder's spec.

Encoders: embedded, log-mel, mfcc, or a hub id or folder of wav2vec 2.0, HuBERT, WavLM, data2vec-audio, Wav2Vec2-BERT or
Whisper. A frame stands for 20 ms. In parts, on a cluster, with resume: speechkit run ssl_features.

Examples:

  speechkit features train.jsonl --out feats

  speechkit features train.jsonl --encoder facebook/hubert-base-ls960 --layer 9 --out feats

  speechkit features talk.wav other.mp3 --encoder mfcc --out feats --dtype float32

  speechkit features talk.wav --deviation

  speechkit features --show feats --json
"""


def features(
    inputs: Annotated[list[Path] | None, typer.Argument(metavar="MANIFEST|AUDIO...", help="What to encode.")] = None,
    encoder: Annotated[str, typer.Option(help="Name, hub id or folder.")] = "embedded",
    layer: Annotated[int | None, typer.Option(help="0 (input of the first) to the last, which is the default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the store.")] = None,
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    compute: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    deviation: Annotated[
        bool, typer.Option("--deviation", help="Say what windows change against whole recordings, and store nothing.")
    ] = False,
    show: Annotated[Path | None, typer.Option(help="Say what a store holds.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Encode speech."""
    from speechkit.errors import ConfigError

    if show is not None:
        return print_facts(_summary(show), json)
    if not inputs:
        raise ConfigError("nothing to encode; give a manifest or recordings, or --show FOLDER")
    from speechkit.encoders.load import load_encoder

    if compute not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"--compute is {compute!r}; choose auto, float32 or bfloat16")
    loaded = load_encoder(encoder, layer=layer, device=device, dtype=compute)  # type: ignore[arg-type]
    if deviation:
        return print_facts({str(path): _deviation(loaded, path) for path in inputs}, json)
    if out is None:
        raise ConfigError("--out is not given; name the folder of the store")
    dropped = _write(loaded, inputs, out, dtype)
    return print_facts({**_summary(out), "dropped": dropped}, json)


features.__doc__ = EXAMPLES


def _write(encoder: Any, inputs: list[Path], out: Path, dtype: str) -> dict[str, str]:
    import sys

    import numpy as np

    from speechkit.data.manifest import read_manifest
    from speechkit.encoders.stages import WINDOW_SECONDS, read_cut
    from speechkit.encoders.store import FeatureWriter
    from speechkit.errors import AudioError
    from speechkit.io.atomic import write_json

    dropped: dict[str, str] = {}
    with FeatureWriter(out, encoder.spec, dtype) as writer:

        def add(name: str, frames: Any) -> None:
            if len(frames):
                writer.add(name, frames)
            else:
                dropped[name] = "shorter than a frame of 20 ms"

        for path in inputs:
            try:
                if path.suffix in (".jsonl", ".gz"):
                    for row in read_manifest(path):
                        try:
                            waveform = read_cut(row, path)
                        except AudioError as error:
                            dropped[row.id] = str(error)
                            continue
                        if row.duration <= WINDOW_SECONDS:
                            add(row.id, encoder.encode(waveform))
                        else:
                            add(row.id, np.concatenate([encoder.encode(waveform[:0]), *encoder.stream([waveform])]))
                else:
                    parts = list(encoder.encode_long(path))
                    add(path.stem, np.concatenate([encoder.encode(np.zeros(0, np.float32)), *parts]))
            except AudioError as error:
                dropped[path.stem] = str(error)
    write_json(out / "dropped.json", dropped)
    for name, reason in dropped.items():
        print(f"speechkit: left out {name}: {reason}", file=sys.stderr)
    return dropped


def _deviation(encoder: Any, path: Path) -> dict[str, float]:
    from speechkit.encoders.encoder import window_deviation
    from speechkit.io.audio import read_audio

    error, cosine = window_deviation(encoder, path, encoder.encode(read_audio(path)))
    return {"relative_error": error, "lowest_cosine": cosine}


def _summary(folder: Path) -> dict[str, Any]:
    import msgspec

    from speechkit.encoders.store import FeatureStore

    store = FeatureStore(folder)
    frames = store.total_frames
    return {
        "folder": str(folder),
        "items": len(store),
        "frames": frames,
        "hours": frames * store.spec.hop / store.spec.sample_rate / 3600,
        **msgspec.to_builtins(store.spec),
    }
