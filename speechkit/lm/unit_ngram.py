"""N-grams over units in a folder: ``ngram.arpa``, and ``ngram.json`` that says of which units. Torch-free."""

from __future__ import annotations

from pathlib import Path

import msgspec

from speechkit.errors import UserError
from speechkit.io.hashing import digest_file
from speechkit.lm.ngram import NgramModel
from speechkit.units.quantizers import UnitSet

MODEL_FILE, SPEC_FILE = "ngram.arpa", "ngram.json"


class NgramSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies beside an n-gram over units.

    Attributes:
        order: longest n-gram.
        smoothing: that was used.
        codebook: digest of the codebook whose units these are, or of the merges that made the tokens.
        units: how many units or tokens there are.
        frames_per_second: of the encoder.
        model: digest of the file of the model.
    """

    order: int
    smoothing: str
    codebook: str
    units: int
    frames_per_second: float
    model: str

    @property
    def unit_set(self) -> UnitSet:
        """The units."""
        return UnitSet(self.codebook, self.units, self.frames_per_second)


def read_unit_ngram(folder: Path) -> tuple[NgramModel, NgramSpec]:
    """The n-gram of a folder.

    Raises:
        UserError: if a file is missing or damaged, or the two do not belong together.
    """
    from speechkit.units.codebook import read_spec

    spec: NgramSpec = read_spec(folder / SPEC_FILE, NgramSpec, "give a folder that speechkit units ngram wrote")
    model = NgramModel.read(folder / MODEL_FILE)
    if digest_file(folder / MODEL_FILE) != spec.model:
        raise UserError(f"{folder}: {SPEC_FILE} does not describe {MODEL_FILE}; copy both files again")
    return model, spec
