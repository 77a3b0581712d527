"""N-grams in sorted arrays: a model of hundreds of thousands of words loads in milliseconds. Torch-free.

An n-gram is the number of its words' ids, most significant first, with `ID_BITS` bits each; those of an order are
sorted, and are found by bisection. Log-probabilities are rounded to half precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays

ID_BITS = 21
"""Three words fit into 63 bits: at most two million words, and orders up to three."""
LONGEST = 3
Entry = tuple[float, float]


class PackedNgrams(Mapping[str, Entry]):
    """N-grams to (log10 probability, log10 back-off weight), like the entries of an `NgramModel`.

    Args:
        words: V words; a word's position is its id.
        keys: for every order, the sorted keys (N,) of its n-grams; of the first order, all ids.
        values: for every order, log10 probabilities and back-off weights (N, 2).
    """

    def __init__(self, words: Sequence[str], keys: Sequence[NDArray[np.int64]], values: Sequence[NDArray[np.floating]]):
        self.words = words
        self._ids = {word: index for index, word in enumerate(words)}
        self._keys, self._values = keys, values

    @property
    def order(self) -> int:
        """Words of the longest n-grams."""
        return len(self._keys)

    def __getitem__(self, gram: str) -> Entry:
        """The entry of an n-gram, its words separated by spaces."""
        words = gram.split(" ")
        if len(words) > len(self._keys):
            raise KeyError(gram)
        key, keys = _key(words, self._ids), self._keys[len(words) - 1]
        row = int(np.searchsorted(keys, key))
        if row == len(keys) or keys[row] != key:
            raise KeyError(gram)
        log10, back_off = self._values[len(words) - 1][row]
        return float(log10), float(back_off)

    def __iter__(self) -> Iterator[str]:
        """All n-grams, by order and ids."""
        low = (1 << ID_BITS) - 1
        for order, keys in enumerate(self._keys, 1):
            for key in keys.tolist():
                yield " ".join(self.words[key >> ID_BITS * place & low] for place in reversed(range(order)))

    def __len__(self) -> int:
        """Number of n-grams."""
        return sum(map(len, self._keys))

    @classmethod
    def pack(cls, entries: Mapping[str, Entry], order: int) -> PackedNgrams:
        """Pack the entries of a model of at most `LONGEST` words.

        Raises:
            UserError: if the order is higher, or there are too many words.
        """
        words = sorted(gram for gram in entries if " " not in gram)
        if order > LONGEST or len(words) >= 1 << ID_BITS:
            raise UserError(
                f"a packed model has orders up to {LONGEST} and fewer than {1 << ID_BITS:,} words, this one has order "
                f"{order} and {len(words):,}; write it as .arpa.gz"
            )
        ids = {word: index for index, word in enumerate(words)}
        rows: list[list[tuple[int, float, float]]] = [[] for _ in range(order)]
        for gram, (log10, back_off) in entries.items():
            parts = gram.split(" ")
            rows[len(parts) - 1].append((_key(parts, ids), log10, back_off))
        for table in rows:
            table.sort()
        return cls(
            words,
            [np.array([row[0] for row in table], np.int64) for table in rows],
            [np.array([row[1:] for row in table], np.float16).reshape(-1, 2) for table in rows],
        )

    def write(self, path: Path) -> None:
        """Write as safetensors."""
        arrays: dict[str, NDArray[np.generic]] = {"words": np.frombuffer("\n".join(self.words).encode(), np.uint8)}
        for order, (keys, values) in enumerate(zip(self._keys, self._values, strict=True), 1):
            arrays |= {f"keys.{order}": keys, f"values.{order}": values}
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> PackedNgrams:
        """Read what `write` wrote.

        Raises:
            UserError: if the file is not a packed model.
        """
        damaged = UserError(f"{path}: is no packed language model, or a damaged one; build it by speechkit lm build")
        arrays = read_arrays(path)
        order = next((n for n in range(LONGEST, 0, -1) if f"keys.{n}" in arrays), 0)
        named = {"words", *(f"{name}.{n}" for name in ("keys", "values") for n in range(1, order + 1))}
        if not order or set(arrays) != named:
            raise damaged
        try:
            words = arrays["words"].tobytes().decode("utf-8").split("\n")
        except UnicodeDecodeError:
            raise damaged from None
        keys: list[NDArray[Any]] = [arrays[f"keys.{n}"] for n in range(1, order + 1)]
        values: list[NDArray[Any]] = [arrays[f"values.{n}"] for n in range(1, order + 1)]
        sound = len(set(words)) == len(words) < 1 << ID_BITS and all(
            table.dtype == np.int64
            and entries.dtype == np.float16
            and table.ndim == 1
            and entries.shape == (len(table), 2)
            and bool((np.diff(table) > 0).all())
            and bool(np.isfinite(entries).all())
            and _known(table, n, len(words))
            for n, (table, entries) in enumerate(zip(keys, values, strict=True), 1)
        )
        if not sound or len(keys[0]) != len(words):
            raise damaged
        return cls(words, keys, values)


def _key(words: Sequence[str], ids: Mapping[str, int]) -> int:
    key = 0
    for word in words:
        key = key << ID_BITS | ids[word]
    return key


def _known(keys: NDArray[np.int64], order: int, words: int) -> bool:
    """Whether all ids in the keys are those of words."""
    low = (1 << ID_BITS) - 1
    parts = [keys >> ID_BITS * place & (low if place < order - 1 else -1) for place in range(order)]
    return all(bool(((part >= 0) & (part < words)).all()) for part in parts)
