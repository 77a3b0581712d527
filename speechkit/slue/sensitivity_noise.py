"""A model of recognition errors, fitted on aligned pairs of reference and hypothesis, that corrupts other text.

Each reference word is mapped to the words recognised for it: itself, another word, several words, or none; inserted
words belong to the word before them. The model has

* confusions: the counts of recognised words for each misrecognised word; a word without errors in training is replaced
  by a similarly spelled word of the recogniser's output;
* rare words: error rate by the number of other occurrences in the references (0, 1, 2-3, 4-7 ...);
* bursts: the odds ratio of an error after an error and after a correct word.

`corrupt` scales the odds of an error, which gives the same kinds of errors at any word error rate.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgspec

from speechkit.errors import UserError
from speechkit.metrics.error_rates import UtteranceErrors, word_errors
from speechkit.runtime import item_seed
from speechkit.text import NormalizerSpec

BINS = 9
MIN_WORDS = 200
WORD_WEIGHT = 10.0
"""Pseudo-count, in words, of the error rate by rarity against a word's own error rate."""
TABLE_WEIGHT = 2.0
"""Pseudo-count of similarly spelled words against a word's own confusions."""
SIMILAR_WORDS = 8
SAMPLE_TEXTS = 200
BISECTION_STEPS = 14
MAX_INSERTED = 200


class NoiseModel(msgspec.Struct, frozen=True):
    """The fitted error model.

    ``counts`` are occurrences and ``wrong`` errors of each reference word; ``confusions`` the counts of its recognised
    words, with "" for a deletion. ``rarity`` is the error rate by `rarity_bin`; ``after_error`` and ``after_right`` are
    factors of the odds. ``deleted`` is the share of deletions among errors, ``insertion_rate`` the number of inserted
    words per reference word, ``inserted`` their counts, ``written`` the word counts of the hypotheses, ``wer`` the word
    error rate of the pairs.
    """

    normalizer: NormalizerSpec
    words: int
    wer: float
    counts: dict[str, int]
    wrong: dict[str, int]
    confusions: dict[str, dict[str, int]]
    rarity: list[float]
    after_error: float
    after_right: float
    deleted: float
    insertion_rate: float
    inserted: dict[str, int]
    written: dict[str, int]


def fit_noise(pairs: Mapping[str, tuple[str, str]], *, normalizer: str = "simple") -> NoiseModel:
    """Fit the error model on pairs of reference and hypothesis, by id.

    Raises:
        UserError: if the references have fewer than 200 words, or there are no errors.
    """
    result = word_errors(
        {name: pair[0] for name, pair in pairs.items()},
        {name: pair[1] for name, pair in pairs.items()},
        normalizer=normalizer,
    )
    total = result.counts.reference_tokens
    if total < MIN_WORDS:
        raise UserError(f"{total} reference words are too few to fit an error model; give at least {MIN_WORDS}")
    if not result.counts.errors:
        raise UserError("the hypotheses have no errors to fit a model on; give a recogniser's output")
    counts: Counter[str] = Counter(word for u in result.utterances for word in u.reference)
    wrong: Counter[str] = Counter()
    written: Counter[str] = Counter(word for u in result.utterances for word in u.hypothesis)
    confusions: dict[str, Counter[str]] = defaultdict(Counter)
    inserted: Counter[str] = Counter()
    bins = [[0, 0] for _ in range(BINS)]
    follows = {False: [0, 0], True: [0, 0]}  # by whether the previous word was wrong: [words, wrong]
    deletions = insertions = 0
    for utterance in result.utterances:
        before: bool | None = None
        for word, recognised, extra in word_outcomes(utterance):
            is_wrong = recognised != word
            bins[rarity_bin(counts[word] - 1)][0] += 1
            bins[rarity_bin(counts[word] - 1)][1] += is_wrong
            if before is not None:
                follows[before][0] += 1
                follows[before][1] += is_wrong
            if is_wrong:
                wrong[word] += 1
                confusions[word][recognised] += 1
                deletions += not recognised
            insertions += len(extra)
            inserted.update(extra)
            before = is_wrong
    errors = sum(wrong.values())
    base = _odds(errors / total)
    return NoiseModel(
        normalizer=result.normalizer,
        words=total,
        wer=result.rate,
        counts=dict(counts),
        wrong=dict(wrong),
        confusions={word: dict(table) for word, table in confusions.items()},
        rarity=_smoothed(bins, errors / total),
        after_error=_odds(_share(follows[True], errors / total)) / base if base else 1.0,
        after_right=_odds(_share(follows[False], errors / total)) / base if base else 1.0,
        deleted=deletions / errors if errors else 0.0,
        insertion_rate=insertions / total,
        inserted=dict(inserted.most_common(MAX_INSERTED)),
        written=dict(written),
    )


