"""Alignment scores: substitution log-odds between two alphabets, and gap costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Costs:
    """Scores of an alignment of document text (side ``a``) with recognised text (side ``b``); larger is better.

    Attributes:
        alphabet: characters that ``substitution`` knows, in the order of its rows and columns.
        substitution: (K, K) score of document character (row) heard as character (column).
        delete: (K,) score of a document character that was not heard, inside a short gap.
        insert: (K,) score of a heard character that the document lacks, inside a short gap.
        match: score of two equal characters outside the alphabet.
        mismatch: score of two different characters when one is outside the alphabet.
        skip: score of a character outside the alphabet inside a short gap.
        short_open: added once a short gap.
        long_open: added once a long gap that starts at a sentence boundary.
        long_open_inside: added once a long gap that starts or ends inside a sentence, in place of ``long_open``.
        long_extend: score of each character in a long gap.
    """

    alphabet: str = ""
    substitution: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    delete: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    insert: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    match: float = 1.0
    mismatch: float = -1.5
    skip: float = -1.0
    short_open: float = -0.2
    long_open: float = -8.0
    long_open_inside: float = -14.0
    long_extend: float = -0.02


@dataclass(frozen=True, eq=False)
class CodedCosts:
    """Costs spread over the codes of two coded texts, as the kernels read them."""

    table: NDArray[np.float64]
    delete: NDArray[np.float64]
    insert: NDArray[np.float64]


def encode(texts: Iterable[str]) -> tuple[list[NDArray[np.int32]], str]:
    """Code texts over their common alphabet: arrays of indices into the returned sorted alphabet."""
    points = [np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) for text in texts]
    symbols = np.unique(np.concatenate(points)) if points else np.zeros(0, np.uint32)
    alphabet = "".join(chr(int(symbol)) for symbol in symbols)
    return [np.searchsorted(symbols, part).astype(np.int32) for part in points], alphabet


def spread(costs: Costs, alphabet: str) -> CodedCosts:
    """Lay ``costs`` out over the codes of ``alphabet``; characters that the costs do not know get the defaults.

    The table is limited to the first 1,024 symbols of larger alphabets (CJK); the rest score ``match``/``mismatch``.
    """
    size = min(len(alphabet), 1024)
    table = np.full((size, size), costs.mismatch)
    np.fill_diagonal(table, costs.match)
    delete = np.full(len(alphabet), costs.skip)
    insert = np.full(len(alphabet), costs.skip)
    row_of = {character: row for row, character in enumerate(costs.alphabet)}
    known = [(code, row_of[character]) for code, character in enumerate(alphabet) if character in row_of]
    if known:
        codes = np.array([code for code, _ in known])
        rows = np.array([row for _, row in known])
        delete[codes] = costs.delete[rows]
        insert[codes] = costs.insert[rows]
        inside = codes < size
        table[np.ix_(codes[inside], codes[inside])] = costs.substitution[np.ix_(rows[inside], rows[inside])]
    return CodedCosts(np.ascontiguousarray(table), delete, insert)


def costs_from_counts(
    alphabet: str,
    pairs: NDArray[np.float64],
    deleted: NDArray[np.float64],
    inserted: NDArray[np.float64],
    template: Costs | None = None,
    smoothing: float = 5.0,
    trust: float = 0.4,
) -> Costs:
    """Log-odds scores, in units of a match, from counts of an alignment.

    Args:
        alphabet: the characters, K of them.
        pairs: (K, K) how often document character (row) stood against heard character (column).
        deleted: (K,) how often a document character was not heard.
        inserted: (K,) how often a heard character was not in the document.
        template: gap scores to keep.
        smoothing: counts that are shared out before the estimate, by the product of the margins for confusions.
        trust: weight of the counts against the template's plain scores, 0 to 1; confusions of a poor recogniser are
            counted on doubtful alignments, and all of their weight places sentences worse than none.
    """
    template = template or Costs()
    rows = pairs.sum(1) + deleted
    columns = pairs.sum(0) + inserted
    total = max(rows.sum(), columns.sum(), 1.0)
    p_row = (rows + 1) / (rows + 1).sum()
    p_column = (columns + 1) / (columns + 1).sum()
    independent = np.outer(p_row, p_column)
    prior = 0.4 * independent
    prior[np.diag_indices(len(alphabet))] += 0.6 * np.sqrt(p_row * p_column)
    joint = (pairs + smoothing * len(alphabet) * prior / prior.sum()) / (total + smoothing * len(alphabet))
    odds = np.log(joint / independent)
    p_delete = (deleted + smoothing * 0.1) / (rows + smoothing)
    p_insert = (inserted + smoothing * 0.1) / (columns + smoothing)
    delete = np.log(np.clip(p_delete, 1e-3, 0.9))
    insert = np.log(np.clip(p_insert, 1e-3, 0.9))
    weight = pairs[np.diag_indices(len(alphabet))] + 1e-6
    unit = float((odds[np.diag_indices(len(alphabet))] * weight).sum() / weight.sum())
    unit = max(unit, 0.5)
    plain = np.full(odds.shape, template.mismatch)
    np.fill_diagonal(plain, template.match)
    return replace(
        template,
        alphabet=alphabet,
        substitution=trust * np.clip(odds / unit, -2.0, 1.5) + (1 - trust) * plain,
        delete=trust * np.clip(delete / unit, -1.5, -0.2) + (1 - trust) * template.skip,
        insert=trust * np.clip(insert / unit, -1.5, -0.2) + (1 - trust) * template.skip,
    )
