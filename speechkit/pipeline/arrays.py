"""Arrays that belong to records: one safetensors shard per part, written incrementally, read one record at a time."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.errors import UserError
from speechkit.io.atomic import atomic_path
from speechkit.io.paths import inside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The names that safetensors gives to NumPy's dtypes.
DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}


class ShardWriter:
    """Writes one safetensors file in the memory of one array.

    The format begins with a table of offsets; so the bytes go to a temporary file and are copied after the complete
    table.
    """

    def __init__(self, path: Path, raw: Path) -> None:
        self._path = path
        self._raw = raw
        self._table: dict[str, dict[str, Any]] = {}
        self._end = 0
        raw.parent.mkdir(parents=True, exist_ok=True)
        self._file = raw.open("wb")

    def add(self, key: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Append the arrays of one record under ``key``."""
        import numpy as np

        for name, array in arrays.items():
            dtype = DTYPES.get(str(array.dtype))
            if dtype is None:
                known = ", ".join(DTYPES)
                raise UserError(f"array {name!r} has dtype {array.dtype}, which safetensors lacks; use one of {known}")
            ready = np.ascontiguousarray(array)
            self._file.write(ready.data if ready.size else b"")
            self._table[f"{key}/{name}"] = {
                "dtype": dtype,
                "shape": list(array.shape),
                "data_offsets": [self._end, self._end + ready.nbytes],
            }
            self._end += ready.nbytes

    def finish(self) -> None:
        """Write table and bytes, and rename the file into place."""
        self._file.close()
        table = msgspec.json.encode(self._table)
        table += b" " * (-len(table) % 8)
        with atomic_path(self._path) as temporary, temporary.open("wb") as target, self._raw.open("rb") as source:
            target.write(struct.pack("<Q", len(table)) + table)
            shutil.copyfileobj(source, target, 1 << 20)
        self._raw.unlink()

    def discard(self) -> None:
        """Remove temporary files."""
        self._file.close()
        self._raw.unlink(missing_ok=True)


def read_record_arrays(
    manifest: Path | str, reference: str, wanted: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of one record, by name.

    Args:
        manifest: the file with the record; the reference is relative to its folder.
        reference: as written by the runner into the record, ``arrays/00017-of-00400.safetensors#12``.
        wanted: names of those to read; all of them if not given.

    Raises:
        UserError: if the reference leaves the folder, or does not exist.
    """
    opened, key, names = _opened(manifest, reference)
    return {name: opened.get_tensor(f"{key}/{name}") for name in names if wanted is None or name in wanted}


def read_array_blocks(manifest: Path | str, reference: str, name: str, rows: int) -> Iterator[NDArray[Any]]:
    """One array of a record in blocks of ``rows`` along its first axis, in the memory of a block.

    Arguments and errors are those of `read_record_arrays`; an array of that name must exist.
    """
    opened, key, _ = _opened(manifest, reference)
    array = opened.get_slice(f"{key}/{name}")
    length = array.get_shape()[0]
    for begin in range(0, length, rows):
        yield array[begin : min(begin + rows, length)]  # safetensors refuses an end behind the last row


def _opened(manifest: Path | str, reference: str) -> tuple[Any, str, list[str]]:
    """The shard, the record's key in it, and the names of the record's arrays."""
    file, _, key = reference.partition("#")
    path = inside(Path(manifest).parent, file)
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path}: the arrays of {manifest} are missing; run the stage that made them again") from error
    opened, names = _open(path, status.st_mtime_ns, status.st_size)
    if key not in names:
        raise UserError(f"{path}: has no arrays for {key!r}; the manifest {manifest} is not from the same run")
    return opened, key, names[key]


@lru_cache(maxsize=8)
def _open(path: Path, modified: int, size: int) -> tuple[Any, dict[str, list[str]]]:
    # Records of one shard are read one after another; ``modified`` and ``size`` only make the key.
    from safetensors import SafetensorError, safe_open

    try:
        opened: Any = safe_open(str(path), framework="numpy")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is not a readable safetensors file: {error}") from error
    names: dict[str, list[str]] = {}
    for full in opened.keys():  # noqa: SIM118 - no mapping
        key, _, name = full.partition("/")
        names.setdefault(key, []).append(name)
    return opened, names
