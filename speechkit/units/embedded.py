"""Invariant quantizers of several sizes in one folder, and those inside the package.

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
    """Write quantizers of one network into one folder at half precision, by name.

    The arrays that each has for itself follow its name and a slash.

    Raises:
        UserError: if there is none, or they do not share their network.
    """
    if len({each.network for each in quantizers.values()}) != 1:
        raise UserError(f"{', '.join(quantizers) or 'nothing'}: give quantizers that were trained together")
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
    """Pack the quantizers of the folders, each under its number of units, with their own decoding or another.

    Raises:
        UserError: if two have the same number, or they were not trained together, or one to be decoded with a bigram
            has none.
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
    """A quantizer of those that `pack` wrote.

    Raises:
        UserError: if the folder has none of this name, or its files are missing, damaged or no pair.
    """
    folder = Path(folder)
    specs = read_spec(folder / SPECS_FILE, PackedSpecs).quantizers
    if name not in specs:
        by_size = sorted(specs, key=lambda known: (len(known), known))
        raise UserError(f"{folder}: has no quantizer {name!r}; it has {', '.join(by_size)}")
    arrays = {
        key.removeprefix(f"{name}/"): array
        for key, array in read_arrays(folder / ARRAYS_FILE).items()
        if "/" not in key or key.startswith(f"{name}/")
    }
    return InvariantQuantizer.from_arrays(specs[name], arrays, folder, SPECS_FILE, ARRAYS_FILE)
