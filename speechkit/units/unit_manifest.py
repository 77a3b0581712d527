"""Manifests with units, next to audio path, speaker, split and text.

A row's ``units`` have their ``durations`` in frames in ``custom``, with the digest ``codebook`` and, for acoustic BPE
tokens, ``unit_durations``. The tokenizer's spec is stored beside the manifest. Units of a stacked quantizer are
interleaved frame by frame, with consecutive numbering across codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from speechkit.data.manifest import audio_path, read_manifest, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.atomic import write_json
from speechkit.units.codebook import read_spec
from speechkit.units.sequences import MOST_UNITS, UnitSequence
from speechkit.units.tokenizer import Units
from speechkit.units.tokenizer_spec import TokenizerSpec

if TYPE_CHECKING:
    from speechkit.units.tokenizer import SpeechTokenizer

DURATIONS, CODEBOOK, UNIT_DURATIONS = "durations", "codebook", "unit_durations"
BATCH = 16


def with_units(row: Utterance, units: Units, spec: TokenizerSpec) -> Utterance:
    """The row with units and durations, replacing earlier ones."""
    custom: dict[str, Any] = {
        key: value for key, value in (row.custom or {}).items() if key not in (DURATIONS, UNIT_DURATIONS)
    }
    custom |= {DURATIONS: units.durations.tolist(), CODEBOOK: spec.digest}
    if units.unit_durations is not None:
        custom[UNIT_DURATIONS] = units.unit_durations.tolist()
    return msgspec.structs.replace(row, units=flat(units, spec).tolist(), custom=custom)


def flat(units: Units, spec: TokenizerSpec) -> Any:
    """Units (N, Q) interleaved to (N * Q,), numbered consecutively across codebooks; units (N,) unchanged."""
    if units.units.ndim == 1:
        return units.units
    return (units.units + np.cumsum([0, *spec.clusters[:-1]])).reshape(-1)


def units_of(row: Utterance, spec: TokenizerSpec) -> Units:
    """Units of a row, the inverse of `with_units`.

    Raises:
        UserError: if the row has no units, or they are of another codebook or inconsistent with their durations.
    """
    sequence = _checked(row, len(spec.codebooks))
    if sequence.codebook != spec.digest:
        raise UserError(
            f"{row.id}: its units are of the codebook {sequence.codebook[:12]}, not {spec.digest[:12]} "
            f"({spec.name}); encode the speech again"
        )
    units = np.asarray(sequence.units, np.int32)
    if len(spec.codebooks) > 1:
        units = units.reshape(-1, len(spec.codebooks)) - np.cumsum([0, *spec.clusters[:-1]], dtype=np.int32)
    durations = np.asarray(sequence.durations, np.int32)
    inner = None if sequence.unit_durations is None else np.asarray(sequence.unit_durations, np.int32)
    return Units(units, durations, inner)


def sequence_of(row: Utterance) -> UnitSequence:
    """Units of a row as a `UnitSequence`.

    Raises:
        UserError: if the row has no units, or the numbers of units and durations differ.
    """
    return _checked(row, 1)


def _checked(row: Utterance, codebooks: int) -> UnitSequence:
    custom = row.custom or {}
    if row.units is None:
        raise UserError(f"{row.id}: has no units; add them with speechkit units encode")
    if len(row.units) > MOST_UNITS:
        raise UserError(f"{row.id}: has {len(row.units):,} units, more than any recording; remove it")
    try:
        durations = msgspec.convert(custom.get(DURATIONS, [1] * (len(row.units) // codebooks)), list[int])
        inner = msgspec.convert(custom.get(UNIT_DURATIONS), list[int] | None)
        codebook = msgspec.convert(custom.get(CODEBOOK, ""), str)
    except msgspec.ValidationError as error:
        raise UserError(f"{row.id}: durations or codebook in custom are invalid ({error}); encode it again") from error
    if len(row.units) != codebooks * len(durations):
        raise UserError(
            f"{row.id}: {len(row.units)} units but {len(durations)} durations"
            + (f" of {codebooks} codebooks" if codebooks > 1 else "")
            + "; encode it again"
        )
    if min(row.units, default=0) < 0 or max(row.units, default=0) >= 1 << 31 or min(durations, default=1) < 1:
        raise UserError(f"{row.id}: a unit or a duration is out of range; encode it again")
    return UnitSequence(row.id, row.units, durations, codebook, inner)


def spec_path(manifest: Path | str) -> Path:
    """Path of the tokenizer's spec of a manifest: ``train.tokenizer.json`` for ``train.jsonl``."""
    path = Path(manifest)
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return path.with_name(f"{stem}.tokenizer.json")


