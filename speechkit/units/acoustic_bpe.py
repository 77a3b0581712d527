"""Acoustic BPE: repeatedly merges the most frequent pair of adjacent units into a new token.

Learned on deduplicated units, it shortens sequences for language models. Source: Sennrich et al. 2016, algorithm 1, on
units as in Ren et al. 2022 (acoustic BPE) and Shen et al. 2024. Ties go to the smaller pair, so that the merges depend
on the data alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.hashing import digest_bytes
from speechkit.units.codebook import read_spec

Pair = tuple[int, int]


class AcousticBpe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Acoustic BPE merges in the order of training.

    Attributes:
        base: number of units of the codebook; merge ``n`` creates token ``base + n``.
        codebook: digest of the codebook, see `CodebookSpec`.
        merges: pair of tokens replaced by each new token.
        lengths: number of training tokens before the first merge and after each.
    """

    base: int
    codebook: str
    merges: list[Pair]
    lengths: list[int]

    @property
    def num_tokens(self) -> int:
        """Vocabulary size: units plus merges."""
        return self.base + len(self.merges)

    @property
    def digest(self) -> str:
        """Digest of the merges and their codebook; tokens with the same digest are comparable."""
        return digest_bytes(msgspec.json.encode([self.base, self.codebook, self.merges]))

    def sizes(self) -> list[int]:
        """Number of units in each token."""
        sizes = [1] * self.base
        for left, right in self.merges:
            sizes.append(sizes[left] + sizes[right])
        return sizes

    def encode(self, units: Sequence[int] | NDArray[np.integer[Any]]) -> list[int]:
        """Tokens of deduplicated units, applying merges in order, each from left to right.

        Raises:
            UserError: if a unit is out of range.
        """
        tokens = [int(unit) for unit in units]
        if tokens and (min(tokens) < 0 or max(tokens) >= self.base):
            wrong = max(tokens) if max(tokens) >= self.base else min(tokens)
            raise UserError(f"unit {wrong} is out of range; the merges are of a codebook with {self.base} units")
        rank = {pair: number for number, pair in enumerate(self.merges)}
        while len(tokens) > 1:
            first = min(rank.get(pair, len(rank)) for pair in pairwise(tokens))
            if first == len(rank):
                break
            tokens = _merge_pair(tokens, self.merges[first], self.base + first)
        return tokens

    def decode(self, tokens: Iterable[int]) -> list[int]:
        """Expand tokens to units.

        Raises:
            UserError: if a token is out of range.
        """
        units: list[int] = []
        stack = list(tokens)[::-1]
        while stack:
            token = stack.pop()
            if not 0 <= token < self.num_tokens:
                raise UserError(f"token {token} is out of range; the merges have {self.num_tokens} tokens")
            if token < self.base:
                units.append(token)
            else:
                stack.extend(self.merges[token - self.base][::-1])
        return units

    def compression(self) -> list[tuple[int, float]]:
        """(vocabulary size, units per training token) before the first merge and after each."""
        return [(self.base + number, self.lengths[0] / length) for number, length in enumerate(self.lengths)]

    def save(self, path: Path | str) -> None:
        """Write JSON."""
        from speechkit.io.atomic import write_json

        write_json(Path(path), self)

    @classmethod
    def load(cls, path: Path | str) -> AcousticBpe:
        """Read what `save` wrote.

        Raises:
            UserError: if the file is missing or damaged, or a merge refers to a later token.
        """
        bpe: AcousticBpe = read_spec(Path(path), cls, "give the file that speechkit units bpe wrote")
        for number, pair in enumerate(bpe.merges):
            if not all(0 <= token < bpe.base + number for token in pair):
                raise UserError(
                    f"{path}: merge {number} joins {pair}, of which one does not exist yet; learn the merges again"
                )
        return bpe


def learn_bpe(
    items: Iterable[Sequence[int] | NDArray[np.integer[Any]]],
    base: int,
    tokens: int,
    codebook: str,
    min_count: int = 2,
) -> AcousticBpe:
    """Learn merges until there are ``tokens`` tokens, or no pair occurs ``min_count`` times.

    Args:
        items: deduplicated units of each recording; pairs do not cross recordings.
        base: number of units of the codebook.
        tokens: target vocabulary size, units plus merges.
        codebook: digest of the codebook.
        min_count: minimum count of a pair to merge.

    Raises:
        UserError: if ``tokens`` is less than the number of units, or a unit is out of range.
    """
    if tokens < base:
        raise UserError(f"{tokens} tokens are fewer than the {base} units; give a larger vocabulary size")
    sequences = [np.asarray(units, np.int32) for units in items]
    for units in sequences:
        if len(units) and (int(units.min()) < 0 or int(units.max()) >= base):
            raise UserError(f"a unit is out of range; the codebook has {base} units")
    from speechkit.units.pair_counts import PairCounts

    pairs = PairCounts(sequences)
    merges: list[Pair] = []
    lengths = [pairs.num_tokens]
    while base + len(merges) < tokens:
        best = pairs.most_frequent()
        if best is None or best[1] < min_count:
            break
        pairs.merge(best[0], base + len(merges))
        merges.append(best[0])
        lengths.append(pairs.num_tokens)
    return AcousticBpe(base, codebook, merges, lengths)


def _merge_pair(tokens: Sequence[int], pair: Pair, token: int) -> list[int]:
    merged: list[int] = []
    index = 0
    while index < len(tokens):
        if index + 1 < len(tokens) and (tokens[index], tokens[index + 1]) == pair:
            merged.append(token)
            index += 2
        else:
            merged.append(tokens[index])
            index += 1
    return merged
