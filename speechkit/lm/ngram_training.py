"""Estimation of n-gram models from text, and export as ARPA or packed. Torch-free.

Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999) with discounts from the counts of counts of every
order, as in lmplz, and with lmplz's fallback discounts where these do not exist (characters, units, small corpora).
Witten-Bell smoothing (Witten and Bell 1991) on request.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from speechkit.errors import UserError
from speechkit.io.atomic import write_bytes
from speechkit.lm.ngram import BEGIN, END, UNKNOWN, NgramModel
from speechkit.lm.packed_ngrams import PackedNgrams

Smoothing = Literal["auto", "kneser-ney", "witten-bell"]
Ngram = tuple[str, ...]
NEVER_LOG10 = -99.0
"""log10 probability of ``<s>``, which is never predicted."""
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""For counts of 1, 2, and 3 or more of an order that has no discounts of its own; as ``lmplz --discount_fallback``."""


def estimate(
    sentences: Iterable[Sequence[str]], order: int = 3, smoothing: Smoothing = "auto", prune: Sequence[int] = ()
) -> tuple[NgramModel, str]:
    """Estimate an n-gram model; returns it with the smoothing that was used.

    Args:
        sentences: lists of words without ``<s>`` and ``</s>``.
        order: 1 to 6.
        smoothing: ``auto`` is Kneser-Ney with fallback discounts for orders whose own cannot be estimated.
        prune: for every order from the second on, the count up to which its n-grams are left out; the last holds for
            longer ones. Their mass goes to the shorter n-grams, so that probabilities sum to one as before.

    Raises:
        UserError: if there is no word, a word is a reserved ARPA symbol, the counts of ``prune`` fall, or Kneser-Ney is
        requested and the discounts of an order cannot be estimated.
    """
    if not 1 <= order <= 6:
        raise UserError(f"the order is {order}; choose 1 to 6")
    limits = [0, *prune, *[prune[-1] if prune else 0] * order][:order]
    if any(limit < 0 for limit in limits) or limits != sorted(limits):
        # A kept n-gram needs the shorter ones inside it.
        raise UserError(f"prune is {','.join(map(str, prune))}; give counts of 0 or more that do not fall")
    counts = _counts(sentences, order)
    if not counts[0]:
        raise UserError("there is no word to estimate a language model from; give text")
    dropped = [
        {gram for gram, count in table.items() if count <= limit} if limit else set()
        for table, limit in zip(counts, limits, strict=True)
    ]
    if smoothing == "witten-bell":
        return _witten_bell(counts, order, dropped), smoothing
    adjusted = [_left_extensions(counts, n) for n in range(order)]
    discounts = [_discounts(table) for table in adjusted]
    missing = [str(n) for n, values in enumerate(discounts, 1) if values is None]
    if missing and smoothing == "kneser-ney":
        raise UserError(
            f"Kneser-Ney discounts of order {missing[0]} cannot be estimated from the counts; give more text, a lower "
            "order, auto (with fallback discounts) or witten-bell"
        )
    used = f"kneser-ney with fallback discounts at order {', '.join(missing)}" if missing else "kneser-ney"
    return _kneser_ney(adjusted, [values or FALLBACK_DISCOUNTS for values in discounts], order, dropped), used


def _counts(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Ngram]]:
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for number, sentence in enumerate(sentences, 1):
        for word in sentence:
            if word in (BEGIN, END, UNKNOWN) or not word or len(word.split()) != 1:
                raise UserError(f"sentence {number} contains {word!r}, which is reserved or not a word; remove it")
        if not sentence:
            continue
        padded = (BEGIN, *sentence, END)
        for n in range(1, order + 1):
            # The sentence start is never predicted.
            for begin in range(int(n == 1), len(padded) - n + 1):
                counts[n - 1][padded[begin : begin + n]] += 1
    return counts


def _left_extensions(counts: list[Counter[Ngram]], n: int) -> Counter[Ngram]:
    """Continuation counts below the highest order (distinct preceding words); raw counts at the sentence start."""
    if n == len(counts) - 1:
        return counts[n]
    kinds: Counter[Ngram] = Counter()
    for longer in counts[n + 1]:
        kinds[longer[1:]] += 1
    return Counter({gram: count if gram[0] == BEGIN else kinds[gram] for gram, count in counts[n].items()})