def word_outcomes(utterance: UtteranceErrors) -> Iterator[tuple[str, str, list[str]]]:
    """Each reference word, the words recognised for it ("" if deleted), and the words inserted after it.

    In a run of errors each recognised word belongs to the reference word whose letters contain its middle. Words
    inserted before the first reference word are ignored.
    """
    reference, hypothesis = utterance.reference, utterance.hypothesis
    recognised: list[list[str]] = [[] for _ in reference]
    extra: list[list[str]] = [[] for _ in reference]
    for left, right, equal in _runs(utterance):
        if equal:
            for offset in range(left.stop - left.start):
                recognised[left.start + offset] = [hypothesis[right.start + offset]]
        elif not len(left):
            if left.start:
                extra[left.start - 1] += hypothesis[right.start : right.stop]
        else:
            for owner, word in _owners(reference[left.start : left.stop], hypothesis[right.start : right.stop]):
                recognised[left.start + owner].append(word)
    for word, parts, inserted in zip(reference, recognised, extra, strict=True):
        yield word, " ".join(parts), inserted


def _runs(utterance: UtteranceErrors) -> Iterator[tuple[range, range, bool]]:
    """Alternating runs of equal words and of errors, as ranges of reference and hypothesis."""
    begin: tuple[int, int] | None = None
    end = (0, 0)
    for o in utterance.operations:
        if o.kind == "equal":
            if begin is not None:
                yield range(begin[0], end[0]), range(begin[1], end[1]), False
                begin = None
            yield range(o.reference_begin, o.reference_end), range(o.hypothesis_begin, o.hypothesis_end), True
        elif begin is None:
            begin = (o.reference_begin, o.hypothesis_begin)
        end = (o.reference_end, o.hypothesis_end)
    if begin is not None:
        yield range(begin[0], end[0]), range(begin[1], end[1]), False


