"""Training batches of text models: tagged words, labelled texts, questions on passages, and summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechkit.slue.systems.text_examples import TextExample
from speechkit.slue.systems.text_models import LoadedModel

IGNORED = -100
"""Label of positions excluded from the loss."""


class TextBatches:
    """Batches by number, from rows shuffled anew in every epoch; the seed determines the order."""

    def __init__(
        self,
        task: str,
        rows: Sequence[TextExample],
        loaded: LoadedModel,
        labels: Sequence[str],
        *,
        batch_size: int,
        max_pieces: int,
        seed: int,
    ) -> None:
        self._task, self._batch_size, self._seed = task, batch_size, seed
        self._rows = [row for row in rows if row.answer] if task == "qa-text" else list(rows)
        _, self._tokenizer, positions = loaded
        self._pieces = min(positions, max_pieces)
        self._index = {label: number for number, label in enumerate(labels)}

    def __call__(self, number: int) -> dict[str, Any]:
        """Keyword arguments of the model's forward, including the labels of its loss."""
        return self._encode(self._chosen(number))

    def _chosen(self, number: int) -> list[TextExample]:
        size, count = self._batch_size, len(self._rows)
        positions = range(number * size, (number + 1) * size)
        orders = {p // count: np.random.default_rng([self._seed, p // count]).permutation(count) for p in positions}
        return [self._rows[orders[p // count][p % count]] for p in positions]

    def _encode(self, rows: Sequence[TextExample]) -> dict[str, Any]:
        import torch

        if self._task == "qa-text":
            return self._encode_questions(rows)
        options: dict[str, Any] = {
            "truncation": True,
            "max_length": self._pieces,
            "padding": True,
            "return_tensors": "pt",
        }
        if self._task == "ner":
            inputs = self._tokenizer(
                [[w for w, _ in r.words] or [""] for r in rows], is_split_into_words=True, **options
            )
            targets = torch.full(inputs["input_ids"].shape, IGNORED)
            for index, row in enumerate(rows):
                before: int | None = None
                for position, word in enumerate(inputs.word_ids(index)):
                    if word is not None and word != before and row.words:
                        targets[index, position] = self._index[row.words[word][1]]
                    before = word
            return {**inputs, "labels": targets}
        inputs = self._tokenizer([row.text for row in rows], **options)
        if self._task == "summarisation":
            inputs.pop("token_type_ids", None)
            summaries = self._tokenizer(text_target=[row.gold for row in rows], **options)
            targets = summaries["input_ids"].masked_fill(summaries["attention_mask"] == 0, IGNORED)
            return {**inputs, "labels": targets}
        if self._task == "dialog-acts":
            multi_hot = torch.zeros(len(rows), len(self._index))
            for index, row in enumerate(rows):
                multi_hot[index, [self._index[label] for label in row.labels]] = 1.0
            return {**inputs, "labels": multi_hot}
        return {**inputs, "labels": torch.tensor([self._index[row.labels[0]] for row in rows])}

    def _encode_questions(self, rows: Sequence[TextExample]) -> dict[str, Any]:
        import torch

        parts = self._tokenizer(
            [row.text for row in rows],
            [row.passage for row in rows],
            truncation="only_second",
            max_length=self._pieces,
            stride=self._pieces // 4,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        owners, offsets = parts.pop("overflow_to_sample_mapping").tolist(), parts.pop("offset_mapping").tolist()
        chosen, begins, ends = [], [], []
        for index, owner in enumerate(owners):
            span = rows[owner].answer
            passage = [i for i, sequence in enumerate(parts.sequence_ids(index)) if sequence == 1]
            inside = [i for i in passage if span and offsets[index][i][0] < span[1] and offsets[index][i][1] > span[0]]
            # Parts without the whole answer are skipped; parts overlap, so an answer cut by one is in the next.
            if span and inside and offsets[index][inside[0]][0] <= span[0] and offsets[index][inside[-1]][1] >= span[1]:
                chosen.append(index)
                begins.append(inside[0])
                ends.append(inside[-1])
        if not chosen:
            chosen, begins, ends = [0], [0], [0]
        return {
            **{name: value[chosen] for name, value in parts.items()},
            "start_positions": torch.tensor(begins),
            "end_positions": torch.tensor(ends),
        }
