"""Recognition errors as a model that is fitted on aligned pairs of reference and hypothesis, and put on other text.

Every reference word becomes what was recognised in its place: itself, another word, several, or nothing; words that
were inserted hang on the word before them. What the model knows:

* confusions: what each word became when it went wrong; a word that was never seen wrong becomes one that is spelled
  alike, from the words that the recogniser wrote;
* rare words: how often words go wrong by how often they occur among the other references (0, 1, 2-3, 4-7 ...);
* bursts: how much likelier an error is after an error than after a word that was right.

`corrupt` scales the odds of an error, so that the same kinds of errors come at any word error rate.
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
"""So many words' worth does the rate of its rarity count beside a word's own."""
TABLE_WEIGHT = 2.0
"""So many confusions' worth does spelling count beside a word's own confusions."""
ALIKE = 8
SAMPLE = 200
STEPS = 14
MAX_INSERTED = 200


class NoiseModel(msgspec.Struct, frozen=True):
    """What `fit_noise` counted.

    ``confusions``: word to what it became, with counts; "" is a deletion. ``counts``: reference words. ``wrong``: how
    often each of them went wrong. ``rarity``: error rate by `rarity_bin`. ``after_error`` and ``after_right``: factors
    of the odds. ``deleted``: share of errors that are deletions. ``insertions``: inserted words a reference word, and
    which. ``written``: words of the hypotheses. ``wer``: of the pairs.
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
    """Fit on reference and hypothesis by id.

    Raises:
        UserError: if the references hold fewer than 200 words, or nothing went wrong.
    """
    result = word_errors(
        {name: pair[0] for name, pair in pairs.items()},
        {name: pair[1] for name, pair in pairs.items()},
        normalizer=normalizer,
    )
    total = result.counts.reference_tokens
    if total < MIN_WORDS:
        raise UserError(f"the noise is to be fitted on {total} reference words; give pairs with {MIN_WORDS} or more")
    if not result.counts.errors:
        raise UserError("the pairs hold no error to learn from; give a recogniser's output")
    counts: Counter[str] = Counter(word for u in result.utterances for word in u.reference)
    wrong: Counter[str] = Counter()
    written: Counter[str] = Counter(word for u in result.utterances for word in u.hypothesis)
    confusions: dict[str, Counter[str]] = defaultdict(Counter)
    inserted: Counter[str] = Counter()
    bins = [[0, 0] for _ in range(BINS)]
    follows = {False: [0, 0], True: [0, 0]}  # was the word before wrong: [words, wrong]
    deletions = insertions = 0
    for utterance in result.utterances:
        before: bool | None = None
        for word, became, extra in outcomes(utterance):
            is_wrong = became != word
            bins[rarity_bin(counts[word] - 1)][0] += 1
            bins[rarity_bin(counts[word] - 1)][1] += is_wrong
            if before is not None:
                follows[before][0] += 1
                follows[before][1] += is_wrong
            if is_wrong:
                wrong[word] += 1
                confusions[word][became] += 1
                deletions += not became
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
        confusions={word: dict(found) for word, found in confusions.items()},
        rarity=_smoothed(bins, errors / total),
        after_error=_odds(_share(follows[True], errors / total)) / base if base else 1.0,
        after_right=_odds(_share(follows[False], errors / total)) / base if base else 1.0,
        deleted=deletions / errors if errors else 0.0,
        insertion_rate=insertions / total,
        inserted=dict(inserted.most_common(MAX_INSERTED)),
        written=dict(written),
    )


def outcomes(utterance: UtteranceErrors) -> Iterator[tuple[str, str, list[str]]]:
    """Each reference word, what it became ("" where deleted), and words that were inserted after it.

    In a stretch of errors each recognised word belongs to the reference word in whose letters its middle falls.
    Words inserted before the first reference word are left out.
    """
    reference, hypothesis = utterance.reference, utterance.hypothesis
    became: list[list[str]] = [[] for _ in reference]
    extra: list[list[str]] = [[] for _ in reference]
    for left, right, equal in _stretches(utterance):
        if equal:
            for offset in range(left.stop - left.start):
                became[left.start + offset] = [hypothesis[right.start + offset]]
        elif not len(left):
            if left.start:
                extra[left.start - 1] += hypothesis[right.start : right.stop]
        else:
            for owner, word in _owners(reference[left.start : left.stop], hypothesis[right.start : right.stop]):
                became[left.start + owner].append(word)
    for word, parts, more in zip(reference, became, extra, strict=True):
        yield word, " ".join(parts), more


def _stretches(utterance: UtteranceErrors) -> Iterator[tuple[range, range, bool]]:
    """Runs of equal words, and runs of everything between them."""
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
    said, heard = sum(map(len, reference)), sum(map(len, hypothesis))
    edges = [0]
    for word in reference:
        edges.append(edges[-1] + len(word))
    at = 0
    for word in hypothesis:
        middle = (at + len(word) / 2) / heard * said
        yield min(sum(edge <= middle for edge in edges) - 1, len(reference) - 1), word
        at += len(word)


def rarity_bin(count: int) -> int:
    """0 for a word that occurs nowhere else, then by powers of two."""
    return min(BINS - 1, count.bit_length())


def _smoothed(bins: Sequence[Sequence[int]], overall: float) -> list[float]:
    return [_share(counts, overall) for counts in bins]


