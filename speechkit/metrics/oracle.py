"""Oracle word error rate of n-best lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.metrics.error_rates import Normalizing, WordScorer
from speechkit.text import get_normalizer


class OracleRate(msgspec.Struct, frozen=True):
    """The oracle over the first hypotheses of each list.

    Attributes:
        hypotheses: N, the number considered of each list.
        errors: fewest errors among these, summed over utterances.
        words: of the references.
        rate: errors over words; never rises with N.
        texts: mean number of distinct texts per list, after normalisation.
    """

    hypotheses: int
    errors: int
    words: int
    rate: float
    texts: float


def oracle_error_rates(
    references: Mapping[str, str], lists: Mapping[str, Sequence[str]], normalizer: str | Normalizing = "simple"
) -> list[OracleRate]:
    """The oracle word error rate over 1, 2, 4 … and all hypotheses, best first in each list.

    The sum over utterances of the fewest errors of any hypothesis, over all reference words; not a mean of rates.
    Shorter lists count as they are.

    Args:
        references: texts by id.
        lists: hypotheses by id, of the same ids.
        normalizer: of both sides.

    Raises:
        UserError: if ids differ, a list is empty, or no reference has a word.
    """
    if differing := sorted(set(references) ^ set(lists)):
        raise UserError(f"{differing[0]}: has no reference or no hypotheses; give both of every utterance")
    if empty := next((name for name, texts in lists.items() if not texts), None):
        raise UserError(f"{empty}: empty list of hypotheses; give at least one text")
    normal = get_normalizer(normalizer) if isinstance(normalizer, str) else normalizer
    names, longest = list(references), max(map(len, lists.values()))
    scorer = WordScorer(names, references.values(), normalizer=normal)
    errors = np.empty((longest, len(names)), np.int64)
    words = 0
    for rank in range(longest):
        # Shorter lists repeat their last text, which does not change the minimum.
        texts = {name: lists[name][min(rank, len(lists[name]) - 1)] for name in names}
        counts = scorer.errors(texts).utterances.counts  # hits, substitutions, deletions, insertions
        errors[rank] = counts[:, 1:].sum(1)
        words = int(counts[:, :3].sum())
    if not words:
        raise UserError("the references have no words; give texts")
    rates = []
    for size in sorted({*(2**power for power in range(longest.bit_length())), longest}):
        fewest = int(errors[:size].min(0).sum())
        different = sum(len({normal(text) for text in lists[name][:size]}) for name in names) / len(names)
        rates.append(OracleRate(size, fewest, words, fewest / words, different))
    return rates
