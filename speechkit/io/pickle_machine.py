"""Read a pickle as data: nothing in the file is imported, called or executed.

A pickle is a program for a stack machine. Unpickling executes it, including every import and call; this stack machine
interprets the same opcodes but only records what would be imported and called (`Named`, `Made`). Python's `Unpickler`
with a restricted ``find_class`` would be shorter, but it calls whatever ``find_class`` allows and allocates whatever a
corrupt file requests; `torch.load` requires torch and rejects scikit-learn's files.

Source: CPython's ``pickletools`` (the opcodes).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Set
from io import BytesIO
from typing import Any

import msgspec

from speechkit.errors import UserError


class Named(msgspec.Struct, frozen=True):
    """A class or function referenced by the file."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Made(msgspec.Struct, eq=False):
    """A recorded call: the callable, its arguments, and the state set on the result afterwards."""

    of: Any
    arguments: tuple[Any, ...]
    state: Any = None

    @property
    def kind(self) -> Named | None:
        """Name of the class or function; protocols 0 and 1 pass the class as the first argument of a function."""
        made = self.of
        if isinstance(made, Named) and made.name == "_reconstructor" and self.arguments:
            made = self.arguments[0]
        return made if isinstance(made, Named) else None


class _Mark:
    """Marker on the stack, pushed by `MARK` and popped by other opcodes."""


_MARK = _Mark()


class Machine:
    """Interprets the opcodes of one file; a subclass defines what the file may contain.

    Attributes:
        what: expected content, for error messages.
        packages: packages whose names are allowed.
        names: other allowed names, with their modules.
        max_instructions: maximum number of opcodes in a file.
    """

    what: str
    packages: tuple[str, ...]
    names: Set[tuple[str, str]]
    max_instructions: int

    def __init__(self, content: bytes, path: str) -> None:
        self.content, self.path = BytesIO(content), path
        self.size = len(content)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Run the program and return the object that it builds."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self.content)):
            if count == self.max_instructions:
                raise ValueError(f"more than {self.max_instructions:,} instructions")
            if opcode.name == "STOP":
                break
            if (push := _CONSTANTS.get(opcode.name)) is not None:
                self.stack.append(push(argument))
            elif (act := _ACTIONS.get(opcode.name)) is not None:
                act(self, argument)
            else:
                raise ValueError(f"the instruction {opcode.name} is not allowed in it")
        (answer,) = self.stack
        return answer

    def pop(self) -> Any:
        """Pop the top of the stack."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark stands where a value should")
        return value

    def to_mark(self) -> list[Any]:
        """Pop everything down to and including the last mark; returns the items above it."""
        mark = len(self.stack) - 1
        while self.stack[mark] is not _MARK:
            mark -= 1
            if mark < 0:
                raise ValueError("a mark is missing")
        above = self.stack[mark + 1 :]
        del self.stack[mark:]
        return above

    def named(self, module: Any, name: Any) -> None:
        """Push a reference to a name, if it is allowed."""
        if not isinstance(module, str) or not isinstance(name, str):  # hashing or showing nested tuples may not end
            raise ValueError("the name of a class is no text")
        if module.partition(".")[0] not in self.packages and (module, name) not in self.names:
            raise UserError(
                f"{self.path}: names {f'{module}.{name}'[:80]!r}, which has no place in {self.what}; nothing of the "
                "file was run; take a file from a source that you trust"
            )
        self.stack.append(Named(module, name))

    def outside(self, key: Any) -> Any:
        """Resolve a persistent id to the object outside the pickle."""
        raise ValueError("it refers to something outside the file")

    def stack_outside(self, _: Any) -> None:
        """Push the object that a persistent id refers to."""
        self.stack.append(self.outside(self.pop()))

    def stack_named(self, _: Any) -> None:
        """Push a reference whose module and name are on the stack."""
        name, module = self.pop(), self.pop()
        self.named(module, name)

    def call(self, _: Any) -> None:
        """Push a record of the call that unpickling would execute."""
        arguments, called = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise ValueError("a call without arguments")
        self.stack.append(Made(called, arguments))

    def call_with_names(self, _: Any) -> None:
        """As `call`, without keyword arguments."""
        self.pop()
        self.call(None)

    def build(self, _: Any) -> None:
        """Record the state set on an object."""
        state, made = self.pop(), self.stack[-1]
        if not isinstance(made, Made):
            raise ValueError("a state is given to what has none")
        made.state = state

    def append(self, _: Any) -> None:
        """Append one item to a list."""
        value = self.pop()
        self.extend_last([value])

    def extend(self, _: Any) -> None:
        """Append the items above the mark to a list."""
        values = self.to_mark()
        self.extend_last(values)

    def extend_last(self, values: list[Any]) -> None:
        """Append items to the list on top of the stack."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)
        elif not isinstance(self.stack[-1], Made):
            raise ValueError("items are added to what is no list")

    def set_item(self, _: Any) -> None:
        """Set one item of a dictionary."""
        value, key = self.pop(), self.pop()
        self.set_pairs([key, value])

    def set_items(self, _: Any) -> None:
        """Set the items above the mark in a dictionary."""
        pairs = self.to_mark()
        self.set_pairs(pairs)

    def set_pairs(self, pairs: list[Any]) -> None:
        """Set items with string keys; others are dropped: they are not needed, and hashing them may not terminate."""
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update((k, v) for k, v in zip(pairs[::2], pairs[1::2], strict=True) if isinstance(k, str))
        elif not isinstance(target, Made):
            raise ValueError("an entry is put into what is no dictionary")

    def put(self, key: Any) -> None:
        """Store the top of the stack in the memo under a given index."""
        self.memo[int(key)] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        """Store the top of the stack in the memo under the next index."""
        self.memo[len(self.memo)] = self.stack[-1]

    def tuple_of(self, count: int) -> None:
        """Replace the top ``count`` values by a tuple of them."""
        values = tuple(self.pop() for _ in range(count))[::-1]
        self.stack.append(values)

    def dictionary(self, _: Any) -> None:
        """Push a dictionary of the keys and values above the mark."""
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
        ("GET", "BINGET", "LONG_BINGET"), lambda machine, key: machine.stack.append(machine.memo[int(key)])
    ),
}
