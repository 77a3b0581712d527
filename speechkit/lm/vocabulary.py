"""Vocabulary of a unit model: unit numbers, then the boundary, then the infilling marks.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from speechkit.errors import UserError
from speechkit.units.quantizers import UnitSet


class UnitVocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Token numbers of units and special marks.

    Attributes:
        units: unit set; unit numbers are token numbers.
        spans: maximum number of infilling spans per sequence; 0 for a model without infilling.
    """

    units: UnitSet
    spans: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0

    @property
    def boundary(self) -> int:
        """Token that begins and ends every sequence."""
        return self.units.clusters

    @property
    def separator(self) -> int:
        """Token between a sequence with masked spans and the spans' contents."""
        return self.units.clusters + 1

    @property
    def end_of_span(self) -> int:
        """Token after the content of each span."""
        return self.units.clusters + 2

    def mask(self, number: int) -> int:
        """Mask token of span ``number``, counted from 0."""
        if not 0 <= number < self.spans:
            raise ValueError(f"there is no span {number}; the model supports {self.spans} spans")
        return self.units.clusters + 3 + number

    @property
    def size(self) -> int:
        """Vocabulary size."""
        return self.units.clusters + (3 + self.spans if self.spans else 1)

    def check(self, name: str, units: Sequence[int], codebook: str) -> None:
        """Check that units are of this vocabulary.

        Raises:
            UserError: if they have another codebook, are empty, or one is out of range, naming the recording.
        """
        if codebook != self.units.digest:
            raise UserError(
                f"{name}: its units are of the codebook {codebook[:12]} and the model's of {self.units.digest[:12]}; "
                "assign them with the model's codebook"
            )
        if not units:
            raise UserError(f"{name}: has no units; remove it, or assign units to a recording with speech")
        wrong = next((unit for unit in units if not 0 <= unit < self.units.clusters), None)
        if wrong is not None:
            raise UserError(
                f"{name}: unit {wrong} is out of range; the model knows 0 to {self.units.clusters - 1}; assign again"
            )
