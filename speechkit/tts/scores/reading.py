"""Words of a text that speech skips or says twice, by the CTC alignment of the text and of what it may have become.

For each word the probability of the text without it, and with it once more, stands against that of the text as it is.
All ways to align count, so that no path decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.alignment import columns_of
from speechkit.asr.hypothesis import Emissions
from speechkit.errors import AlignmentError

MOST_TIMES = 3
"""How often a word is thought to be said at most."""
MOST_AT_ONCE = 64
"""Texts that are aligned together; memory is this many times the emissions."""


def misreadings(emissions: Emissions, words: Sequence[str], margin: float) -> tuple[list[int], list[int]]:
    """The numbers of the words that are skipped, and of those that are said more than once.

    The change of the text that makes the speech likeliest is taken, then the next, until none is worth ``margin`` nats:
    beside a word that is said twice its neighbours, too, would rather be twice than not.

    Raises:
        AlignmentError: as `reading_evidence`.
    """
    times = [1] * len(words)
    while True:
        evidence = reading_evidence(emissions, words, times)
        word, more = np.unravel_index(int(evidence.argmax()), evidence.shape)
        if not evidence[word, more] > margin:
            break
        times[word] += 1 if more else -1
    return [n for n, count in enumerate(times) if not count], [n for n, count in enumerate(times) if count > 1]


def reading_evidence(
    emissions: Emissions, words: Sequence[str], times: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """By how many nats the speech is likelier without each word, and with each word once more: (words, 2).

    Args:
        emissions: of the speech.
        words: of the text.
        times: how often each is said, once unless given. A word that is not, or is more than once, is not taken away;
            one that is not, or is three times, is not added.

    Raises:
        AlignmentError: if the vocabulary spells no word, or the text is too long for the speech.
    """
    column = columns_of(emissions)
    counts = [1] * len(words) if times is None else list(times)
    spelled = [[column[c] for c in word if c in column] for word in words]
    if not any(spelled):
        raise AlignmentError("the recogniser cannot spell the text")
    space = column.get(" ")

    def tokens(changed: int = -1, by: int = 0) -> list[int]:
        found: list[int] = []
        for number, characters in enumerate(spelled):
            for _ in range(counts[number] + (by if number == changed else 0) if characters else 0):
                found += ([space] if found and space is not None else []) + characters
        return found

    changes = [
        (number, way)
        for number, characters in enumerate(spelled)
        for way in range(2)
        if characters and (1 <= counts[number] < MOST_TIMES if way else counts[number] == 1)
    ]
    likelihoods = ctc_log_likelihoods(emissions, [tokens(), *(tokens(n, 1 if way else -1) for n, way in changes)])
    if not np.isfinite(likelihoods[0]):
        raise AlignmentError(f"{len(tokens())} characters do not fit in {len(emissions.log_probs)} frames")
    evidence = np.full((len(words), 2), -np.inf)  # of a word without characters nothing is known
    for (number, way), likelihood in zip(changes, likelihoods[1:], strict=True):
        evidence[number, way] = likelihood - likelihoods[0]
    return evidence


def ctc_log_likelihoods(emissions: Emissions, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Natural logarithm of the probability of each text of columns; -inf where it does not fit in the frames."""
    import torch

    log_probs: Any = torch.from_numpy(np.asarray(emissions.log_probs, np.float32))
    likelihoods = []
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
        likelihoods.append(-losses.double().numpy())
    return np.concatenate(likelihoods)