def _discounts(table: Counter[Ngram]) -> tuple[float, float, float] | None:
    """Discounts for counts of 1, 2, and 3 or more; None where the counts of counts do not determine them."""
    of = Counter(min(count, 5) for count in table.values())
    if not all(of[count] for count in (1, 2, 3, 4)):
        return None
    y = of[1] / (of[1] + 2 * of[2])
    discounts = 1 - 2 * y * of[2] / of[1], 2 - 3 * y * of[3] / of[2], 3 - 4 * y * of[4] / of[3]
    valid = all(0 <= discount <= limit for discount, limit in zip(discounts, (1, 2, 3), strict=True))
    return discounts if valid else None


def _kneser_ney(
    tables: list[Counter[Ngram]],
    discounts: list[tuple[float, float, float]],
    order: int,
    dropped: list[set[Ngram]],
) -> NgramModel:
    def discount(n: int, count: int) -> float:
        return discounts[n][min(count, 3) - 1]

    def backoff_mass(n: int, gram_counts: list[int]) -> float:
        return sum(discount(n, count) for count in gram_counts) / sum(gram_counts)

    return _interpolated(tables, order, lambda n, c, total, kinds: (c - discount(n, c)) / total, backoff_mass, dropped)


def _witten_bell(counts: list[Counter[Ngram]], order: int, dropped: list[set[Ngram]]) -> NgramModel:
    def backoff_mass(n: int, gram_counts: list[int]) -> float:
        return len(gram_counts) / (sum(gram_counts) + len(gram_counts))

    return _interpolated(counts, order, lambda n, c, total, kinds: c / (total + kinds), backoff_mass, dropped)


def _interpolated(
    tables: list[Counter[Ngram]],
    order: int,
    own: Callable[[int, int, int, int], float],
    backoff_mass: Callable[[int, list[int]], float],
    dropped: list[set[Ngram]],
) -> NgramModel:
    """Interpolated model: the discounted probability ``own`` of each n-gram, and the back-off mass of each context.

    ``own`` takes the order minus one, the count, the context's total count and its number of distinct successors.
    ``dropped`` are n-grams of each order that are left out; their own probability is added to the back-off mass.
    """
    words = sorted({gram[0] for gram in tables[0]} | {UNKNOWN, END})
    probability: dict[Ngram, float] = {}
    weight: dict[Ngram, float] = {}
    for n in range(order):
        following: dict[Ngram, list[int]] = defaultdict(list)
        for gram, count in tables[n].items():
            following[gram[:-1]].append(count)
        sums = {context: (sum(group), len(group), backoff_mass(n, group)) for context, group in following.items()}
        if n == 0:
            total, kinds, left = sums[()]
            for word in words:
                count = tables[0].get((word,), 0)
                share = own(0, count, total, kinds) if count else 0.0
                probability[(word,)] = share + left / len(words)
            continue
        for gram in dropped[n]:
            total, kinds, left = sums[gram[:-1]]
            sums[gram[:-1]] = total, kinds, left + own(n, tables[n][gram], total, kinds)
        for gram, count in tables[n].items():
            if gram not in dropped[n]:
                total, kinds, left = sums[gram[:-1]]
                probability[gram] = own(n, count, total, kinds) + left * probability[gram[1:]]
        weight |= {context: left for context, (_, _, left) in sums.items()}

    def log10(value: float) -> float:
        return math.log10(value) if value > 0 else NEVER_LOG10

    # An n-gram that was never a context leaves all mass to the shorter one.
    entries = {" ".join(gram): (log10(value), log10(weight.get(gram, 1.0))) for gram, value in probability.items()}
    if order > 1:
        entries[BEGIN] = NEVER_LOG10, log10(weight[(BEGIN,)])
    return NgramModel(order, entries)


def write_model(model: NgramModel, path: Path) -> None:
    """Write a model as the name says: ``.safetensors``, packed; otherwise ARPA.

    Raises:
        UserError: if it cannot be packed.
    """
    if path.suffix == ".safetensors":
        PackedNgrams.pack(model.entries, model.order).write(path)
    else:
        write_arpa(model, path)


def write_arpa(model: NgramModel, path: Path | str) -> None:
    """Write a model as ARPA with sorted n-grams, compressed where the name ends in ``.gz``."""
    parts: list[list[str]] = [[] for _ in range(model.order)]
    for gram, (log10, back_off) in sorted(model.entries.items()):
        n = gram.count(" ")
        last = "" if n == model.order - 1 else f"\t{back_off:.7g}"
        parts[n].append(f"{log10:.7g}\t{gram}{last}")
    lines = ["\\data\\", *(f"ngram {n}={len(part)}" for n, part in enumerate(parts, 1)), ""]
    for n, part in enumerate(parts, 1):
        lines += [f"\\{n}-grams:", *part, ""]
    content = "\n".join([*lines, "\\end\\", ""]).encode()
    # Without a time, so that equal models are equal files.
    write_bytes(path, gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)
