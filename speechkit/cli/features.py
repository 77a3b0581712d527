"""`speechkit features`: frames of a speech encoder for a manifest or recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.facts import print_facts
from speechkit.cli.left_out import LeftOut, expand_folders
from speechkit.errors import shown

if TYPE_CHECKING:
    from speechkit.data.records import Utterance

EXAMPLES = """
Encode the cuts of a manifest, or whole recordings, and store the frames as safetensors shards with the encoder's spec.

Encoders: embedded, log-mel, mfcc, or a hub id or folder of wav2vec 2.0, HuBERT, WavLM, data2vec-audio, Wav2Vec2-BERT or
Whisper. A frame is usually 20 ms, as given by the checkpoint. In parts, on a cluster, with resume: speechkit run
ssl_features.

Examples:

  speechkit features train.jsonl --out feats

  speechkit features train.jsonl --encoder facebook/hubert-base-ls960 --layer 9 --out feats

  speechkit features talk.wav other.mp3 --encoder mfcc --out feats --dtype float32

  speechkit features talk.wav --deviation

  speechkit features --show feats --json
"""


def features(
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="MANIFEST|AUDIO|FOLDER...", help="What to encode.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="Name, hub id or folder.")] = "embedded",
    layer: Annotated[int | None, typer.Option(help="From 0, the input of the first layer; default: the last.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the store.")] = None,
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    compute: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    compat: Annotated[
        bool, typer.Option("--compat", help="The frame grid of stock transformers, for published codebooks.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    deviation: Annotated[
        bool, typer.Option("--deviation", help="Print the deviation of windows from whole recordings; store nothing.")
    ] = False,
    show: Annotated[Path | None, typer.Option(help="Show the contents of a store.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Encode speech."""
    from speechkit.data.recordings import require_unique_ids
    from speechkit.errors import ConfigError, UserError

    if show is not None:
        return print_facts(_summary(show), json)
    if not inputs:
        raise ConfigError("nothing to encode; give a manifest or recordings, or --show FOLDER")
    inputs = expand_folders(inputs)
    for path in inputs:
        if not path.is_file():
            raise UserError(f"{path}: no such file; give a manifest, recordings or folders of them")
    if compute not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"--compute is {compute!r}; choose auto, float32 or bfloat16")
    if not deviation:
        # Before the encoder is loaded, and hours before the last item is written.
        if out is None:
            raise ConfigError("--out is not given; name the folder of the store")
        if dtype not in ("float16", "float32"):
            raise ConfigError(f"--dtype is {dtype!r}; choose float16 or float32")
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: is a file; name a folder for the features")
        require_unique_ids(inputs)
    from speechkit.encoders.load import load_encoder

    loaded = load_encoder(encoder, layer=layer, device=device, dtype=compute, compat=compat)  # type: ignore[arg-type]
    if out is None or deviation:
        return print_facts({shown(path): _deviation(loaded, path) for path in inputs}, json)
    left_out, done, noted = _write(loaded, inputs, out, dtype)
    print_facts({**_summary(out), "dropped": left_out.reasons, "noted": noted}, json)
    return left_out.end(done)


features.__doc__ = EXAMPLES


def _write(encoder: Any, inputs: list[Path], out: Path, dtype: str) -> tuple[LeftOut, int, dict[str, list[str]]]:
    """What was left out, how many were encoded, and the notes on clipped or silent recordings."""
    import sys

    from speechkit.encoders.feature_writer import FeatureWriter, why_unfit
    from speechkit.io.atomic import write_json

    left_out = LeftOut()
    noted: dict[str, list[str]] = {}
    with FeatureWriter(out, encoder.spec, dtype) as writer:
        count = 0
        for name, encoded in _items(encoder, inputs, left_out):
            frames = None
            with left_out.one(name, "unreadable_audio"):
                frames, notes = encoded()
            if frames is None:
                continue
            unfit = why_unfit(frames, dtype)
            if unfit is not None:
                left_out.add(name, ": ".join(unfit))
                continue
            writer.add(name, frames)
            count += 1
            if notes:
                noted[name] = notes
                print(f"speechkit: {name}: {' and '.join(notes)}, encoded anyway", file=sys.stderr)
        write_json(out / "dropped.json", left_out.reasons)
        if not count:  # raised here, so that an earlier store stays as it was
            left_out.end(count, where=out / "dropped.json")
    return left_out, count, noted


def _items(
    encoder: Any, inputs: list[Path], left_out: LeftOut
) -> Iterator[tuple[str, Callable[[], tuple[Any, list[str]]]]]:
    """Each item's name, and a function that returns its frames and the notes on its audio."""
    import numpy as np

    from speechkit.data.audio import cut_blocks, read_waveform
    from speechkit.data.listening import listen, sound_notes
    from speechkit.data.manifest import audio_path, read_manifest
    from speechkit.data.recordings import is_manifest, recording_rows
    from speechkit.encoders.stages import encode_frames

    rate = encoder.spec.sample_rate

    def of_row(row: Utterance, manifest: Path) -> tuple[Any, list[str]]:
        waveform = read_waveform(row, manifest, sample_rate=rate)
        # Clipping shows only at the file's own sample rate; at another rate the file is read again.
        at_its_rate = row.sample_rate == rate
        notes = sound_notes([waveform]) if at_its_rate else listen(audio_path(manifest, row), row)
        return encode_frames(encoder, waveform), notes

    def of_recording(row: Utterance, path: Path) -> tuple[Any, list[str]]:
        frames = list(encoder.stream(cut_blocks(path, row, sample_rate=rate)))
        return np.concatenate(frames), listen(path, row)

    for path in inputs:
        if is_manifest(path):
            for row in read_manifest(path):
                yield row.id, partial(of_row, row, path)
            continue
        rows: list[Utterance] = []
        with left_out.one(shown(path.stem), "unreadable_audio"):
            rows = recording_rows(path)
        for row in rows:
            yield row.id, partial(of_recording, row, path)


def _deviation(encoder: Any, path: Path) -> dict[str, float]:
    from speechkit.encoders.encoder import window_deviation
    from speechkit.io.audio import read_audio

    error, cosine = window_deviation(
        encoder, path, encoder.encode(read_audio(path, sample_rate=encoder.spec.sample_rate))
    )
    return {"relative_error": error, "lowest_cosine": cosine}


def _summary(folder: Path) -> dict[str, Any]:
    import msgspec

    from speechkit.encoders.store import FeatureStore
    from speechkit.errors import UserError

    if folder.is_file():
        raise UserError(f"{folder}: is a file; name the folder that speechkit features wrote")
    store = FeatureStore(folder)
    frames = store.total_frames
    return {
        "folder": str(folder),
        "items": len(store),
        "frames": frames,
        "hours": frames * store.spec.hop / store.spec.sample_rate / 3600,
        **msgspec.to_builtins(store.spec),
    }
