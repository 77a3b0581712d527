"""The tokens of a model of units: the units by their own numbers, then the boundary, then what infilling needs.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from speechkit.errors import UserError
from speechkit.units.quantizers import UnitSet


class UnitVocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers of units and marks.

    Attributes:
        units: whose numbers are tokens as they are.
        spans: how many stretches of a sequence can be cut out; 0 for a model that does not infill.
    """

    units: UnitSet
    spans: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0

    @property
    def boundary(self) -> int:
        """Begins and ends every sequence."""
        return self.units.clusters

    @property
    def separator(self) -> int:
        """Behind a sequence with cuts, before what was cut out."""
        return self.units.clusters + 1

    @property
    def end_of_span(self) -> int:
        """Behind each stretch that was cut out."""
        return self.units.clusters + 2

    def mask(self, number: int) -> int:
        """Stands for the stretch of a number, from 0, that is cut out."""
        if not 0 <= number < self.spans:
            raise ValueError(f"span {number} of {self.spans}")
        return self.units.clusters + 3 + number

    @property
    def size(self) -> int:
        """All tokens."""
        return self.units.clusters + (3 + self.spans if self.spans else 1)

    def check(self, name: str, units: Sequence[int], codebook: str) -> None:
        """Refuse units that are none of these.

        Raises:
            UserError: if they are of another codebook, there is none, or one is out of range, naming the recording.
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
