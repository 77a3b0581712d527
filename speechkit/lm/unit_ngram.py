"""N-grams over units in a folder: ``ngram.arpa``, and ``ngram.json`` with the unit set. Torch-free."""

from __future__ import annotations

from pathlib import Path

import msgspec

from speechkit.errors import UserError
from speechkit.io.hashing import digest_file
from speechkit.lm.ngram import NgramModel
from speechkit.units.quantizers import UnitSet

MODEL_FILE, SPEC_FILE = "ngram.arpa", "ngram.json"


class NgramSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contents of ``ngram.json``.

    Attributes:
        order: highest n-gram order.
        smoothing: smoothing method used.
        codebook: digest of the codebook of the units, or of the BPE merges of the tokens.
        units: number of distinct units or tokens.
        frames_per_second: frame rate of the encoder.
        model: digest of the model file.
    """

    order: int
    smoothing: str
    codebook: str
    units: int
    frames_per_second: float
    model: str

    @property
    def unit_set(self) -> UnitSet:
        """The unit set that the n-gram models."""
        return UnitSet(self.codebook, self.units, self.frames_per_second)


def read_unit_ngram(folder: Path) -> tuple[NgramModel, NgramSpec]:
    """Read an n-gram from a folder.

    Raises:
        UserError: if a file is missing or damaged, or the two files do not match.
    """
    from speechkit.units.codebook import read_spec

    spec: NgramSpec = read_spec(folder / SPEC_FILE, NgramSpec, "give a folder that speechkit units ngram wrote")
    model = NgramModel.read(folder / MODEL_FILE)
    if digest_file(folder / MODEL_FILE) != spec.model:
        raise UserError(f"{folder}: {SPEC_FILE} does not describe {MODEL_FILE}; copy both files again")
    return model, spec
