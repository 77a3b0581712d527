"""Packed invariant quantizers of several sizes in one folder, including those shipped with the package.

Quantizers that were trained together are one network with a classifier for each; packed at half precision, four of
them take an eighth of their size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.io.atomic import write_json
from speechkit.units.codebook import read_spec
from speechkit.units.invariant.quantizer import OWN_ARRAYS, InvariantQuantizer, InvariantSpec

MODELS = Path(__file__).parent / "models" / "invariant"
SPECS_FILE, ARRAYS_FILE = "quantizers.json", "quantizers.safetensors"


class PackedSpecs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The quantizers of a folder by name."""

    quantizers: dict[str, InvariantSpec]


def pack(quantizers: Mapping[str, InvariantQuantizer], folder: Path | str) -> None:
    """Write quantizers of one network to one folder at half precision, by name.

    Keys of arrays that are not shared have the quantizer's name and a slash as prefix.

    Raises:
        UserError: if there are none, or they do not share a network.
    """
    if len({quantizer.network for quantizer in quantizers.values()}) != 1:
        raise UserError(f"{', '.join(quantizers) or 'no quantizers'}: give quantizers that were trained together")
    arrays: dict[str, NDArray[Any]] = {}
    specs = {}
    for name, quantizer in quantizers.items():
        halved = quantizer.halved()
        specs[name] = halved.spec
        for key, array in halved.arrays().items():
            arrays[f"{name}/{key}" if key.startswith(OWN_ARRAYS) else key] = array.astype(np.float16)
    write_arrays(Path(folder) / ARRAYS_FILE, arrays)
    write_json(Path(folder) / SPECS_FILE, PackedSpecs(specs))


def pack_folders(
    folders: Sequence[Path], out: Path, switch_penalty: float | None = None, bigram_weight: float | None = None
) -> None:
    """Pack the quantizers of the folders, named by their numbers of units, optionally with other decoding settings.

    Args:
        folders: of the quantizers.
        out: output folder.
        switch_penalty: cost of a change of unit; default: that of each quantizer.
        bigram_weight: weight of the bigram; default: that of each quantizer.

    Raises:
        UserError: if two have the same number of units, they were not trained together, or a bigram is missing.
    """
    quantizers: dict[str, InvariantQuantizer] = {}
    for folder in folders:
        quantizer = InvariantQuantizer.load(folder)
        name = str(quantizer.num_units)
        if name in quantizers:
            raise UserError(f"{folder}: a second quantizer of {name} units; give one of each size")
        quantizers[name] = quantizer.with_penalty(
            quantizer.spec.switch_penalty if switch_penalty is None else switch_penalty, bigram_weight
        )
    pack(quantizers, out)


def unpack(name: str, folder: Path | str = MODELS) -> InvariantQuantizer:
    """Load a quantizer packed by `pack`.

    Raises:
        UserError: if there is no quantizer of this name, or files are missing, damaged or inconsistent.
    """
    folder = Path(folder)
    specs = read_spec(folder / SPECS_FILE, PackedSpecs).quantizers
    if name not in specs:
        by_size = sorted(specs, key=lambda known: (len(known), known))
        raise UserError(f"{folder}: no quantizer {name!r}; choose one of {', '.join(by_size)}")
    arrays = {
        key.removeprefix(f"{name}/"): array
        for key, array in read_arrays(folder / ARRAYS_FILE).items()
        if "/" not in key or key.startswith(f"{name}/")
    }
    return InvariantQuantizer.from_arrays(specs[name], arrays, folder, SPECS_FILE, ARRAYS_FILE)