def read_tokenizer_spec(manifest: Path | str) -> TokenizerSpec:
    """Read the spec beside a manifest.

    Raises:
        UserError: if it is missing or damaged.
    """
    spec: TokenizerSpec = read_spec(
        spec_path(manifest), TokenizerSpec, "copy it with its manifest, or encode the speech again"
    )
    return spec


def write_unit_manifest(path: Path, rows: Iterable[Utterance], spec: TokenizerSpec) -> int:
    """Write rows with units, and the spec beside them; returns the number of rows."""
    count = write_manifest(path, rows)
    write_json(spec_path(path), spec)
    return count


def read_unit_manifest(path: Path, spec: TokenizerSpec | None = None) -> Iterator[tuple[Utterance, Units]]:
    """Rows of a manifest with their units; ``spec`` defaults to the one beside the manifest.

    Raises:
        UserError: if a row has no units or those of another tokenizer, naming the file.
    """
    spec = spec or read_tokenizer_spec(path)
    for row in read_manifest(path):
        try:
            yield row, units_of(row, spec)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def encode_rows(
    tokenizer: SpeechTokenizer,
    rows: Iterable[tuple[Utterance, Path]],
    drop: Callable[[str, str], None],
) -> Iterator[Utterance]:
    """Encode rows in batches, and yield them with their units in order.

    Args:
        tokenizer: of the units.
        rows: each with the manifest its audio path is relative to.
        drop: called with the id of a row that cannot be encoded, and the reason.
    """
    batch: list[tuple[Utterance, Path]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield from _encoded(tokenizer, batch, drop)
            batch = []
    if batch:
        yield from _encoded(tokenizer, batch, drop)


def _encoded(
    tokenizer: SpeechTokenizer, rows: Sequence[tuple[Utterance, Path]], drop: Callable[[str, str], None]
) -> Iterator[Utterance]:
    from speechkit.data.audio import cut_blocks, read_waveform

    rate = tokenizer.encoder.spec.sample_rate
    max_seconds = tokenizer.encoder.most_at_once() / rate
    units: dict[int, Units] = {}
    short: dict[int, Any] = {}
    for index, (row, manifest) in enumerate(rows):
        try:
            if row.duration <= max_seconds:
                waveform = read_waveform(row, manifest, sample_rate=rate)
                if not np.isfinite(waveform).all():
                    raise AudioError(f"{row.id}: contains NaN or infinity; fix or remove the recording")
                short[index] = waveform
            else:  # streamed, in constant memory
                blocks = cut_blocks(audio_path(manifest, row), row, sample_rate=rate)
                units[index] = joined(list(tokenizer.stream(blocks)), tokenizer.spec)
        except (AudioError, UserError) as error:
            drop(row.id, str(error))
    units |= dict(zip(short, tokenizer.encode_batch(list(short.values())), strict=True))
    for index, (row, _) in enumerate(rows):
        if index not in units:
            continue
        if not len(units[index]):
            drop(row.id, "shorter than a frame; remove it")
            continue
        yield with_units(row, units[index], tokenizer.spec)


def joined(parts: Sequence[Units], spec: TokenizerSpec) -> Units:
    """Concatenated units of a stream."""
    if len(parts) == 1:
        return parts[0]
    shape = (0,) if len(spec.codebooks) == 1 else (0, len(spec.codebooks))
    none = np.zeros(shape, np.int32)
    durations = [np.zeros(0, np.int32), *(part.durations for part in parts)]
    return Units(np.concatenate([none, *(part.units for part in parts)]), np.concatenate(durations))
