"""Conversion between unit sequences and acoustic BPE tokens, with durations."""

from __future__ import annotations

import numpy as np

from speechkit.errors import UserError
from speechkit.units.acoustic_bpe import AcousticBpe
from speechkit.units.deduplication import check_runs
from speechkit.units.sequences import UnitSequence


def encode_sequence(row: UnitSequence, bpe: AcousticBpe) -> UnitSequence:
    """Acoustic BPE tokens of a recording, with the summed durations of their units.

    Raises:
        UserError: if the units are of another codebook than the merges, naming the recording.
    """
    if row.codebook != bpe.codebook:
        raise UserError(
            f"{row.id}: its units are of the codebook {row.codebook[:12]}, the merges of {bpe.codebook[:12]}; learn "
            "merges of its units"
        )
    try:
        tokens = bpe.encode(row.units)
    except UserError as error:
        raise UserError(f"{row.id}: {error}") from error
    sizes = bpe.sizes()
    ends = np.cumsum([0, *(sizes[token] for token in tokens)])
    frames = np.cumsum([0, *row.durations])[ends]
    return UnitSequence(row.id, tokens, np.diff(frames).tolist(), bpe.digest, list(row.durations))


def decode_sequence(row: UnitSequence, bpe: AcousticBpe) -> UnitSequence:
    """Units of a recording from its tokens, the inverse of `encode_sequence`.

    Raises:
        UserError: if the tokens are of other merges, or durations are inconsistent, naming the recording.
    """
    if row.codebook != bpe.digest:
        raise UserError(
            f"{row.id}: its tokens are of the merges {row.codebook[:12]}, not {bpe.digest[:12]}; give the merges they "
            "were encoded with"
        )
    if row.unit_durations is None:
        raise UserError(f"{row.id}: has no durations of its units (unit_durations); encode the units again")
    try:
        units = bpe.decode(row.units)
        check_runs(units, row.unit_durations)
    except UserError as error:
        raise UserError(f"{row.id}: {error}") from error
    if sum(row.unit_durations) != sum(row.durations):
        raise UserError(f"{row.id}: the durations of its tokens and units differ; encode the units again")
    return UnitSequence(row.id, units, list(row.unit_durations), bpe.codebook)
