"""Read the weights of a PyTorch checkpoint (``.pt``, ``.ckpt``) as data: nothing in it is imported or executed.

Sources: CPython's ``pickletools``; the layout of ``torch.save`` since version 1.6: a zip archive with one pickle,
``data.pkl``, whose tensors refer to storages, each a raw binary file in ``data/``.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.pickle_machine import Machine, Made, Named

MAX_PICKLE_BYTES = 1 << 26
MAX_BYTES = 1 << 33
"""Of one storage; no supported network has a larger one."""
MAX_ENTRIES, MAX_DEPTH = 1_000_000, 100
"""Of the dictionaries that are searched: one that contains itself, or another one many times, would have no end."""
MAX_GROWTH, MIN_ROOM_BYTES = 4, 1 << 26
"""Times the size of the file that its tensors may take, and bytes that any file's may: a view repeats its storage."""
KINDS = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper 16 bits of float32
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
MADE_BY = ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter")


class _Storage(msgspec.Struct, frozen=True):
    kind: str
    key: str


class _TorchMachine(Machine):
    what = "a checkpoint of weights"
    packages = ()
    names = frozenset(
        {("collections", "OrderedDict"), ("collections", "defaultdict"), ("builtins", "set"), ("builtins", "dict")}
        | {("torch._utils", name) for name in MADE_BY}
        | {("torch", name) for name in (*KINDS, "Size", "device", "float32", "float16", "bfloat16", "int64")}
    )
    max_instructions = 2_000_000

    def outside(self, key: Any) -> _Storage:
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage" or not isinstance(key[1], Named):
            raise ValueError("it refers to an object that is no storage of numbers")
        if key[1].name not in KINDS or not isinstance(key[2], str):
            raise ValueError(f"a storage of {str(key[1])[:40]} is unknown")
        return _Storage(key[1].name, key[2])

    def call(self, _: Any) -> None:
        super().call(_)
        made = self.stack[-1]
        if isinstance(made.of, Named) and made.of.module == "collections":
            self.stack[-1] = {}  # the entries follow

    def build(self, _: Any) -> None:
        """Drop the state of a module dictionary, which contains no weights."""
        self.pop()


def read_torch_weights(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read all tensors of a checkpoint, named by their dotted key path: ``model.encoder.weight``.

    bfloat16 becomes float32. Only dictionaries with string keys are searched.

    Raises:
        UserError: if the file is missing, truncated, older than PyTorch 1.6, or uses names that weights do not need.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            if "data.pkl" not in names:
                raise ValueError("it has no data.pkl")
            if archive.getinfo(names["data.pkl"]).file_size > MAX_PICKLE_BYTES:
                raise ValueError("its data.pkl is larger than that of any weights")
            if "byteorder" in names:
                with archive.open(names["byteorder"]) as order:
                    if order.read(16) != b"little":
                        raise ValueError("its byte order is not little-endian")
            value = _TorchMachine(archive.read(names["data.pkl"]), str(path)).run()
            storages = _Storages(archive, names, max(MIN_ROOM_BYTES, MAX_GROWTH * Path(path).stat().st_size))
            return {key: _array(made, storages) for key, made in _tensors(value, "")}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give a checkpoint that PyTorch saved") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (
        *(ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, RuntimeError),
        *(zipfile.BadZipFile, NotImplementedError),
    ) as error:
        raise UserError(
            f"{path}: holds no weights as PyTorch saves them since 1.6 ({str(error)[:200] or type(error).__name__}); "
            "take the original file, or load it with PyTorch if you trust it and save it again"
        ) from error


def _tensors(value: Any, path: str) -> list[tuple[str, Made]]:
    """Every tensor in nested dictionaries, with its path."""
    tensors: list[tuple[str, Made]] = []
    pending = [(path, value, 0)]
    entries = 0
    while pending:
        path, value, depth = pending.pop()
        entries += 1
        if entries > MAX_ENTRIES or depth > MAX_DEPTH:
            raise ValueError("its dictionaries contain one another without end")
        if isinstance(value, dict):
            parts = reversed(value.items())
            pending.extend((f"{path}.{key}" if path else key, part, depth + 1) for key, part in parts)
        elif isinstance(value, Made) and isinstance(value.of, Named) and value.of.name in MADE_BY:
            if value.of.name == "_rebuild_parameter":
                pending.append((path, value.arguments[0], depth + 1))
            else:
                tensors.append((path, value))
    return tensors


class _Storages:
    """Storages of an archive, the last of which is kept, and the bytes that may still be taken.

    Args:
        archive: the open file.
        names: full names of its entries by their names in the checkpoint.
        room: bytes that storages and tensors may take together.
    """

    def __init__(self, archive: zipfile.ZipFile, names: dict[str, str], room: int) -> None:
        self._archive, self._names, self._room = archive, names, room
        self._last: tuple[str, NDArray[Any]] | None = None

    def take(self, count: int) -> None:
        """Count bytes.

        Raises:
            ValueError: if they are more than is left.
        """
        self._room -= count
        if self._room < 0:
            raise ValueError("its tensors are many times larger than the file")

    def numbers(self, storage: _Storage) -> NDArray[Any]:
        """The numbers of a storage (n,).

        Raises:
            ValueError: if it is compressed or too large.
        """
        if self._last is None or self._last[0] != storage.key:
            entry = self._archive.getinfo(self._names[f"data/{storage.key}"])
            if entry.file_size > MAX_BYTES or entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("a storage is compressed, or larger than any network's")
            self.take(entry.file_size)
            self._last = storage.key, np.frombuffer(self._archive.read(entry), np.uint8)
        content = self._last[1]
        numbers: NDArray[Any] = np.frombuffer(content.data, KINDS[storage.kind])
        return numbers


def _array(made: Made, storages: _Storages) -> NDArray[Any]:
    """Values of a tensor; a view of a storage is copied."""
    storage, offset, shape, strides = made.arguments[:4]
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(type(size) is int and 0 <= size < 2**40 for size in sizes):
        raise ValueError("a tensor has no shape")
    numbers = storages.numbers(storage)
    storages.take(math.prod(shape) * numbers.itemsize)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.zeros(shape, numbers.dtype)
    if last >= len(numbers):
        raise ValueError(f"a tensor of shape {shape} is larger than its storage")
    steps = tuple(stride * numbers.itemsize for stride in strides)
    view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)
    if storage.kind == "BFloat16Storage":
        view = (view.astype("<u4") << 16).view("<f4")
    copied: NDArray[Any] = np.array(view)
    return copied
