"""Prefix beam search over CTC emissions, with an n-gram model of words or of characters.

Paths with the same text are summed (Hannun et al. 2014). A word is scored by the language model when it ends, so
a text's score is: log P(text | audio) + weight * log P(text) + bonus * words. Torch-free.

For diverse n-best lists the beam can be split into groups that are penalised for one another's symbols, as in diverse
beam search (Vijayakumar et al. 2018). There a step is a token; here groups advance by frames, and the penalty is for a
symbol at the same position of the text, so that emitting it a frame later does not avoid the penalty.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.lm.ngram import END, SPACE, NgramModel, State
from speechkit.lm.text_scorer import TextScorer

LOG_ZERO = -math.inf
PENALISED_SYMBOLS = 4
"""Number of last symbols that are penalised in later groups; groups rarely differ further back."""


@dataclass(frozen=True)
class BeamConfig:
    """Beam width and language model weights.

    ``symbol_floor``: symbols below this log-probability in a frame are not expanded there, except the best.
    ``beam_floor``: hypotheses worse than the best by this much are pruned.
    ``groups``: number of groups of the beam; 1 for plain beam search.
    ``diversity``: penalty in nats per hypothesis of an earlier group with the same symbol at the same position.
    """

    beam: int = 32
    weight: float = 0.5
    bonus: float = 0.5
    symbol_floor: float = -8.0
    beam_floor: float = 14.0
    groups: int = 1
    diversity: float = 0.5

    def __post_init__(self) -> None:
        if self.groups < 1 or self.beam % self.groups:
            raise UserError(f"a beam of {self.beam} does not divide into {self.groups} groups; choose a multiple")


@dataclass(frozen=True)
class BeamText:
    """A hypothesis with its total, acoustic and unweighted language model scores."""

    text: str
    score: float
    sound: float
    language: float


class _Prefix:
    """A partial hypothesis: completed words, the current word, and its language model score."""

    __slots__ = ("children", "cost", "language", "parent", "position", "state", "symbol", "word", "words")

    def __init__(self, parent: _Prefix | None, symbol: str, word: str, state: State, language: float, words: int):
        self.position: int = 0 if parent is None else parent.position + 1
        self.cost: float = 0.0 if parent is None else parent.cost
        self.parent, self.symbol, self.word = parent, symbol, word
        self.state, self.language, self.words = state, language, words
        self.children: dict[str, _Prefix] = {}

    def text(self) -> str:
        """The whole text."""
        parts: list[str] = []
        prefix: _Prefix | None = self
        while prefix is not None:
            parts.append(prefix.symbol)
            prefix = prefix.parent
        return "".join(reversed(parts))

    def last_symbols(self) -> list[tuple[int, str]]:
        """Its last symbols with their positions in the text."""
        symbols: list[tuple[int, str]] = []
        prefix: _Prefix | None = self
        while prefix is not None and prefix.position and len(symbols) < PENALISED_SYMBOLS:
            symbols.append((prefix.position, prefix.symbol))
            prefix = prefix.parent
        return symbols


def _add(first: float, second: float) -> float:
    """log(exp(first) + exp(second))."""
    if first < second:
        first, second = second, first
    return first if second == LOG_ZERO else first + math.log1p(math.exp(second - first))


def beam_search(
    log_probs: NDArray[np.floating[Any]],
    vocabulary: Sequence[str],
    *,
    blank: int = 0,
    silent: frozenset[int] = frozenset(),
    model: NgramModel | None = None,
    config: BeamConfig = BeamConfig(),
    best: int = 1,
) -> list[BeamText]:
    """The ``best`` most probable texts, in descending order.

    Spaces at the ends and repeated spaces are removed, as in greedy decoding.

    Args:
        log_probs: (T, V) natural logarithms.
        vocabulary: V symbols; the word separator is " ".
        blank: the CTC blank.
        silent: symbols without text.
        model: n-gram model of words, or of characters if all its words are single characters.
        config: width and weights.
        best: number of texts.
    """
    spells = model is not None and model.spells
    # Log-probability of the paths that end in a blank, and of those that end in the prefix's last symbol.
    groups: list[dict[_Prefix, list[float]]] = [
        {_Prefix(None, "", "", model.begin() if model is not None else (), 0.0, 0): [0.0, LOG_ZERO]}
        for _ in range(config.groups)
    ]
    taken: Counter[tuple[int, str]] = Counter()  # symbols by position in hypotheses of earlier groups

    def value(item: tuple[_Prefix, list[float]]) -> float:
        prefix, (ends_blank, ends_symbol) = item
        return (
            _add(ends_blank, ends_symbol) + config.weight * prefix.language + config.bonus * prefix.words - prefix.cost
        )

    def extended(prefix: _Prefix, symbol: str) -> _Prefix:
        child = prefix.children.get(symbol)
        if child is None:
            state, language, words = prefix.state, prefix.language, prefix.words
            if symbol == " ":
                words += 1
            if model is not None and (spells or symbol == " "):
                word_score, state = model.score(state, (SPACE if symbol == " " else symbol) if spells else prefix.word)
                language += word_score
            child = _Prefix(prefix, symbol, "" if symbol == " " else prefix.word + symbol, state, language, words)
            prefix.children[symbol] = child
            child.cost += config.diversity * taken[child.position, symbol]
        return child

    def followed(beams: dict[_Prefix, list[float]], frame: NDArray[np.float64]) -> dict[_Prefix, list[float]]:
        candidates = np.flatnonzero(frame >= config.symbol_floor).tolist() or [int(frame.argmax())]
        following: dict[_Prefix, list[float]] = {}
        for prefix, (ends_blank, ends_symbol) in beams.items():
            total = _add(ends_blank, ends_symbol)
            for index in candidates:
                symbol_score = float(frame[index])
                if index == blank or index in silent:
                    slot = following.setdefault(prefix, [LOG_ZERO, LOG_ZERO])
                    slot[0] = _add(slot[0], total + symbol_score)
                    continue
                symbol = vocabulary[index]
                if symbol == prefix.symbol:
                    slot = following.setdefault(prefix, [LOG_ZERO, LOG_ZERO])
                    # Repeated spaces are one, with or without a CTC blank between them.
                    slot[1] = _add(slot[1], (total if symbol == " " else ends_symbol) + symbol_score)
                    if symbol == " ":
                        continue
                    previous = ends_blank
                elif symbol == " " and prefix.parent is None:
                    slot = following.setdefault(prefix, [LOG_ZERO, LOG_ZERO])
                    slot[0] = _add(slot[0], total + symbol_score)
                    continue
                else:
                    previous = total
                if previous == LOG_ZERO:
                    continue
                slot = following.setdefault(extended(prefix, symbol), [LOG_ZERO, LOG_ZERO])
                slot[1] = _add(slot[1], previous + symbol_score)
        ranked = sorted(following.items(), key=value, reverse=True)[: config.beam // config.groups]
        threshold = value(ranked[0]) - config.beam_floor
        return {prefix: slot for prefix, slot in ranked if value((prefix, slot)) >= threshold}

    for frame in np.asarray(log_probs, np.float64):
        taken.clear()
        for number, beams in enumerate(groups):
            groups[number] = followed(beams, frame)
            if number + 1 < len(groups):
                taken.update(symbol for prefix in groups[number] for symbol in prefix.last_symbols())
    texts: dict[str, BeamText] = {}
    for beams in groups:
        for candidate in _finished(beams, model, spells, config):
            # Each group sums only the paths in its beam; the larger sum is the better estimate.
            if candidate.text not in texts or candidate.score > texts[candidate.text].score:
                texts[candidate.text] = candidate
    return sorted(texts.values(), key=lambda candidate: (-candidate.score, candidate.text))[:best]


def rescore(texts: Sequence[BeamText], language: TextScorer, *, weight: float, bonus: float = 0.0) -> list[BeamText]:
    """Rescore and sort hypotheses with another language model (natural log-probability of a text)."""
    rescored = []
    for candidate in texts:
        language_score = language(candidate.text)
        score = candidate.sound + weight * language_score + bonus * len(candidate.text.split())
        rescored.append(BeamText(candidate.text, score, candidate.sound, language_score))
    return sorted(rescored, key=lambda candidate: (-candidate.score, candidate.text))


def _finished(
    beams: dict[_Prefix, list[float]], model: NgramModel | None, spells: bool, config: BeamConfig
) -> list[BeamText]:
    """Complete the last word and the sentence; prefixes with and without a final space are merged."""
    sounds: dict[_Prefix, float] = {}
    for prefix, (ends_blank, ends_symbol) in beams.items():
        closed = prefix.parent if prefix.symbol == " " and prefix.parent is not None else prefix
        sounds[closed] = _add(sounds.get(closed, LOG_ZERO), _add(ends_blank, ends_symbol))
    texts = []
    for prefix, sound in sounds.items():
        language, state, words = prefix.language, prefix.state, prefix.words + bool(prefix.word)
        if model is not None:
            if prefix.word and not spells:
                word_score, state = model.score(state, prefix.word)
                language += word_score
            language += model.score(state, END)[0]
        score = sound + config.weight * language + config.bonus * words
        texts.append(BeamText(prefix.text(), score, sound, language))
    return sorted(texts, key=lambda candidate: (-candidate.score, candidate.text))
