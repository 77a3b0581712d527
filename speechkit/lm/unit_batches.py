"""Training batches of units: documents packed into rows and transformed according to a mixture of objectives.

Every batch is a function of its number only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from speechkit.errors import ConfigError, UserError
from speechkit.lm.objectives.infill import MixtureConfig, cut_out, draw_kind, draw_spans
from speechkit.lm.objectives.next_token import KINDS, Batch, padded
from speechkit.lm.packing import IGNORED, PackedRows, Window, windows
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.units.sequences import UnitSequence

FILL = {"tokens": 0, "targets": IGNORED, "documents": -1, "durations": 0, "durations_before": 0}


class UnitBatches:
    """Training batches of unit sequences.

    Args:
        sequences: training sequences.
        vocabulary: their vocabulary.
        context: positions per row.
        rows: rows per batch.
        mixture: mixture of infilling, prefix and plain sequences; None leaves all sequences plain.
        seed: of all randomness.

    Raises:
        UserError: if a sequence has another codebook, is empty or has units out of range, naming it; or there is none.
        ConfigError: if the mixture cuts out more spans than the vocabulary has marks for.
    """

    def __init__(
        self,
        sequences: Sequence[UnitSequence],
        vocabulary: UnitVocabulary,
        context: int,
        rows: int,
        mixture: MixtureConfig | None = None,
        seed: int = 0,
    ):
        if not sequences:
            raise UserError("there are no units to train on; give at least one recording")
        if mixture is not None and mixture.infill and not vocabulary.spans:
            raise ConfigError("infill is above 0 and the model has no mask tokens; set spans above 0 or infill to 0")
        for row in sequences:
            vocabulary.check(row.id, row.units, row.codebook)
        self._vocabulary, self._mixture, self._seed = vocabulary, mixture, seed
        self._pieces = [piece for row in sequences for piece in _pieces(row, vocabulary, context)]
        # An infilling sequence also contains the mask tokens.
        marks = 1 + 3 * vocabulary.spans if mixture is not None and mixture.infill else 0
        self._capacity = context + marks
        self._packed = PackedRows(
            [len(piece.window.tokens) + marks for piece in self._pieces], self._capacity, rows, seed
        )

    @property
    def tokens(self) -> int:
        """Positions per epoch that have a target."""
        return sum(int((piece.window.targets != IGNORED).sum()) for piece in self._pieces)

    def __getitem__(self, number: int) -> Batch:
        """Batch ``number``."""
        generator = np.random.default_rng([self._seed, 1, number])
        rows = []
        for indices in self._packed[number]:
            row: dict[str, list[int]] = {name: [] for name in (*FILL, "kinds", "prefix")}
            for document, index in enumerate(indices):
                for name, values in self._document(self._pieces[index], document, generator).items():
                    row[name] += values
            rows.append(row)
        if self._mixture is None:
            return padded(rows, FILL)
        batch = padded(rows, {**FILL, "kinds": 0, "prefix": 0})
        prefix = batch.pop("prefix").bool()
        return {**batch, "prefix": prefix} if bool(prefix.any()) else batch

    def _document(self, piece: _Piece, document: int, generator: np.random.Generator) -> dict[str, list[int]]:
        window = piece.window
        tokens, targets = window.tokens.tolist(), window.targets.tolist()
        durations, before = piece.durations, piece.before
        kind = "causal" if self._mixture is None else draw_kind(self._mixture, generator)
        prefix = [0] * len(tokens)
        if kind == "infill" and piece.whole:
            assert self._mixture is not None
            units = tokens[1:]
            spans = draw_spans(len(units), self._vocabulary.spans, self._mixture, generator)
            whole = cut_out(units, spans, self._vocabulary)
            tokens, targets = whole[:-1], whole[1:]
            # A position after a cut has not seen the durations before it.
            durations = before = prefix = [0] * len(tokens)
        elif kind == "prefix" and len(tokens) > 2:
            split = int(generator.integers(1, len(tokens) - 1))
            prefix = [1] * split + [0] * (len(tokens) - split)
            targets = [IGNORED] * (split - 1) + targets[split - 1 :]
            # In a bidirectional prefix, a unit would also see what follows its duration.
            durations = [0] * split + durations[split:]
        else:
            kind = "causal"
        return {
            "tokens": tokens,
            "targets": targets,
            "documents": [document] * len(tokens),
            "durations": durations,
            "durations_before": before,
            "kinds": [1 + KINDS.index(kind)] * len(tokens),
            "prefix": prefix,
        }


class _Piece:
    """A window of a sequence with the durations of its input tokens."""

    def __init__(self, window: Window, durations: Sequence[int], whole: bool):
        self.window, self.whole = window, whole
        # Position 0 is the boundary, which has no duration; durations of the overlap belong to the previous window.
        padded_durations = np.concatenate([[0], durations, [0]])
        new = window.targets != IGNORED
        self.durations: list[int] = np.where(new, padded_durations[window.positions], 0).tolist()
        self.before: list[int] = padded_durations[np.maximum(window.positions - 1, 0)].tolist()


def _pieces(row: UnitSequence, vocabulary: UnitVocabulary, context: int) -> list[_Piece]:
    tokens = [vocabulary.boundary, *row.units, vocabulary.boundary]
    cut = list(windows(tokens, context))
    return [_Piece(window, row.durations, len(cut) == 1) for window in cut]


def sequence_windows(row: UnitSequence, vocabulary: UnitVocabulary, context: int, overlap: int) -> list[Batch]:
    """Scoring windows of one sequence, as batches of one row; every unit, duration and end is counted once."""
    tokens = [vocabulary.boundary, *row.units, vocabulary.boundary]
    pieces = [_Piece(window, row.durations, False) for window in windows(tokens, context, overlap)]
    return [
        {
            "tokens": torch.from_numpy(piece.window.tokens)[None],
            "targets": torch.from_numpy(piece.window.targets)[None],
            "durations": torch.tensor([piece.durations]),
            "durations_before": torch.tensor([piece.before]),
        }
        for piece in pieces
    ]
