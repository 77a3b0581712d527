"""UED of quantizers over a manifest: each perturbed recording is encoded once and quantized by all quantizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.augment.perturbations import CLEAN, CONTROLS, KINDS, Perturbation, PerturbationConfig, perturb
from speechkit.augment.waveforms import is_silent
from speechkit.data.audio import read_waveform
from speechkit.data.manifest import read_manifest, unique_ids
from speechkit.encoders.load import load_encoder
from speechkit.errors import AudioError, UserError
from speechkit.io.audio import read_audio
from speechkit.io.folders import find_audio
from speechkit.units.deduplication import deduplicate
from speechkit.units.quantizers import assign_together
from speechkit.units.ued import UedTable, ued_table

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder
    from speechkit.units.invariant.quantizer import Quantizer

MAX_SECONDS = 60.0


class UedMeasurement(msgspec.Struct, frozen=True):
    """UED table of each quantizer, and the skipped recordings with the reason."""

    tables: dict[str, UedTable]
    utterances: int
    left_out: dict[str, str]


def measure_ued(
    quantizers: Mapping[str, Quantizer],
    encoder: str,
    manifest: Path | str,
    *,
    kinds: Sequence[Perturbation] = KINDS,
    config: PerturbationConfig | None = None,
    noises: Sequence[NDArray[np.float32]] = (),
    rooms: Sequence[NDArray[np.float32]] = (),
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[int], None] = lambda done: None,
) -> UedMeasurement:
    """Measure the UED of quantizers of any layers of one encoder.

    Recordings longer than `MAX_SECONDS` are skipped, to bound memory.

    Args:
        quantizers: codebooks or invariant quantizers by name.
        encoder: encoder of their features.
        manifest: recordings; intervals are over speakers if there are enough.
        kinds: perturbations.
        config: their strengths.
        rooms: recorded impulse responses, for ``room_recorded``.
        noises: noises to add; default: synthetic noise.
        seed: of the perturbations.
        device: of the encoder.
        progress: called with the number of finished recordings.

    Raises:
        UserError: if a quantizer is of another encoder, the manifest has a duplicate id, a noise is silent, or no
            recording is usable.
    """
    layers = {name: int(layer_of(quantizer, name)) for name, quantizer in quantizers.items()}
    by_layer = {layer: [name for name in layers if layers[name] == layer] for layer in layers.values()}
    # Units are stored by id, so ids must be unique.
    for _ in unique_ids(read_manifest(manifest), manifest):
        pass
    loaded_encoder = _encoder_of(quantizers, layers, encoder, device)
    loaded_encoder.spec.require_rates("measurements of edits")
    units: dict[str, dict[str, dict[str, NDArray[np.int32]]]] = {
        name: {kind: {} for kind in (CLEAN, *kinds)} for name in quantizers
    }
    speakers: dict[str, str] = {}
    left_out: dict[str, str] = {}
    done = 0
    for row in read_manifest(manifest):
        if row.duration > MAX_SECONDS:
            left_out[row.id] = f"{row.duration:.0f} s is longer than {MAX_SECONDS:g} s; cut it"
            continue
        try:
            waveform = read_waveform(row, manifest)
        except AudioError as error:
            left_out[row.id] = str(error)
            continue
        if not loaded_encoder.num_frames(len(waveform)):
            left_out[row.id] = "shorter than a frame"
            continue
        if row.speaker:
            speakers[row.id] = row.speaker
        for kind in (CLEAN, *kinds):
            changed = waveform
            if kind != CLEAN:
                changed = perturb(waveform, kind, row.id, config=config, noises=noises, rooms=rooms, seed=seed)  # type: ignore[arg-type]
            states = loaded_encoder.encode_layers(changed)
            for layer, names in by_layer.items():
                assigned = assign_together([quantizers[name] for name in names], states[layer])
                for name, frames in zip(names, assigned, strict=True):
                    units[name][kind][row.id] = deduplicate(frames)[0]
        done += 1
        progress(done)
    if not done:
        raise UserError(f"{manifest}: no usable recordings; {next(iter(left_out.values()), 'it is empty')}")
    tables = {
        name: ued_table(by_kind[CLEAN], {kind: by_kind[kind] for kind in kinds}, CONTROLS, speakers, seed)
        for name, by_kind in units.items()
    }
    return UedMeasurement(tables, done, left_out)


def _encoder_of(quantizers: Mapping[str, Quantizer], layers: Mapping[str, int], encoder: str, device: str) -> Encoder:
    """Load the encoder up to the highest layer of the quantizers, after a check that it is their encoder."""
    try:
        loaded = load_encoder(encoder, layer=max(layers.values()), device=device)
    except UserError:
        # A missing layer may be due to a wrong encoder, which is the better error.
        spec = load_encoder(encoder, device=device).spec
        for name, quantizer in quantizers.items():
            if quantizer.spec.encoder and quantizer.spec.encoder.weights != spec.weights:
                quantizer.check(spec, name)
        raise
    for name, quantizer in quantizers.items():
        quantizer.check(msgspec.structs.replace(loaded.spec, layer=str(layers[name])), name)
    return loaded


def layer_of(quantizer: Quantizer, name: str) -> str:
    """The layer of a quantizer's features.

    Raises:
        UserError: if it is not recorded, or a weighted sum of layers.
    """
    spec = quantizer.spec.encoder
    if spec is None or not spec.layer.isdigit():
        raise UserError(f"{name}: uses {spec.layer if spec else 'an unknown layer'}; give quantizers of a single layer")
    return spec.layer


def read_noises(folder: Path | str | None) -> list[NDArray[np.float32]]:
    """All recordings below a folder at 16 kHz; none without a folder.

    Raises:
        UserError: if the folder contains no audio.
        AudioError: if a recording cannot be read, or is silent, naming the file.
    """
    if folder is None:
        return []
    paths = find_audio(folder).files
    if not paths:
        raise UserError(f"{folder}: contains no audio; give a folder of noises")
    noises = [read_audio(path, sample_rate=16_000) for path in paths]
    for path, noise in zip(paths, noises, strict=True):
        if is_silent(noise):
            raise AudioError(f"{path}: is silent or not finite, which is useless as noise; remove it")
    return noises
