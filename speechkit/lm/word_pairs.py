"""Minimal pairs for speech language models: words and non-words, grammatical and ungrammatical sentences. Torch-free.

A non-word has as many phones and stresses as its word, is in no lexicon, and matches its phone-bigram probability to
0.1 nat per phone, so that neither length nor phonotactics tells the two apart. In the sentences every word occurs as
often on the correct as on the incorrect side.

Source: Nguyen et al. 2020 (sWUGGY, sBLIMP), whose sets these resemble but do not reproduce.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speechkit.errors import UserError

Phones = tuple[str, ...]
BEGIN, END = "<", ">"
STRESSES = ("'", ",")
MAX_DIFFERENCE = 0.1
"""Maximum difference between the bigram scores of a word and its non-word, nats per phone."""
CANDIDATES = 60_000
"""Phone strings sampled as candidate non-words."""
NOUNS = (
    "boy", "girl", "horse", "bird", "house", "tree", "king", "queen", "soldier", "teacher", "river", "ship", "letter",
    "picture", "doctor", "farmer", "brother", "sister", "window", "garden",
)  # fmt: skip
VERBS = (
    ("sees", "see"), ("knows", "know"), ("finds", "find"), ("stands", "stand"), ("looks", "look"), ("comes", "come"),
    ("seems", "seem"), ("waits", "wait"),
)  # fmt: skip
PLACES = ("near the door", "in the wood", "by the sea", "on the hill")
MEN, WOMEN = ("man", "boy", "king", "father", "brother"), ("woman", "girl", "queen", "mother", "sister")
KNOWING = ("saw", "knew", "asked", "told", "found")


@dataclass(frozen=True)
class Pair:
    """Two texts, the first of which is correct.

    Attributes:
        name: of the pair.
        kind: category of the contrast.
        texts: correct and incorrect.
        phones: of each; empty where not yet known.
    """

    name: str
    kind: str
    texts: tuple[str, str]
    phones: tuple[Phones, Phones] = ((), ())


class PhoneBigram:
    """Phone bigram over word types, with add-half smoothing."""

    def __init__(self, words: Iterable[Phones]):
        self._pairs: Counter[tuple[str, str]] = Counter()
        for phones in words:
            self._pairs.update(zip((BEGIN, *phones), (*phones, END), strict=True))
        self._before: Counter[str] = Counter()
        for (before, _), count in self._pairs.items():
            self._before[before] += count
        self._kinds = len({after for _, after in self._pairs})

    def nats(self, phones: Phones) -> float:
        """Mean cost per phone of a word in nats, its end included."""
        pairs = list(zip((BEGIN, *phones), (*phones, END), strict=True))
        costs = (
            math.log((self._before[before] + self._kinds / 2) / (self._pairs[before, after] + 0.5))
            for before, after in pairs
        )
        return sum(costs) / len(pairs)


def _sample_strings(words: Iterable[Phones], random: np.random.Generator, number: int) -> set[Phones]:
    """Phone strings sampled from a phone trigram of words."""
    following: dict[tuple[str, str], list[str]] = defaultdict(list)
    for phones in words:
        padded = (BEGIN, BEGIN, *phones, END)
        for first, second, third in zip(padded, padded[1:], padded[2:], strict=False):
            following[first, second].append(third)
    strings = set()
    longest = 16
    for values in random.random((number, longest)).tolist():
        string = [BEGIN, BEGIN]
        for value in values:
            choices = following[string[-2], string[-1]]
            string.append(choices[int(value * len(choices))])
            if string[-1] == END:
                strings.add(tuple(string[2:-1]))
                break
    return strings


def _shape(phones: Phones) -> tuple[int, ...]:
    return len(phones), *(sum(phone.startswith(mark) for phone in phones) for mark in STRESSES)


def word_pairs(
    counts: Mapping[str, int],
    lexicon: Mapping[str, Phones],
    number: int,
    random: np.random.Generator,
    *,
    least_count: int = 2,
    lengths: tuple[int, int] = (4, 10),
    candidates: int = CANDIDATES,
) -> list[Pair]:
    """Pairs of a frequent training word and a matched non-word; words without a match are skipped.

    Args:
        counts: word counts in the training transcripts.
        lexicon: phones of all known words.
        number: maximum number of pairs.
        random: generator of all randomness.
        least_count: minimum count of a word.
        lengths: minimum and maximum number of phones.
        candidates: number of phone strings sampled as candidate non-words.

    Raises:
        UserError: if no word is frequent enough.
    """
    chosen = sorted(
        word
        for word, phones in lexicon.items()
        if counts.get(word, 0) >= least_count and lengths[0] <= len(phones) <= lengths[1]
    )
    if not chosen:
        raise UserError(
            f"no word of {lengths[0]} to {lengths[1]} phones occurs {least_count} times in the training transcripts; "
            "give more text"
        )
    bigram = PhoneBigram(lexicon.values())
    known = set(lexicon.values())
    by_shape: dict[tuple[int, ...], list[tuple[float, Phones]]] = defaultdict(list)
    for phones in sorted(_sample_strings(lexicon.values(), random, candidates) - known):
        by_shape[_shape(phones)].append((bigram.nats(phones), phones))
    pairs: list[Pair] = []
    taken: set[Phones] = set()
    for index in random.permutation(len(chosen)).tolist():
        word = chosen[index]
        phones, nats = lexicon[word], bigram.nats(lexicon[word])
        if phones in taken:
            continue  # homophone of an existing word
        matches = [
            string
            for cost, string in by_shape[_shape(phones)]
            if abs(cost - nats) <= MAX_DIFFERENCE and string not in taken
        ]
        if not matches:
            continue
        other = matches[int(random.integers(len(matches)))]
        taken |= {phones, other}
        texts = spoken_phones(phones), spoken_phones(other)
        pairs.append(Pair(word, _band(counts[word]), texts, (phones, other)))
        if len(pairs) == number:
            break
    return pairs


def _band(count: int) -> str:
    """Frequency band, as in the published set."""
    return next((f"{low}-{high}" for low, high in ((1, 5), (6, 20), (21, 100)) if count <= high), ">100")


def spoken_phones(phones: Sequence[str]) -> str:
    """Phones in the notation that espeak-ng reads from a text."""
    return f"[[{'|'.join(phones)}|]]"


def grammar_pairs(number: int, random: np.random.Generator) -> list[Pair]:
    """At most ``number`` sentence pairs, in groups of two whose correct and incorrect sides have the same words."""
    groups = {
        "agreement": [
            (f"{noun}-{one}", f"the {noun} {place}", f"the {noun}s {place}", one, many)
            for noun in NOUNS
            for (one, many), place in zip(VERBS, PLACES * len(VERBS), strict=False)
        ],
        "determiner": [
            (f"{noun}-{verb}", f"they {verb} this", f"they {verb} these", noun, f"{noun}s")
            for noun in NOUNS
            for verb in KNOWING
        ],
        "reflexive": [
            (f"{man}-{woman}-{verb}", f"the {man} {verb}", f"the {woman} {verb}", "himself", "herself")
            for man in MEN
            for woman in WOMEN
            for verb in KNOWING
        ],
    }
    shuffled = [
        [(kind, *items[index]) for index in random.permutation(len(items)).tolist()] for kind, items in groups.items()
    ]
    pairs: list[Pair] = []
    for row in zip(*shuffled, strict=False):
        for kind, name, first, second, of_first, of_second in row:
            if len(pairs) + 2 > number:
                return pairs
            pairs += [
                Pair(f"{name}-1", kind, (f"{first} {of_first}", f"{first} {of_second}")),
                Pair(f"{name}-2", kind, (f"{second} {of_second}", f"{second} {of_first}")),
            ]
    return pairs
