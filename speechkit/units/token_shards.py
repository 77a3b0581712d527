"""Unit sequences packed for training: shards with one array of all recordings each, and an index.

A shard is a safetensors file with ``tokens`` (n,), the concatenated recordings, their ``durations``, and ``offsets``
(items + 1,). ``tokens.json`` lists shards and recordings, with speakers, splits and texts, and the tokenizer's spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.io.atomic import write_json
from speechkit.io.paths import inside
from speechkit.units.codebook import read_spec
from speechkit.units.tokenizer import Units
from speechkit.units.tokenizer_spec import TokenizerSpec
from speechkit.units.unit_manifest import flat, units_of, with_units

INDEX = "tokens.json"
SHARD_TOKENS = 1 << 26
INNER, INNER_OFFSETS = "unit_durations", "unit_offsets"


class TokenShard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shard's file and its rows, in order, without their units."""

    file: str
    rows: list[Utterance]


class TokenIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of ``tokens.json``."""

    spec: TokenizerSpec
    shards: list[TokenShard]


def write_shards(
    folder: Path, rows: Iterable[tuple[Utterance, Units]], spec: TokenizerSpec, shard_tokens: int = SHARD_TOKENS
) -> int:
    """Write recordings to shards of about ``shard_tokens`` tokens, then the index; returns the number of recordings."""
    shards: list[TokenShard] = []
    held: list[tuple[Utterance, Units]] = []
    size = 0

    def write() -> None:
        name = f"tokens-{len(shards):05d}.safetensors"
        write_arrays(folder / name, _arrays([units for _, units in held], spec))
        rows_only = [msgspec.structs.replace(row, units=None, custom=_other_fields(row)) for row, _ in held]
        shards.append(TokenShard(name, rows_only))

    count = 0
    for pair in rows:
        held.append(pair)
        count += 1
        size += len(pair[1])
        if size >= shard_tokens:
            write()
            held, size = [], 0
    if held:
        write()
    write_json(folder / INDEX, TokenIndex(spec, shards))
    return count


def read_shards(folder: Path) -> Iterator[Utterance]:
    """Rows with their units.

    Raises:
        UserError: if a file is missing or damaged, or a shard does not match the index.
    """
    index = read_index(folder)
    for shard in index.shards:
        path = inside(folder, shard.file)
        arrays = read_arrays(path)
        try:
            yield from _rows(shard, arrays, index.spec)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise UserError(f"{path}: does not match {INDEX} ({error}); write the shards again") from error


def read_index(folder: Path) -> TokenIndex:
    """Read the index of a folder of shards.

    Raises:
        UserError: if it is missing or damaged.
    """
    index: TokenIndex = read_spec(folder / INDEX, TokenIndex, "give the folder of a complete set of shards")
    return index


def _other_fields(row: Utterance) -> dict[str, Any] | None:
    kept = {key: value for key, value in (row.custom or {}).items() if key not in ("durations", "unit_durations")}
    return kept or None


def _arrays(items: list[Units], spec: TokenizerSpec) -> dict[str, Any]:
    smallest = np.uint16 if spec.num_units <= 1 << 16 else np.uint32
    none = np.zeros(0, np.int32)
    arrays = {
        "tokens": np.concatenate([none, *(flat(units, spec) for units in items)]).astype(smallest),
        "durations": np.concatenate([none, *(units.durations for units in items)]).astype(np.uint32),
        "offsets": np.cumsum([0, *map(len, items)]).astype(np.int64),
    }
    if any(units.unit_durations is not None for units in items):
        inner = [none if units.unit_durations is None else units.unit_durations for units in items]
        arrays[INNER] = np.concatenate([none, *inner]).astype(np.uint32)
        arrays[INNER_OFFSETS] = np.cumsum([0, *map(len, inner)]).astype(np.int64)
    return arrays


def _rows(shard: TokenShard, arrays: dict[str, Any], spec: TokenizerSpec) -> Iterator[Utterance]:
    codebooks = len(spec.codebooks)
    offsets = _offsets(arrays["offsets"], len(shard.rows), len(arrays["durations"]))
    if len(arrays["tokens"]) != codebooks * offsets[-1]:
        raise ValueError(f"{len(arrays['tokens'])} tokens, but {codebooks * offsets[-1]} are listed")
    inner = _offsets(arrays[INNER_OFFSETS], len(shard.rows), len(arrays[INNER])) if INNER in arrays else None
    if len(arrays["tokens"]) and int(arrays["tokens"].max()) >= spec.num_units:
        raise ValueError(f"a token is out of range; there are {spec.num_units}")
    for index, row in enumerate(shard.rows):
        begin, end = int(offsets[index]), int(offsets[index + 1])
        tokens = arrays["tokens"][codebooks * begin : codebooks * end].astype(np.int32)
        if codebooks > 1:
            tokens = tokens.reshape(-1, codebooks) - np.cumsum([0, *spec.clusters[:-1]], dtype=np.int32)
        durations = arrays["durations"][begin:end].astype(np.int32)
        unit_durations = None
        if inner is not None:
            unit_durations = arrays[INNER][int(inner[index]) : int(inner[index + 1])].astype(np.int32)
        utterance = with_units(row, Units(tokens, durations, unit_durations), spec)
        units_of(utterance, spec)
        yield utterance


def _offsets(offsets: Any, items: int, total: int) -> Any:
    if offsets.shape != (items + 1,) or int(offsets[0]) or int(offsets[-1]) != total or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets of {len(offsets) - 1} items over {total} tokens; {items} items are listed")
    return offsets
