"""Loading of any quantizer from its folder, and its unit sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.layout import MAX_SAMPLE_RATE
from speechkit.units.codebook import MOST_CLUSTERS, Codebook, read_spec
from speechkit.units.codebook import SPEC_FILE as CODEBOOK_FILE
from speechkit.units.smoothed import SmoothedCodebook
from speechkit.units.stacked import SPEC_FILE as QUANTIZER_FILE
from speechkit.units.stacked import StackedQuantizer

if TYPE_CHECKING:
    from speechkit.units.invariant.quantizer import InvariantQuantizer, Quantizer
    from speechkit.units.syllable_quantizer import SyllableQuantizer

    AnyQuantizer = Codebook | SmoothedCodebook | StackedQuantizer | InvariantQuantizer | SyllableQuantizer

PREFIX = "embedded-"
"""Prefix of the names of quantizers shipped with the package, followed by the number of units."""


class UnitSet(msgspec.Struct, frozen=True):
    """The set of units of one sequence.

    Attributes:
        digest: of the codebook or head.
        clusters: number of units.
        frames_per_second: of the encoder; 50 if unknown.
    """

    digest: str
    clusters: Annotated[int, msgspec.Meta(ge=1, le=MOST_CLUSTERS)]
    frames_per_second: Annotated[float, msgspec.Meta(gt=0, le=MAX_SAMPLE_RATE)]


class _Kind(msgspec.Struct):
    kind: str = ""


def open_quantizer(folder: Path | str) -> AnyQuantizer:
    """Load the quantizer of a folder: a plain or smoothed codebook, or a stacked, invariant or syllable quantizer.

    ``embedded-100`` and the like, unless there is such a folder, are the invariant quantizers shipped with the package.

    Raises:
        UserError: if the folder is not a quantizer, or a file is damaged.
    """
    folder = Path(folder)
    if str(folder).startswith(PREFIX) and not folder.is_dir():
        from speechkit.units.embedded import unpack

        return unpack(str(folder).removeprefix(PREFIX))
    if (folder / CODEBOOK_FILE).is_file():
        return Codebook.load(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a quantizer, or embedded-50 to embedded-500")
    if not (folder / QUANTIZER_FILE).is_file():
        raise UserError(f"{folder}: has neither {CODEBOOK_FILE} nor {QUANTIZER_FILE}; give the folder of a quantizer")
    kind = read_spec(folder / QUANTIZER_FILE, _Kind).kind
    if kind == "stacked":
        return StackedQuantizer.load(folder)
    if kind == "smoothed":
        return SmoothedCodebook.load(folder)
    if kind == "syllables":
        from speechkit.units.syllable_quantizer import SyllableQuantizer

        return SyllableQuantizer.load(folder)
    from speechkit.units.invariant.quantizer import InvariantQuantizer

    return InvariantQuantizer.load(folder)


def quantizer_digest(name: str) -> str:
    """Digests of the codebooks of a quantizer given by name or folder."""
    return " ".join(unit_set.digest for unit_set in unit_sets(open_quantizer(name)))


def load_quantizer(folder: Path | str) -> Quantizer:
    """Load a quantizer with one unit per frame: a plain or smoothed codebook, or an invariant quantizer.

    Raises:
        UserError: if the folder is not such a quantizer, or is damaged.
    """
    from speechkit.units.syllable_quantizer import SyllableQuantizer

    quantizer = open_quantizer(folder)
    if isinstance(quantizer, SyllableQuantizer):
        raise UserError(f"{folder}: quantizes syllables, not frames; give the folder of a frame-level quantizer")
    if isinstance(quantizer, StackedQuantizer):
        raise UserError(f"{folder}: has several units per frame; give the folder of one of its codebooks")
    return quantizer


def assign_together(quantizers: Sequence[Quantizer], features: NDArray[np.floating[Any]]) -> list[NDArray[np.int32]]:
    """Frame-level units (T,) of an item (T, D) by each quantizer; a shared network is evaluated once.

    Raises:
        UserError: if the features do not fit a quantizer, or contain NaN or infinity.
    """
    from speechkit.units.invariant.quantizer import InvariantQuantizer

    hidden: dict[str, NDArray[np.float32]] = {}
    units = []
    for quantizer in quantizers:
        if not isinstance(quantizer, InvariantQuantizer):
            units.append(quantizer.assign(features))
            continue
        if quantizer.network not in hidden:
            hidden[quantizer.network] = quantizer.hidden(features)
        units.append(quantizer.assign_hidden(hidden[quantizer.network]))
    return units


def unit_sets(quantizer: AnyQuantizer) -> list[UnitSet]:
    """Unit sets of a quantizer: one, or one per codebook of a stacked quantizer."""
    if isinstance(quantizer, StackedQuantizer):
        encoder, specs = quantizer.encoder, [codebook.spec for codebook in quantizer.codebooks]
        codebooks = [(spec.digest, spec.clusters) for spec in specs]
    else:
        encoder, codebooks = quantizer.spec.encoder, [(quantizer.spec.digest, quantizer.spec.clusters)]
    rate = encoder.sample_rate / encoder.hop if encoder else 50.0
    return [UnitSet(digest, clusters, rate) for digest, clusters in codebooks]
