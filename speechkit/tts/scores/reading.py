"""Skipped and repeated words in synthetic speech, by CTC likelihoods of the text and its variants.

The likelihood of the text without a word, and with the word once more, is compared with that of the text itself,
summed over all alignments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.alignment import columns_of
from speechkit.asr.hypothesis import Emissions
from speechkit.errors import AlignmentError

MAX_REPETITIONS = 3
"""Upper limit of how often a word is assumed to be spoken."""
BATCH_TEXTS = 64
"""Texts scored together; memory is this many repetitions the emissions."""


def misreadings(emissions: Emissions, words: Sequence[str], margin: float) -> tuple[list[int], list[int]]:
    """Indices of the words that are skipped, and of those that are repeated.

    Greedy: the most likely change is applied to the text before the next is scored, until none gains ``margin`` nats.
    Otherwise the neighbours of a repeated word would also look repeated.

    Raises:
        AlignmentError: as `reading_evidence`.
    """
    repetitions = [1] * len(words)
    while True:
        evidence = reading_evidence(emissions, words, repetitions)
        word, more = np.unravel_index(int(evidence.argmax()), evidence.shape)
        if not evidence[word, more] > margin:
            break
        repetitions[word] += 1 if more else -1
    skipped = [number for number, count in enumerate(repetitions) if not count]
    return skipped, [number for number, count in enumerate(repetitions) if count > 1]


def reading_evidence(
    emissions: Emissions, words: Sequence[str], repetitions: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Gain in log-likelihood, in nats, without each word and with each word once more: (words, 2).

    Args:
        emissions: of the speech.
        words: of the text.
        repetitions: assumed number of times that each word is spoken, 1 by default. Only words spoken once are tried
            without, and only words spoken once or twice are tried once more; the rest have -inf.

    Raises:
        AlignmentError: if the vocabulary spells no word, or the text is too long for the speech.
    """
    column = columns_of(emissions)
    counts = [1] * len(words) if repetitions is None else list(repetitions)
    spelled = [[column[c] for c in word if c in column] for word in words]
    if not any(spelled):
        raise AlignmentError("the recogniser cannot spell the text")
    space = column.get(" ")

    def tokens(changed: int = -1, by: int = 0) -> list[int]:
        columns: list[int] = []
        for number, characters in enumerate(spelled):
            for _ in range(counts[number] + (by if number == changed else 0) if characters else 0):
                columns += ([space] if columns and space is not None else []) + characters
        return columns

    changes = [
        (number, adds)
        for number, characters in enumerate(spelled)
        for adds in (False, True)
        if characters and (1 <= counts[number] < MAX_REPETITIONS if adds else counts[number] == 1)
    ]
    variants = [tokens(), *(tokens(number, 1 if adds else -1) for number, adds in changes)]
    likelihoods = ctc_log_likelihoods(emissions, variants)
    if not np.isfinite(likelihoods[0]):
        raise AlignmentError(f"{len(tokens())} characters do not fit in {len(emissions.log_probs)} frames")
    evidence = np.full((len(words), 2), -np.inf)  # also for words that the vocabulary cannot spell
    for (number, adds), likelihood in zip(changes, likelihoods[1:], strict=True):
        evidence[number, int(adds)] = likelihood - likelihoods[0]
    return evidence


def ctc_log_likelihoods(emissions: Emissions, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Log-likelihood in nats of each text, given as columns of the emissions; -inf if it does not fit in the frames."""
    import torch

    log_probs: Any = torch.from_numpy(np.asarray(emissions.log_probs, np.float32))
    likelihoods = []
    for begin in range(0, len(texts), BATCH_TEXTS):
        batch = texts[begin : begin + BATCH_TEXTS]
        lengths = torch.tensor([len(text) for text in batch])
        padded = torch.zeros(len(batch), max(1, int(lengths.max())), dtype=torch.long)
        for row, text in zip(padded, batch, strict=True):
            row[: len(text)] = torch.tensor(text, dtype=torch.long)
        losses = torch.nn.functional.ctc_loss(
            log_probs[:, None].expand(-1, len(batch), -1),
            padded,
            torch.full((len(batch),), len(log_probs)),
            lengths,
            blank=emissions.blank,
            reduction="none",
        )
        likelihoods.append(-losses.double().numpy())
    return np.concatenate(likelihoods)