def _share(counts: Sequence[int], overall: float) -> float:
    """Wrong words of (words, wrong words), drawn to the overall rate where there are few."""
    return (counts[1] + 5 * overall) / (counts[0] + 5)


def _odds(p: float) -> float:
    return p / max(1e-9, 1 - p)


class Noise:
    """A fitted model that corrupts text; ``words`` are further words that misheard ones may become."""

    def __init__(self, model: NoiseModel, words: Mapping[str, int] | None = None) -> None:
        from speechkit.text import get_normalizer

        self.model = model
        self.normalize = get_normalizer(model.normalizer.name)
        self._known: dict[str, list[tuple[str, list[str]]]] = {}
        self._near: dict[str, tuple[list[str], list[float]]] = {}
        self._lexicon = sorted({*model.written, *(words or {})})

    def corrupt(self, text: str, scale: float, seed: int) -> str:
        """The text as it might be recognised; ``scale`` multiplies the odds of an error.

        Tokens that stay right keep the form that they have; what becomes of others is normalised.
        """
        return " ".join(self._corrupted(text, scale, seed)[0])

    def _corrupted(self, text: str, scale: float, seed: int) -> tuple[list[str], list[str]]:
        """Tokens in the form that they have, and the same words normalised."""
        draw = random.Random(seed)
        shown: list[str] = []
        plain: list[str] = []
        before: bool | None = None
        inserted = self._inserted
        rate = min(0.5, self.model.insertion_rate * scale)
        for token, words in self._tokens(text):
            heard: list[str] = []
            extra: list[str] = []
            changed = False
            for word in words:
                is_wrong = draw.random() < self.error_probability(word, before, scale)
                heard += (self._misheard(word, draw) if is_wrong else word).split()
                # Insertions come where errors are: beside wrong words three times as often.
                if inserted[0] and draw.random() < rate * (1.5 if is_wrong else 0.5):
                    extra += draw.choices(*inserted)
                before = is_wrong
                changed = changed or is_wrong
            shown += [*(heard if changed else [token]), *extra]
            plain += [*heard, *extra]
        return shown, plain

    def error_probability(self, word: str, before: bool | None, scale: float) -> float:
        """Probability that a word goes wrong after one that did (True), did not, or at the beginning (None)."""
        m = self.model
        count = m.counts.get(word, 0)
        expected = m.rarity[rarity_bin(max(0, count - 1) if count else 0)]
        p = (m.wrong.get(word, 0) + WORD_WEIGHT * expected) / (count + WORD_WEIGHT)
        factor = 1.0 if before is None else m.after_error if before else m.after_right
        odds = _odds(p) * factor * scale
        return odds / (1 + odds)

    def scale_for(self, texts: Sequence[str], wer: float, seed: int = 0) -> float:
        """The scale at which a sample of the texts gets a word error rate (0.2 is 20 %).

        Raises:
            UserError: if it is not between 0 and 0.95, or there is no text.
        """
        if not 0 < wer <= 0.95:
            raise UserError(f"a word error rate of {100 * wer:g} % cannot be made; give more than 0 and at most 95")
        if not any(text.strip() for text in texts):
            raise UserError("there is no text to put noise on; the split is empty")
        order = sorted(range(len(texts)), key=lambda index: item_seed(seed, str(index)))[:SAMPLE]
        sample = [texts[index] for index in order]
        low, high = math.log(1e-4), math.log(1e4)
        for _ in range(STEPS):
            middle = (low + high) / 2
            if self._wer(sample, math.exp(middle), seed) < wer:
                low = middle
            else:
                high = middle
        return math.exp((low + high) / 2)

    def _wer(self, texts: Sequence[str], scale: float, seed: int) -> float:
        said = [" ".join(word for _, words in self._tokens(text) for word in words) for text in texts]
        heard = [
            " ".join(self._corrupted(text, scale, item_seed(seed, str(index)))[1]) for index, text in enumerate(texts)
        ]
        # Both sides are normalised already.
        return word_errors(said, heard).rate

    def _tokens(self, text: str) -> list[tuple[str, list[str]]]:
        """Tokens of a text with their normalised words; kept, since a text is corrupted many times."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = [(token, self.normalize(token).split()) for token in text.split()]
        return found

    @cached_property
    def _inserted(self) -> tuple[list[str], list[int]]:
        return list(self.model.inserted), list(self.model.inserted.values())

    def _misheard(self, word: str, draw: random.Random) -> str:
        table = self.model.confusions.get(word, {})
        known = sum(table.values())
        if draw.random() * (known + TABLE_WEIGHT) < known:
            return draw.choices(list(table), list(table.values()))[0]
        if draw.random() < self.model.deleted:
            return ""
        near, weights = self._alike(word)
        return draw.choices(near, weights)[0] if near else ""

    def _alike(self, word: str) -> tuple[list[str], list[float]]:
        """Words of the lexicon that are spelled alike, the nearer the likelier."""
        if word not in self._near:
            from rapidfuzz import process
            from rapidfuzz.distance import Levenshtein

            found = process.extract(word, self._lexicon, scorer=Levenshtein.normalized_similarity, limit=ALIKE + 1)
            near = [(other, math.exp(5 * likeness)) for other, likeness, _ in found if other != word][:ALIKE]
            self._near[word] = [other for other, _ in near], [weight for _, weight in near]
        return self._near[word]
