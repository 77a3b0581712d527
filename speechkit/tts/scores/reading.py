"""Words of a text that speech skips or says twice, by the CTC alignment of the text and of what it may have become.

For each word the probability of the text without it, and with it twice, stands against that of the text as it is. All
ways to align count, so that no path decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.alignment import columns_of
from speechkit.asr.hypothesis import Emissions
from speechkit.errors import AlignmentError

MOST_AT_ONCE = 64
"""Texts that are aligned together; memory is this many times the emissions."""


def reading_evidence(emissions: Emissions, words: Sequence[str]) -> NDArray[np.float64]:
    """By how many nats the speech is likelier without each word, and with each word twice: (words, 2).

    Raises:
        AlignmentError: if the vocabulary spells no word, or the text is too long for the speech.
    """
    column = columns_of(emissions)
    spelled = [[column[c] for c in word if c in column] for word in words]
    if not any(spelled):
        raise AlignmentError("the recogniser cannot spell the text")
    space = column.get(" ")

    def tokens(numbers: Sequence[int]) -> list[int]:
        found: list[int] = []
        for number in numbers:
            if spelled[number]:
                found += ([space] if found and space is not None else []) + spelled[number]
        return found

    everything = list(range(len(words)))
    texts = [tokens(everything)]
    for number in everything:
        texts.append(tokens([n for n in everything if n != number]))
        texts.append(tokens([*everything[: number + 1], *everything[number:]]))
    likelihoods = ctc_log_likelihoods(emissions, texts)
    if not np.isfinite(likelihoods[0]):
        raise AlignmentError(f"{len(texts[0])} characters do not fit in {len(emissions.log_probs)} frames")
    evidence: NDArray[np.float64] = (likelihoods[1:] - likelihoods[0]).reshape(len(words), 2)
    evidence[[not each for each in spelled]] = -np.inf  # nothing is known of a word without characters
    return evidence


def ctc_log_likelihoods(emissions: Emissions, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Natural logarithm of the probability of each text of columns; -inf where it does not fit in the frames."""
    import torch

    log_probs: Any = torch.from_numpy(np.asarray(emissions.log_probs, np.float32))
    found = []
    for begin in range(0, len(texts), MOST_AT_ONCE):
        some = texts[begin : begin + MOST_AT_ONCE]
        lengths = torch.tensor([len(text) for text in some])
        padded = torch.zeros(len(some), max(1, int(lengths.max())), dtype=torch.long)
        for row, text in zip(padded, some, strict=True):
            row[: len(text)] = torch.tensor(text, dtype=torch.long)
        losses = torch.nn.functional.ctc_loss(
            log_probs[:, None].expand(-1, len(some), -1),
            padded,
            torch.full((len(some),), len(log_probs)),
            lengths,
            blank=emissions.blank,
            reduction="none",
        )
        found.append(-losses.double().numpy())
    return np.concatenate(found)
