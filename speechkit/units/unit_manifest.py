"""Manifests whose rows carry units: audio path, speaker, split and text stay beside them, durations and codebook too.

A row's ``units`` are its units; ``custom`` holds ``durations`` in frames, ``codebook``, their digest, and, of tokens of
acoustic BPE, ``unit_durations``. The tokenizer's spec lies beside the manifest. Of codebooks that name a frame
together, the units of a frame follow one another, the numbers of each codebook behind those of the one before.
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
    """The row with units; those that it had, and their durations, are gone."""
    custom: dict[str, Any] = {
        key: value for key, value in (row.custom or {}).items() if key not in (DURATIONS, UNIT_DURATIONS)
    }
    custom |= {DURATIONS: units.durations.tolist(), CODEBOOK: spec.digest}
    if units.unit_durations is not None:
        custom[UNIT_DURATIONS] = units.unit_durations.tolist()
    return msgspec.structs.replace(row, units=flat(units, spec).tolist(), custom=custom)


def flat(units: Units, spec: TokenizerSpec) -> Any:
    """Units (N, Q) as one sequence (N * Q,) of different numbers; units (N,) as they are."""
    if units.units.ndim == 1:
        return units.units
    return (units.units + np.cumsum([0, *spec.clusters[:-1]])).reshape(-1)


def units_of(row: Utterance, spec: TokenizerSpec) -> Units:
    """What `with_units` was given.

    Raises:
        UserError: if the row has no units, or they are of another codebook or not of their durations.
    """
    sequence = _checked(row, len(spec.codebooks))
    if sequence.codebook != spec.digest:
        raise UserError(
            f"{row.id}: its units are of the codebook {sequence.codebook[:12]}, not of {spec.digest[:12]} "
            f"({spec.name}); encode the speech again"
        )
    units = np.asarray(sequence.units, np.int32)
    if len(spec.codebooks) > 1:
        units = units.reshape(-1, len(spec.codebooks)) - np.cumsum([0, *spec.clusters[:-1]], dtype=np.int32)
    durations = np.asarray(sequence.durations, np.int32)
    inner = None if sequence.unit_durations is None else np.asarray(sequence.unit_durations, np.int32)
    return Units(units, durations, inner)


def sequence_of(row: Utterance) -> UnitSequence:
    """The units of a row as those of `speechkit units assign`.

    Raises:
        UserError: if it has none, or not as many durations as units.
    """
    return _checked(row, 1)


def _checked(row: Utterance, together: int) -> UnitSequence:
    custom = row.custom or {}
    if row.units is None:
        raise UserError(f"{row.id}: has no units; speechkit units encode writes them")
    if len(row.units) > MOST_UNITS:
        raise UserError(f"{row.id}: has {len(row.units):,} units, more than any recording; remove it")
    try:
        durations = msgspec.convert(custom.get(DURATIONS, [1] * (len(row.units) // together)), list[int])
        inner = msgspec.convert(custom.get(UNIT_DURATIONS), list[int] | None)
        codebook = msgspec.convert(custom.get(CODEBOOK, ""), str)
    except msgspec.ValidationError as error:
        raise UserError(f"{row.id}: durations or codebook in custom are none ({error}); encode it again") from error
    if len(row.units) != together * len(durations):
        raise UserError(
            f"{row.id}: {len(row.units)} units have {len(durations)} durations"
            + (f" of {together} codebooks" if together > 1 else "")
            + "; encode it again"
        )
    if min(row.units, default=0) < 0 or max(row.units, default=0) >= 1 << 31 or min(durations, default=1) < 1:
        raise UserError(f"{row.id}: a unit or a duration is out of range; encode it again")
    return UnitSequence(row.id, row.units, durations, codebook, inner)


def spec_path(manifest: Path | str) -> Path:
    """Where the tokenizer's spec of a manifest lies: ``train.jsonl`` has ``train.tokenizer.json`` beside it."""
    path = Path(manifest)
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return path.with_name(f"{stem}.tokenizer.json")


def read_tokenizer_spec(manifest: Path | str) -> TokenizerSpec:
    """The spec beside a manifest.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    spec: TokenizerSpec = read_spec(
        spec_path(manifest), TokenizerSpec, "copy it with its manifest, or encode the speech again"
    )
    return spec


def write_unit_manifest(path: Path, rows: Iterable[Utterance], spec: TokenizerSpec) -> int:
    """Write rows with units, and the spec beside them; returns how many."""
    count = write_manifest(path, rows)
    write_json(spec_path(path), spec)
    return count


def read_unit_manifest(path: Path, spec: TokenizerSpec | None = None) -> Iterator[tuple[Utterance, Units]]:
    """Rows of a manifest with their units, of the spec beside it where none is given.

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
    """The rows with their units, in their order; some are encoded together.

    Args:
        tokenizer: of the units.
        rows: each with the manifest that its audio path is relative to.
        drop: is told the id of a row that cannot be encoded, and why; the others go on.
    """
    held: list[tuple[Utterance, Path]] = []
    for each in rows:
        held.append(each)
        if len(held) == BATCH:
            yield from _encoded(tokenizer, held, drop)
            held = []
    if held:
        yield from _encoded(tokenizer, held, drop)


def _encoded(
    tokenizer: SpeechTokenizer, rows: Sequence[tuple[Utterance, Path]], drop: Callable[[str, str], None]
) -> Iterator[Utterance]:
    from speechkit.data.audio import cut_blocks, read_waveform

    rate = tokenizer.encoder.spec.sample_rate
    most = tokenizer.encoder.most_at_once() / rate
    found: dict[int, Units] = {}
    short: dict[int, Any] = {}
    for place, (row, manifest) in enumerate(rows):
        try:
            if row.duration <= most:
                waveform = read_waveform(row, manifest, sample_rate=rate)
                if not np.isfinite(waveform).all():
                    raise AudioError(f"{row.id}: holds NaN or infinity; fix or remove the recording")
                short[place] = waveform
            else:  # block by block, in memory that does not grow
                blocks = cut_blocks(audio_path(manifest, row), row, sample_rate=rate)
                found[place] = joined(list(tokenizer.stream(blocks)), tokenizer.spec)
        except (AudioError, UserError) as error:
            drop(row.id, str(error))
    found |= dict(zip(short, tokenizer.encode_batch(list(short.values())), strict=True))
    for place, (row, _) in enumerate(rows):
        if place not in found:
            continue
        if not len(found[place]):
            drop(row.id, "lasts less than a frame; remove it")
            continue
        yield with_units(row, found[place], tokenizer.spec)


def joined(parts: Sequence[Units], spec: TokenizerSpec) -> Units:
    """Units of a stream as those of the whole."""
    if len(parts) == 1:
        return parts[0]
    shape = (0,) if len(spec.codebooks) == 1 else (0, len(spec.codebooks))
    none = np.zeros(shape, np.int32)
    durations = [np.zeros(0, np.int32), *(part.durations for part in parts)]
    return Units(np.concatenate([none, *(part.units for part in parts)]), np.concatenate(durations))
