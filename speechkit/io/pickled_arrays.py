"""What a pickled k-means holds, read as data: nothing of the file is imported, called or executed.

A pickle is a program for a stack machine. Unpickling runs it, with every import and call that it asks for; here a
second stack machine follows the same instructions and writes down what would be imported and called (`Named`, `Made`),
so that arrays can be taken out of a file that nobody vouches for. Only names of scikit-learn, NumPy, joblib and plain
containers may stand in it.

Sources: CPython's ``pickletools`` (the instructions); joblib's ``numpy_pickle`` format, versions 0.10 on: an array is a
pickled ``NumpyArrayWrapper``, with the array's bytes in the stream right behind the instruction that completes it.
"""

from __future__ import annotations

import math
import pickletools
import zlib
from collections.abc import Callable, Set
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

MAX_BYTES = 1 << 28
"""Of a file, and of what a compressed one may grow to: 65,536 units of width 1,024."""
MAX_GROWTH = 100
"""Times the size of a compressed file; real numbers shrink to no less than a tenth."""
MAX_INSTRUCTIONS = 10_000
"""A k-means of scikit-learn has some hundreds; deeply nested objects would overflow the interpreter's stack."""
ROOMS = ("sklearn", "numpy", "joblib")
PLAIN = {
    ("copyreg", "_reconstructor"),
    ("copy_reg", "_reconstructor"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("builtins", "object"),
    ("builtins", "set"),
    ("__builtin__", "object"),
    ("__builtin__", "set"),
}
NUMBERS = "fiub"  # kinds of NumPy types whose bytes are the number


class Named(msgspec.Struct, frozen=True):
    """A class or function that the file names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Made(msgspec.Struct, eq=False):
    """What would be made by a call: of what, with which arguments, and the state that it is given afterwards."""

    of: Any
    arguments: tuple[Any, ...]
    state: Any = None

    @property
    def kind(self) -> Named | None:
        """The class or function by name; protocols 0 and 1 call a function with the class as its first argument."""
        made = self.of
        if isinstance(made, Named) and made.name == "_reconstructor" and self.arguments:
            made = self.arguments[0]
        return made if isinstance(made, Named) else None


class _Mark:
    """The mark of the stack machine, which `MARK` puts down and others take up."""


_MARK = _Mark()


def read_pickled(path: Path | str) -> Any:
    """The object of a pickle or joblib file as `Made`, containers, numbers, text and arrays.

    Args:
        path: of the file; joblib's zlib and gzip compression are undone.

    Raises:
        UserError: if the file is missing, too large, torn, compressed in another way, or holds anything that has no
            place in a k-means of arrays.
    """
    content = _content(Path(path))
    try:
        return Machine(content, str(path)).run()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path}: is no whole pickle of a k-means ({error or type(error).__name__}); take the original file, or "
            "save its centroids with numpy.save"
        ) from error


def array_of(value: Any) -> NDArray[Any] | None:
    """The array that a value of `read_pickled` is, or None; arrays of objects are none.

    Raises:
        ValueError: if shape, type and bytes contradict one another.
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


class Machine:
    """Follows the instructions of one file; what may stand in it is that of a k-means.

    Attributes:
        what: the file should hold, for errors.
        rooms: packages whose names may stand in it.
        plain: other names that may.
        most_instructions: of such a file.
    """

    what = "a k-means"
    rooms: tuple[str, ...] = ROOMS
    plain: Set[tuple[str, str]] = PLAIN
    most_instructions = MAX_INSTRUCTIONS

    def __init__(self, content: bytes, path: str) -> None:
        self.content, self.path = BytesIO(content), path
        self.size = len(content)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The object that the file holds."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self.content)):
            if count == self.most_instructions:
                raise ValueError(f"more than {self.most_instructions:,} instructions")
            if opcode.name == "STOP":
                break
            if (push := _CONSTANTS.get(opcode.name)) is not None:
                self.stack.append(push(argument))
            elif (act := _ACTIONS.get(opcode.name)) is not None:
                act(self, argument)
            else:
                raise ValueError(f"the instruction {opcode.name} has no place in it")
        (answer,) = self.stack
        return answer

    def pop(self) -> Any:
        """What lies on top, which is taken off."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark stands where a value should")
        return value

    def to_mark(self) -> list[Any]:
        """What lies above the last mark, which is taken off too."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        above = self.stack[place + 1 :]
        del self.stack[place:]
        return above

    def named(self, module: Any, name: Any) -> None:
        """Put a name there, where it may stand in such a file."""
        if not isinstance(module, str) or not isinstance(name, str):  # hashing or showing nested tuples may never end
            raise ValueError("the name of a class is no text")
        room = module.partition(".")[0]
        if room not in self.rooms and (module, name) not in self.plain:
            raise UserError(
                f"{self.path}: names {f'{module}.{name}'[:80]!r}, which has no place in {self.what}; nothing of the "
                "file was run, take one from a source that you know"
            )
        self.stack.append(Named(module, name))

    def outside(self, key: Any) -> Any:
        """What a key that means something outside the pickle stands for."""
        raise ValueError("it refers to something outside the file")

    def stack_outside(self, _: Any) -> None:
        """The value of a key that means something outside."""
        self.stack.append(self.outside(self.pop()))

    def stack_named(self, _: Any) -> None:
        """A name whose parts lie on the stack."""
        name, module = self.pop(), self.pop()
        self.named(module, name)

    def call(self, _: Any) -> None:
        """Write down what would be called, and with what."""
        arguments, called = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise ValueError("a call without arguments")
        self.stack.append(Made(called, arguments))

    def call_with_names(self, _: Any) -> None:
        """The same, without the arguments that have names."""
        self.pop()
        self.call(None)

    def build(self, _: Any) -> None:
        """Write down the state that an object is given."""
        state, made = self.pop(), self.stack[-1]
        if not isinstance(made, Made):
            raise ValueError("a state is given to what has none")
        made.state = state
        if (kind := made.kind) and kind.module.startswith("joblib.") and kind.name == "NumpyArrayWrapper":
            self.stack[-1] = self.array_behind(state)

    def array_behind(self, state: Any) -> NDArray[Any]:
        """An array of joblib: a byte that says how many more to leap over (from 1.3 on), then the numbers."""
        if state.get("numpy_array_alignment_bytes") is not None:
            (leap,) = self.content.read(1)
            self.content.seek(leap, 1)
        shape, dtype = state["shape"], _dtype(state["dtype"])
        wanted = _length(shape, dtype)
        if wanted > self.size - self.content.tell():
            raise ValueError(f"the file ends inside an array of shape {shape}")
        return _array(self.content.read(wanted), shape, state["dtype"], state["order"])

    def append(self, _: Any) -> None:
        """Add one item to a list."""
        value = self.pop()
        self.extend_last([value])

    def extend(self, _: Any) -> None:
        """Add the items above the mark to a list."""
        values = self.to_mark()
        self.extend_last(values)

    def extend_last(self, values: list[Any]) -> None:
        """Add items to the list on top."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)
        elif not isinstance(self.stack[-1], Made):
            raise ValueError("items are added to what is no list")

    def set_item(self, _: Any) -> None:
        """Add one entry to a dictionary."""
        value, key = self.pop(), self.pop()
        self.set_pairs([key, value])

    def set_items(self, _: Any) -> None:
        """Add the entries above the mark to a dictionary."""
        pairs = self.to_mark()
        self.set_pairs(pairs)

    def set_pairs(self, pairs: list[Any]) -> None:
        """Only keys that are text: what is looked for has one, and hashing others could take for ever."""
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update((k, v) for k, v in zip(pairs[::2], pairs[1::2], strict=True) if isinstance(k, str))
        elif not isinstance(target, Made):
            raise ValueError("an entry is put into what is no dictionary")

    def put(self, place: Any) -> None:
        """Remember what lies on top, by a number."""
        self.memo[int(place)] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        """Remember what lies on top, by the next number."""
        self.memo[len(self.memo)] = self.stack[-1]

    def tuple_of(self, count: int) -> None:
        """A tuple of what lies on top."""
        values = tuple(self.pop() for _ in range(count))[::-1]
        self.stack.append(values)

    def dictionary(self, _: Any) -> None:
        """A dictionary of what lies above the mark."""
        pairs = self.to_mark()
        self.stack.append({})
        self.set_pairs(pairs)


_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_SET": lambda _: [],
    "MARK": lambda _: _MARK,
    **dict.fromkeys(
        (
            *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
            *("STRING", "BINSTRING", "SHORT_BINSTRING"),
            *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        ),
        lambda argument: argument,
    ),
}
_ACTIONS: dict[str, Callable[[Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.to_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.to_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.stack.append(machine.to_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.to_mark()),
    "DICT": Machine.dictionary,
    "APPEND": Machine.append,
    "APPENDS": Machine.extend,
    "ADDITEMS": Machine.extend,
    "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
    "GLOBAL": lambda machine, argument: machine.named(*argument.split(" ", 1)),
    "STACK_GLOBAL": Machine.stack_named,
    "BINPERSID": lambda machine, argument: machine.stack_outside(argument),
    "REDUCE": lambda machine, argument: machine.call(argument),
    "NEWOBJ": lambda machine, argument: machine.call(argument),
    "NEWOBJ_EX": lambda machine, argument: machine.call_with_names(argument),
    "BUILD": lambda machine, argument: machine.build(argument),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.put),
    "MEMOIZE": Machine.memoize,
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"), lambda machine, place: machine.stack.append(machine.memo[int(place)])
    ),
}


def _called(value: Made, name: str) -> bool:
    """Whether it is what NumPy's function of this name would give."""
    return isinstance(value.of, Named) and value.of.module.startswith("numpy.") and value.of.name == name


def _bytes(content: Any) -> bytes:
    """Bytes, as protocols 0 to 2 write them too: text whose letters are bytes."""
    if isinstance(content, Made) and isinstance(content.of, Named) and content.of.module == "_codecs":
        content = content.arguments[0]
    return content.encode("latin-1") if isinstance(content, str) else bytes(memoryview(content))


def _dtype(value: Any) -> np.dtype[Any]:
    """The type of numbers that ``numpy.dtype(name)`` with a state of byte order stands for."""
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
    """Bytes of an array; whole numbers of Python do not overflow."""
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
    """The bytes of the pickle, of at most `MAX_BYTES`.

    Raises:
        UserError: if the file cannot be read, is too large or compressed in an unknown way.
    """
    try:
        with path.open("rb") as file:
            # Python takes the memory for as much as is asked for before it reads.
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
