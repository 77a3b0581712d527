"""Read the arrays of a pickled k-means as data; see `speechkit.io.pickle_machine`.

Only names of scikit-learn, NumPy, joblib and builtin containers are allowed in the file.

Source: joblib's ``numpy_pickle`` format, version 0.10 onwards: an array is a pickled ``NumpyArrayWrapper``,
followed in the stream, right after the opcode that completes it, by the array's bytes.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.pickle_machine import Machine, Made, Named

MAX_BYTES = 1 << 28
"""Of a file, and of what a compressed one may grow to: 65,536 units of width 1,024."""
MAX_GROWTH = 100
"""Times the size of a compressed file; real numbers shrink to no less than a tenth."""
MAX_INSTRUCTIONS = 10_000
"""A k-means of scikit-learn has some hundreds; deeply nested objects would overflow the interpreter's stack."""
NAMES = {
    ("copyreg", "_reconstructor"),
    ("copy_reg", "_reconstructor"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("builtins", "object"),
    ("builtins", "set"),
    ("__builtin__", "object"),
    ("__builtin__", "set"),
}
NUMBERS = "fiub"  # kinds of NumPy dtypes with plain numeric values


def read_pickled(path: Path | str) -> Any:
    """Read a pickle or joblib file as `Made`, containers, numbers, strings and arrays.

    Args:
        path: the file; joblib's zlib and gzip compression are supported.

    Raises:
        UserError: if the file is missing, too large, truncated, compressed in another format, or contains anything
            that does not belong in a k-means of arrays.
    """
    content = _content(Path(path))
    try:
        return _KMeansMachine(content, str(path)).run()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path}: is no whole pickle of a k-means ({error or type(error).__name__}); take the original file, or "
            "save its centroids with numpy.save"
        ) from error


def array_of(value: Any) -> NDArray[Any] | None:
    """Convert a value of `read_pickled` to an array; None if it is not one, or has dtype object.

    Raises:
        ValueError: if shape, dtype and number of bytes are inconsistent.
    """
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, Made):
        return None
    if _called(value, "_reconstruct") and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, dtype, fortran, content = value.state
        return _array(_bytes(content), shape, dtype, "F" if fortran else "C")
    if _called(value, "_frombuffer") and len(value.arguments) == 4:
        content, dtype, shape, order = value.arguments
        return _array(_bytes(content), shape, dtype, order)
    return None


class _KMeansMachine(Machine):
    what = "a k-means"
    packages = ("sklearn", "numpy", "joblib")
    names = NAMES
    max_instructions = MAX_INSTRUCTIONS

    def build(self, _: Any) -> None:
        super().build(_)
        made = self.stack[-1]
        if (kind := made.kind) and kind.module.startswith("joblib.") and kind.name == "NumpyArrayWrapper":
            self.stack[-1] = self._array_after(made.state)

    def _array_after(self, state: Any) -> NDArray[Any]:
        """Read a joblib array: a byte with the padding length (since 1.3), the padding, then the values."""
        if state.get("numpy_array_alignment_bytes") is not None:
            (padding,) = self.content.read(1)
            self.content.seek(padding, 1)
        shape, dtype = state["shape"], _dtype(state["dtype"])
        size = _length(shape, dtype)
        if size > self.size - self.content.tell():
            raise ValueError(f"the file ends inside an array of shape {shape}")
        return _array(self.content.read(size), shape, state["dtype"], state["order"])


def _called(value: Made, name: str) -> bool:
    """Whether ``value`` is a recorded call of NumPy's function of this name."""
    return isinstance(value.of, Named) and value.of.module.startswith("numpy.") and value.of.name == name


def _bytes(content: Any) -> bytes:
    """Bytes, including those that protocols 0 to 2 write as Latin-1 text."""
    if isinstance(content, Made) and isinstance(content.of, Named) and content.of.module == "_codecs":
        content = content.arguments[0]
    return content.encode("latin-1") if isinstance(content, str) else bytes(memoryview(content))


def _dtype(value: Any) -> np.dtype[Any]:
    """The dtype of a recorded ``numpy.dtype(name)`` with its byte-order state."""
    if not isinstance(value, Made) or not isinstance(value.of, Named) or value.of.name != "dtype":
        raise ValueError("the type of an array is not said")
    name = value.arguments[0]
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "="
    if not isinstance(name, str) or len(name) > 3 or name[0] not in NUMBERS or not name[1:].isdigit():
        raise ValueError(f"it holds an array of {_shown(name)}, not of numbers")
    if order not in ("<", ">", "=", "|"):
        raise ValueError(f"the byte order {_shown(order)} of an array is unknown")
    return np.dtype(name if order == "|" else order + name)


def _shown(value: Any) -> str:
    return repr(value[:20]) if isinstance(value, (str, bytes)) else f"a {type(value).__name__}"


def _length(shape: Any, dtype: np.dtype[Any]) -> int:
    """Size of an array in bytes, in Python integers, which do not overflow."""
    sizes = shape if isinstance(shape, tuple) else None
    if sizes is None or len(sizes) > 8 or not all(type(size) is int and 0 <= size <= MAX_BYTES for size in sizes):
        raise ValueError("the shape of an array is none")
    return math.prod(sizes) * dtype.itemsize


def _array(content: bytes, shape: Any, dtype: Any, order: Any) -> NDArray[Any]:
    kind = _dtype(dtype)
    wanted = _length(shape, kind)
    if wanted != len(content):
        raise ValueError(f"an array of shape {shape} has {len(content)} bytes, not {wanted}")
    if order not in ("C", "F"):
        raise ValueError(f"the order {_shown(order)} of an array is unknown")
    numbers: NDArray[Any] = np.frombuffer(content, kind).reshape(shape, order=order)
    return numbers


def _content(path: Path) -> bytes:
    """Decompressed bytes of the pickle, at most `MAX_BYTES`.

    Raises:
        UserError: if the file cannot be read, is too large or has an unsupported compression.
    """
    try:
        with path.open("rb") as file:
            # Python allocates the requested size before it reads.
            raw = file.read(min(path.stat().st_size if path.is_file() else MAX_BYTES, MAX_BYTES) + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the k-means file of fairseq or textlesslib, or a .npy") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path}: is larger than {MAX_BYTES >> 20} MB; save its centroids alone with numpy.save")
    for magic, name in ((b"BZ", "bzip2"), (b"\x5d\x00", "lzma"), (b"\xfd7zXZ", "xz"), (b"\x04\x22M\x18", "lz4")):
        if raw.startswith(magic):
            raise UserError(
                f"{path}: is compressed with {name}, which is not read; unpack it, or save its centroids by numpy.save"
            )
    gzip, packed = raw.startswith(b"\x1f\x8b"), raw[:1] == b"x" and raw[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda")
    if not gzip and not packed:
        return raw
    most = min(MAX_BYTES, max(MAX_BYTES >> 4, MAX_GROWTH * len(raw)))
    unpacker = zlib.decompressobj(31 if gzip else 15)
    try:
        content = unpacker.decompress(raw, most)
    except zlib.error as error:
        raise UserError(f"{path}: is compressed and damaged ({error}); take the original file") from error
    if unpacker.unconsumed_tail:
        raise UserError(f"{path}: holds more than {most:,} bytes; save its centroids alone with numpy.save")
    if not unpacker.eof:
        raise UserError(f"{path}: is compressed and ends too early; take the original file")
    return content
