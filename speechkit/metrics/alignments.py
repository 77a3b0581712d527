"""Alignments of a whole test set in flat arrays: tokens as numbers of a vocabulary, errors as runs of three numbers.

Compact for hundreds of thousands of utterances of several systems; `UtteranceErrors` are created on access.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.metrics.bootstrap import ratio
from speechkit.metrics.lattice import Choice

OperationKind = Literal["equal", "substitute", "delete", "insert"]
Progress = Callable[[int], None]
CODE_POINTS = 0x110000  # a vocabulary up to this size is aligned as a string, one character per word
TOLD_EVERY = 1000  # utterances


class Operation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Reference tokens ``reference_begin`` to ``reference_end`` became hypothesis tokens, half-open ranges."""

    kind: OperationKind
    reference_begin: int
    reference_end: int
    hypothesis_begin: int
    hypothesis_end: int


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Hits and errors; ``rate`` is errors over reference tokens."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_tokens(self) -> int:
        """Tokens of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def hypothesis_tokens(self) -> int:
        """Tokens of the hypothesis."""
        return self.hits + self.substitutions + self.insertions

    @property
    def rate(self) -> float:
        """Errors over reference tokens: 0 or more; infinite without reference tokens."""
        return float(ratio(self.errors, self.reference_tokens))

    @property
    def match_error_rate(self) -> float:
        """Errors over all aligned positions, 0 to 1 (Morris et al. 2004); 0 where both sides are empty."""
        return float(ratio(self.errors, self.hits + self.errors))

    @property
    def information_preserved(self) -> float:
        """Share of reference tokens that are hits times that of hypothesis tokens (WIP, Morris et al. 2004), 0 to 1.

        1 if both sides are empty.
        """
        if not self.reference_tokens and not self.hypothesis_tokens:
            return 1.0
        return float(ratio(self.hits, self.reference_tokens) * ratio(self.hits, self.hypothesis_tokens))

    @property
    def information_lost(self) -> float:
        """Word information lost (WIL): 1 - `information_preserved`."""
        return 1.0 - self.information_preserved

    def __add__(self, other: Counts) -> Counts:
        """Sum of both counts."""
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


class UtteranceErrors(msgspec.Struct, frozen=True):
    """One utterance: normalised tokens of both sides, their alignment, and the counts."""

    id: str
    reference: list[str]
    hypothesis: list[str]
    operations: list[Operation]
    counts: Counts
    speaker: str | None = None
    chosen: list[Choice] = []


class Vocabulary(dict[str, int]):
    """Token to number; new tokens are numbered on first look-up."""

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self)
        return number


class Sentences:
    """Token sequences over a vocabulary: ``numbers`` (tokens,) of all of them, sentence i from ``bounds[i]`` on."""

    def __init__(self, sentences: Iterable[Iterable[str]], vocabulary: Vocabulary) -> None:
        numbers, bounds = array("I"), array("q", [0])
        number = vocabulary.__getitem__
        for sentence in sentences:
            numbers.extend(map(number, sentence))
            bounds.append(len(numbers))
        self.vocabulary = vocabulary
        self.numbers: NDArray[np.uint32] = np.frombuffer(numbers, np.uint32)
        self.bounds: NDArray[np.int64] = np.frombuffer(bounds, np.int64)
        self._tokens: list[str] = []

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sentence, (sentences,)."""
        return np.diff(self.bounds)

    def tokens_of(self, numbers: Iterable[int]) -> list[str]:
        """The tokens of numbers."""
        if len(self._tokens) < len(self.vocabulary):
            self._tokens = list(self.vocabulary)
        return [self._tokens[number] for number in numbers]

    def tokens(self, index: int) -> list[str]:
        """The tokens of a sentence."""
        return self.tokens_of(self.numbers[self.bounds[index] : self.bounds[index + 1]].tolist())

    def coded(self) -> str | list[int]:
        """All numbers as one string of code points, which aligns fastest, or a list if the vocabulary is too large."""
        if len(self.vocabulary) > CODE_POINTS:
            numbers: list[int] = self.numbers.tolist()
            return numbers
        return bytes(self.numbers.astype("<u4", copy=False)).decode("utf-32-le", "surrogatepass")


