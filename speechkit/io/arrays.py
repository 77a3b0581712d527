"""Named arrays in one safetensors file: no pickle, memory-mapped when read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechkit.errors import UserError
from speechkit.io.atomic import atomic_path

Float = npt.NDArray[np.float32]
"""Waveforms, features, probabilities: whatever has single precision."""


def to_int16(waveform: Float) -> npt.NDArray[np.int16]:
    """Convert a waveform in [-1, 1] to 16-bit integers; `from_int16` is the inverse."""
    return np.round(waveform * 32767).astype(np.int16)


def from_int16(samples: npt.NDArray[np.generic]) -> Float:
    """Convert 16-bit integers of `to_int16` back to a waveform in [-1, 1]."""
    waveform: Float = samples.astype(np.float32) / np.float32(32767)
    return waveform


def true_runs(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Runs of true values in order, as first place and one past the last: (T,) to (N, 2)."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=np.int8(0), append=np.int8(0)))
    return edges.astype(np.int64).reshape(-1, 2)


def write_arrays(
    path: Path | str, arrays: Mapping[str, npt.NDArray[np.generic]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays and text metadata as safetensors, atomically.

    Arrays may have any shape; non-contiguous arrays are copied.

    Raises:
        UserError: if an array has dtype object, or the file cannot be written.
    """
    from safetensors.numpy import save_file

    for name, array in arrays.items():
        if array.dtype.hasobject or array.dtype.kind in "USVMm":
            raise UserError(f"{path}: array {name!r} has dtype {array.dtype}; only numbers and booleans can be stored")
    # save_file would write the buffer of a view's base; readers expect contiguous arrays in native byte order.
    ready = {
        name: np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
        for name, array in arrays.items()
    }
    with atomic_path(path) as temporary:
        try:
            save_file(ready, str(temporary), metadata=dict(metadata) if metadata else None)
        except OSError:
            raise
        except Exception as error:
            raise UserError(f"{path}: cannot be written: {error}") from error


def read_arrays(path: Path | str, names: Iterable[str] | None = None) -> dict[str, npt.NDArray[np.generic]]:
    """Read all arrays, or those in ``names``; only their pages are read from disk.

    Raises:
        UserError: if the file is missing, corrupt or lacks a requested name.
    """
    from safetensors import SafetensorError, safe_open

    _must_exist(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            known = list(file.keys())
            chosen = known if names is None else list(names)
            missing = sorted(set(chosen) - set(known))
            if missing:
                raise UserError(f"{path}: holds no array named {', '.join(map(repr, missing[:5]))}")
            return {name: file.get_tensor(name) for name in chosen}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: is not a readable safetensors file: {error}; make it again") from error


def _must_exist(path: Path | str) -> None:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file of arrays")