def _owners(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[tuple[int, str]]:
    if len(reference) == len(hypothesis):
        yield from enumerate(hypothesis)
        return
    reference_letters, hypothesis_letters = sum(map(len, reference)), sum(map(len, hypothesis))
    edges = [0]
    for word in reference:
        edges.append(edges[-1] + len(word))
    position = 0
    for word in hypothesis:
        middle = (position + len(word) / 2) / hypothesis_letters * reference_letters
        yield min(sum(edge <= middle for edge in edges) - 1, len(reference) - 1), word
        position += len(word)


def rarity_bin(count: int) -> int:
    """Bin of a word by its number of other occurrences: 0 for none, then by powers of two."""
    return min(BINS - 1, count.bit_length())


def _smoothed(bins: Sequence[Sequence[int]], overall: float) -> list[float]:
    return [_share(counts, overall) for counts in bins]


def _share(counts: Sequence[int], overall: float) -> float:
    """Error rate of the counts (words, wrong words), smoothed towards the overall rate."""
    return (counts[1] + 5 * overall) / (counts[0] + 5)


def _odds(p: float) -> float:
    return p / max(1e-9, 1 - p)


class Noise:
    """Corrupts text with a fitted error model; ``words`` are further candidates for replacement."""

    def __init__(self, model: NoiseModel, words: Mapping[str, int] | None = None) -> None:
        from speechkit.text import get_normalizer

        self.model = model
        self.normalize = get_normalizer(model.normalizer.name)
        self._known: dict[str, list[tuple[str, list[str]]]] = {}
        self._near: dict[str, tuple[list[str], list[float]]] = {}
        self._lexicon = sorted({*model.written, *(words or {})})

    def corrupt(self, text: str, scale: float, seed: int) -> str:
        """The text with simulated recognition errors; ``scale`` multiplies the odds of an error.

        Correct tokens keep their written form; replacements are normalised words.
        """
        return " ".join(self._corrupt(text, scale, seed)[0])

    def _corrupt(self, text: str, scale: float, seed: int) -> tuple[list[str], list[str]]:
        """Corrupted tokens in written form, and normalised."""
        draw = random.Random(seed)
        shown: list[str] = []
        plain: list[str] = []
        before: bool | None = None
        inserted = self._inserted
        rate = min(0.5, self.model.insertion_rate * scale)
        for token, words in self._tokens(text):
            recognised: list[str] = []
            extra: list[str] = []
            changed = False
            for word in words:
                is_wrong = draw.random() < self.error_probability(word, before, scale)
                recognised += (self._replacement(word, draw) if is_wrong else word).split()
                # Insertions cluster with errors: three times as frequent after wrong words.
                if inserted[0] and draw.random() < rate * (1.5 if is_wrong else 0.5):
                    extra += draw.choices(*inserted)
                before = is_wrong
                changed = changed or is_wrong
            shown += [*(recognised if changed else [token]), *extra]
            plain += [*recognised, *extra]
        return shown, plain

    def error_probability(self, word: str, before: bool | None, scale: float) -> float:
        """Probability of an error in a word after a wrong (True) or correct (False) word, or at the start (None)."""
        m = self.model
        count = m.counts.get(word, 0)
        expected = m.rarity[rarity_bin(max(0, count - 1) if count else 0)]
        p = (m.wrong.get(word, 0) + WORD_WEIGHT * expected) / (count + WORD_WEIGHT)
        factor = 1.0 if before is None else m.after_error if before else m.after_right
        odds = _odds(p) * factor * scale
        return odds / (1 + odds)

    def scale_for(self, texts: Sequence[str], wer: float, seed: int = 0) -> float:
        """The scale that gives a sample of the texts a word error rate (a fraction), by bisection.

        Raises:
            UserError: if the rate is not in (0, 0.95], or there is no text.
        """
        if not 0 < wer <= 0.95:
            raise UserError(f"a word error rate of {100 * wer:g} % is out of range; give more than 0 and at most 95")
        if not any(text.strip() for text in texts):
            raise UserError("there is no text to corrupt; the split is empty")
        order = sorted(range(len(texts)), key=lambda index: item_seed(seed, str(index)))[:SAMPLE_TEXTS]
        sample = [texts[index] for index in order]
        low, high = math.log(1e-4), math.log(1e4)
        for _ in range(BISECTION_STEPS):
            middle = (low + high) / 2
            if self._wer(sample, math.exp(middle), seed) < wer:
                low = middle
            else:
                high = middle
        return math.exp((low + high) / 2)

    def _wer(self, texts: Sequence[str], scale: float, seed: int) -> float:
        references = [" ".join(word for _, words in self._tokens(text) for word in words) for text in texts]
        hypotheses = [
            " ".join(self._corrupt(text, scale, item_seed(seed, str(index)))[1]) for index, text in enumerate(texts)
        ]
        # Both sides are already normalised.
        return word_errors(references, hypotheses).rate

    def _tokens(self, text: str) -> list[tuple[str, list[str]]]:
        """Tokens of a text with their normalised words; cached, since a text is corrupted many times."""
        tokens = self._known.get(text)
        if tokens is None:
            tokens = self._known[text] = [(token, self.normalize(token).split()) for token in text.split()]
        return tokens

    @cached_property
    def _inserted(self) -> tuple[list[str], list[int]]:
        return list(self.model.inserted), list(self.model.inserted.values())

    def _replacement(self, word: str, draw: random.Random) -> str:
        table = self.model.confusions.get(word, {})
        known = sum(table.values())
        if draw.random() * (known + TABLE_WEIGHT) < known:
            return draw.choices(list(table), list(table.values()))[0]
        if draw.random() < self.model.deleted:
            return ""
        near, weights = self._similar_words(word)
        return draw.choices(near, weights)[0] if near else ""

    def _similar_words(self, word: str) -> tuple[list[str], list[float]]:
        """Similarly spelled words of the lexicon, weighted by similarity."""
        if word not in self._near:
            from rapidfuzz import process
            from rapidfuzz.distance import Levenshtein

            matches = process.extract(
                word, self._lexicon, scorer=Levenshtein.normalized_similarity, limit=SIMILAR_WORDS + 1
            )
            near = [(other, math.exp(5 * similarity)) for other, similarity, _ in matches if other != word]
            near = near[:SIMILAR_WORDS]
            self._near[word] = [other for other, _ in near], [weight for _, weight in near]
        return self._near[word]