class Runs:
    """Errors of many aligned pairs: rows of (begin in the reference, reference tokens, hypothesis tokens).

    A run without reference tokens is an insertion, without hypothesis tokens a deletion, else a substitution of as many
    tokens on both sides. Everything between runs is equal. Pair i has the rows from ``bounds[i]`` on.
    """

    def __init__(self) -> None:
        self._rows, self._bounds = array("i"), array("q", [0])

    def add(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """The runs of the next pair."""
        for row in rows:
            self._rows.extend(row)
        self._bounds.append(len(self._rows) // 3)

    @property
    def rows(self) -> NDArray[np.int32]:
        """(runs, 3)."""
        return np.frombuffer(self._rows, np.int32).reshape(-1, 3)

    @property
    def bounds(self) -> NDArray[np.int64]:
        """(pairs + 1,)."""
        return np.frombuffer(self._bounds, np.int64)


class Alignments(Sequence[UtteranceErrors]):
    """The aligned utterances of one system; items are created on access.

    Attributes:
        ids: of the utterances.
        reference: their reference tokens.
        hypothesis: their hypothesis tokens, over the same vocabulary.
        runs: their errors.
        counts: hits, substitutions, deletions and insertions of each, (utterances, 4).
        speakers: of each, where known.
        chosen: chosen alternatives, by index.
    """

    def __init__(
        self,
        ids: Sequence[str],
        reference: Sentences,
        hypothesis: Sentences,
        runs: Runs,
        speakers: Sequence[str | None] | None = None,
        chosen: Mapping[int, list[Choice]] | None = None,
    ) -> None:
        self.ids, self.reference, self.hypothesis, self.runs = ids, reference, hypothesis, runs
        self.speakers = [None] * len(ids) if speakers is None else speakers
        self.chosen = chosen or {}
        self.counts = _counts(runs, reference.lengths)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> UtteranceErrors: ...
    @overload
    def __getitem__(self, index: slice) -> list[UtteranceErrors]: ...
    def __getitem__(self, index: int | slice) -> UtteranceErrors | list[UtteranceErrors]:
        if isinstance(index, slice):
            return [self._made(i) for i in range(*index.indices(len(self)))]
        return self._made(range(len(self))[index])

    def __iter__(self) -> Iterator[UtteranceErrors]:
        return map(self._made, range(len(self)))

    def _made(self, index: int) -> UtteranceErrors:
        return UtteranceErrors(
            id=self.ids[index],
            reference=self.reference.tokens(index),
            hypothesis=self.hypothesis.tokens(index),
            operations=self._operations(index),
            counts=Counts(*self.counts[index].tolist()),
            speaker=self.speakers[index],
            chosen=self.chosen.get(index, []),
        )

    def _operations(self, index: int) -> list[Operation]:
        operations: list[Operation] = []
        i = j = 0
        length = int(self.reference.lengths[index])
        first, last = self.runs.bounds[index], self.runs.bounds[index + 1]
        for begin, removed, inserted in [*self.runs.rows[first:last].tolist(), (length, 0, 0)]:
            if begin > i:
                operations.append(Operation("equal", i, begin, j, j + begin - i))
                i, j = begin, j + begin - i
            if removed or inserted:
                kind: OperationKind = "insert" if not removed else "delete" if not inserted else "substitute"
                operations.append(Operation(kind, i, i + removed, j, j + inserted))
                i, j = i + removed, j + inserted
        return operations


def _counts(runs: Runs, lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """Hits, substitutions, deletions and insertions of each pair, (pairs, 4)."""
    reference_tokens, hypothesis_tokens = runs.rows[:, 1], runs.rows[:, 2]
    kinds = np.stack(
        [
            np.minimum(reference_tokens, hypothesis_tokens),
            reference_tokens * (hypothesis_tokens == 0),
            hypothesis_tokens * (reference_tokens == 0),
        ],
        axis=1,
    )
    sums = np.concatenate([np.zeros((1, 3), np.int64), np.cumsum(kinds, axis=0, dtype=np.int64)])
    errors = np.diff(sums[runs.bounds], axis=0)
    hits = lengths - errors[:, 0] - errors[:, 1]
    return np.concatenate([hits[:, None], errors], axis=1).astype(np.int32)


def align_sentences(reference: Sentences, hypothesis: Sentences, progress: Progress | None = None) -> Runs:
    """Align all pairs with the fewest errors by rapidfuzz, as jiwer does; ``progress`` takes increments."""
    runs = Runs()
    truth, guess = reference.coded(), hypothesis.coded()
    begins, starts = reference.bounds.tolist(), hypothesis.bounds.tolist()
    done = 0
    for i in range(len(reference)):
        runs.add(fewest_errors(truth[begins[i] : begins[i + 1]], guess[starts[i] : starts[i + 1]]))
        if progress is not None and (i + 1) % TOLD_EVERY == 0:
            progress(i + 1 - done)
            done = i + 1
    if progress is not None:
        progress(len(reference) - done)
    return runs


def fewest_errors(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> list[tuple[int, int, int]]:
    """The runs between two sequences; characters of a string are tokens."""
    from rapidfuzz.distance import Levenshtein  # imported here, so that reading a result does not load it

    if reference == hypothesis:
        return []
    steps: list[tuple[str, int, int, int, int]] = Levenshtein.opcodes(reference, hypothesis).as_list()  # type: ignore[assignment]
    return [(begin, end - begin, until - start) for kind, begin, end, start, until in steps if kind != "equal"]


def runs_of_steps(steps: str) -> Iterator[tuple[int, int, int]]:
    """The runs of an alignment given as a string of ``=`` (match), ``s``, ``d`` and ``i``."""
    position = 0
    for step, run in groupby(steps):
        length = sum(1 for _ in run)
        if step != "=":
            yield position, 0 if step == "i" else length, 0 if step == "d" else length
        if step != "i":
            position += length


def character_counts(done: Alignments) -> NDArray[np.int32]:
    """Hits, substitutions, deletions and insertions of the characters of each pair of aligned texts, (pairs, 4)."""
    from rapidfuzz.distance import Levenshtein

    counts = np.zeros((len(done), 4), np.int32)
    column: dict[object, int] = {"replace": 1, "delete": 2, "insert": 3}
    for i in range(len(done)):
        truth, guess = (" ".join(side.tokens(i)) for side in (done.reference, done.hypothesis))
        row = [len(truth), 0, 0, 0]
        if truth != guess:
            for tag, _, _ in Levenshtein.editops(truth, guess).as_list():
                row[column[tag]] += 1
            row[0] -= row[1] + row[2]
        counts[i] = row
    return counts
