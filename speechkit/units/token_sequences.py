"""Units of a recording as tokens of acoustic BPE, and back, with all durations."""

from __future__ import annotations

import numpy as np

from speechkit.errors import UserError
from speechkit.units.acoustic_bpe import AcousticBpe
from speechkit.units.deduplication import check_runs
from speechkit.units.sequences import UnitSequence


def encode_sequence(row: UnitSequence, bpe: AcousticBpe) -> UnitSequence:
    """The tokens of a recording; each lasts as long as its units together.

    Raises:
        UserError: if the units are of another codebook than the merges, naming the recording.
    """
    if row.codebook != bpe.codebook:
        raise UserError(
            f"{row.id}: units of the codebook {row.codebook[:12]} are no units of {bpe.codebook[:12]}, whose pairs the "
            "merges join; learn merges of these"
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
    """The units that the tokens of a recording stand for: what `encode_sequence` was given.

    Raises:
        UserError: if the tokens are of other merges, or their durations contradict one another, naming the recording.
    """
    if row.codebook != bpe.digest:
        raise UserError(
            f"{row.id}: tokens of the merges {row.codebook[:12]} are none of {bpe.digest[:12]}; give the merges that "
            "made them"
        )
    if row.unit_durations is None:
        raise UserError(f"{row.id}: does not say how long the units in its tokens last; encode the units again")
    try:
        units = bpe.decode(row.units)
        check_runs(units, row.unit_durations)
    except UserError as error:
        raise UserError(f"{row.id}: {error}") from error
    if sum(row.unit_durations) != sum(row.durations):
        raise UserError(f"{row.id}: its tokens last longer or shorter than their units; encode the units again")
    return UnitSequence(row.id, units, list(row.unit_durations), bpe.codebook)
