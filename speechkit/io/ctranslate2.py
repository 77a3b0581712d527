"""Read the variables of a model in CTranslate2's binary format.

File layout: format version, specification name, revision, then for each variable: name, shape, dtype, bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from speechkit.errors import UserError

_DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}
_BFLOAT16 = 5
"""The upper 16 bits of float32."""


def _read_exactly(file: BinaryIO, count: int, path: Path) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise UserError(f"{path}: ends in the middle of a variable; copy the model file again")
    return data


def read_ctranslate2(path: str | Path, prefix: str = "") -> dict[str, np.ndarray]:
    """Variables of a CTranslate2 `model.bin` whose names start with `prefix`; quantized weights become float32.

    Raises:
        UserError: if the file is truncated or damaged, or is not of format version 6 or earlier.
    """
    path = Path(path)
    variables: dict[str, np.ndarray] = {}
    size = path.stat().st_size
    with path.open("rb") as file:

        def number(code: str) -> int:
            return int(struct.unpack(f"<{code}", _read_exactly(file, struct.calcsize(code), path))[0])

        def string() -> str:
            return _read_exactly(file, number("H"), path).rstrip(b"\0").decode("utf-8", "replace")

        version = number("I")
        if not 3 <= version <= 6:
            raise UserError(f"{path}: is not a CTranslate2 model of a format from 3 to 6 (found {version})")
        string()
        number("I")
        for _ in range(number("I")):
            name = string()
            shape = [number("I") for _ in range(number("B"))]
            code, length = number("B"), number("I")
            if code not in _DTYPES or length > size:
                raise UserError(f"{path}: variable {name!r} has type {code} and {length} bytes; the file is damaged")
            data = _read_exactly(file, length, path)
            if name.startswith(prefix):
                try:
                    variables[name] = np.frombuffer(data, _DTYPES[code]).reshape(shape)
                    if code == _BFLOAT16:
                        variables[name] = (variables[name].astype("<u4") << 16).view("<f4")
                except ValueError as error:
                    raise UserError(
                        f"{path}: variable {name!r} is not of its shape ({error}); copy it again"
                    ) from error
    for name, value in list(variables.items()):
        if value.dtype.kind == "i" and value.ndim > 1:
            variables[name] = _dequantized(value, variables.pop(f"{name}_scale", None), f"{path}: variable {name!r}")
    return variables


def _dequantized(value: np.ndarray, scale: np.ndarray | None, where: str) -> np.ndarray:
    """Weights (rows, ...) from integers, which were multiplied by a scale for each row, or by one for all."""
    if scale is None or scale.size not in (1, len(value)) or not (scale > 0).all():
        raise UserError(f"{where} is quantized and its scale is missing or of another shape; copy the model file again")
    return np.asarray(value / scale.astype(np.float32).reshape(-1, *[1] * (value.ndim - 1)), np.float32)
