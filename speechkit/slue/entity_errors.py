"""Error analysis of entities: how the recogniser transcribed each gold entity.

Reference and recognised text are aligned word by word, and each gold entity is one of:

* exact: its words were recognised correctly;
* form only: they are equal after normalisation of numbers, spelling variants and contractions;
* near miss: the aligned words are spelled similarly (at least 0.6 of the letters);
* split or merge: the same letters with other word boundaries;
* wrong: the aligned words are different;
* deleted: no word is aligned to it.

A predicted entity without a gold entity of the same tag and phrase, or at the same position, is a hallucination.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from speechkit.metrics.error_rates import ErrorResult, UtteranceErrors, word_errors
from speechkit.slue.metrics.entity_text import Entity
from speechkit.slue.sensitivity_noise import word_outcomes
from speechkit.text import NormalizerSpec, get_normalizer

Kind = Literal["exact", "form only", "near miss", "split or merge", "wrong", "deleted"]
KINDS: tuple[Kind, ...] = ("exact", "form only", "near miss", "split or merge", "wrong", "deleted")
NEAR = 0.6
MARKS = '.,!?;:"()[]'
EXAMPLES = 8


class EntityOutcome(msgspec.Struct, frozen=True):
    """One gold entity, the recognised words aligned to it, and whether the system predicted it with its tag."""

    id: str
    tag: str
    phrase: str
    heard: str
    kind: Kind
    found: bool


class Hallucination(msgspec.Struct, frozen=True):
    """A predicted entity without a matching gold entity."""

    id: str
    tag: str
    phrase: str


class EntityErrors(msgspec.Struct, frozen=True):
    """Counts of outcomes by tag, of predicted entities by outcome, of hallucinations, and examples of each."""

    gold: int
    kinds: dict[str, dict[str, int]]
    found: dict[str, int]
    hallucinated: dict[str, int]
    examples: dict[str, list[EntityOutcome]]
    invented: list[Hallucination]
    not_in_text: int
    normalizer: NormalizerSpec
    form_normalizer: NormalizerSpec

    def total(self, kind: str) -> int:
        """Number of entities with an outcome, over all tags."""
        return sum(counts.get(kind, 0) for counts in self.kinds.values())


def entity_errors(
    texts: Mapping[str, str],
    recognised: Mapping[str, str],
    gold: Mapping[str, Sequence[Entity]],
    predicted: Mapping[str, Sequence[Entity]] | None = None,
    *,
    normalizer: str = "simple",
    form_normalizer: str = "english",
) -> EntityErrors:
    """The outcome of every gold entity.

    Args:
        texts: reference text by id.
        recognised: recognised text of the same ids.
        gold: entities of the reference, by id.
        predicted: entities predicted by a system, by id; without them only the outcomes are counted.
        normalizer: texts that are equal after it count as exact.
        form_normalizer: texts that are equal after it differ in form only.

    Gold phrases that do not occur in the normalised text are skipped and counted in ``not_in_text``.

    Raises:
        UserError: if the ids of the texts differ.
    """
    aligned = _align(texts, recognised)
    plain, form = get_normalizer(normalizer), get_normalizer(form_normalizer)
    kinds: dict[str, Counter[str]] = {}
    predicted_counts: Counter[str] = Counter()
    invented: list[Hallucination] = []
    examples: dict[str, list[EntityOutcome]] = {}
    not_in_text = total = 0
    for utterance in aligned.utterances:
        guesses = Counter((tag, plain(phrase)) for tag, phrase in (predicted or {}).get(utterance.id, ()))
        explained: Counter[Entity] = Counter()
        for tag, phrase, words in locate_entities(utterance, gold.get(utterance.id, ())):
            if words is None:
                not_in_text += 1
                continue
            total += 1
            raw_reference, raw_hypothesis = _join(words, 0), _join(words, 1)
            hypothesis = plain(raw_hypothesis)
            kind = entity_outcome(raw_reference, raw_hypothesis, plain, form)
            key = (tag, plain(raw_reference))
            is_predicted = guesses[key] > explained[key]
            explained[key] += is_predicted
            if not is_predicted:
                # The entity was tagged as recognised: a recognition error, not a hallucination.
                explained[tag, hypothesis] += guesses[tag, hypothesis] > explained[tag, hypothesis]
            outcome = EntityOutcome(utterance.id, tag, phrase, hypothesis, kind, is_predicted)
            kinds.setdefault(tag, Counter())[kind] += 1
            predicted_counts[kind] += is_predicted
            if len(examples.setdefault(kind, [])) < EXAMPLES:
                examples[kind].append(outcome)
        for (tag, phrase), count in (guesses - explained).items():
            invented += [Hallucination(utterance.id, tag, phrase)] * count
    return EntityErrors(
        gold=total,
        kinds={tag: dict(counts) for tag, counts in sorted(kinds.items())},
        found=dict(predicted_counts),
        hallucinated=dict(sorted(Counter(entity.tag for entity in invented).items())),
        examples=examples,
        invented=invented[:EXAMPLES],
        not_in_text=not_in_text,
        normalizer=plain.spec,
        form_normalizer=form.spec,
    )


AlignedWords = list[tuple[str, str, list[str]]]
"""Reference words, each with the words recognised for it and the words inserted after it."""


def strip_punctuation(text: str) -> str:
    """Lower-case words without punctuation at their edges; symbols stay, so that $25 keeps its sign."""
    return " ".join(word for token in text.lower().split() if (word := token.strip(MARKS)))


def _align(texts: Mapping[str, str], recognised: Mapping[str, str]) -> ErrorResult:
    references = {name: strip_punctuation(text) for name, text in texts.items()}
    hypotheses = {name: strip_punctuation(text) for name, text in recognised.items()}
    return word_errors(references, hypotheses, normalizer="none")


def _join(words: AlignedWords, side: Literal[0, 1]) -> str:
    """The reference words (0) or the recognised words (1)."""
    return " ".join(word[side] for word in words if word[side])


def locate_entities(
    utterance: UtteranceErrors, entities: Sequence[Entity]
) -> Iterator[tuple[str, str, AlignedWords | None]]:
    """Tag, phrase and aligned words of each entity; repeated phrases take successive occurrences."""
    words = list(word_outcomes(utterance))
    taken: set[int] = set()
    for tag, phrase in entities:
        wanted = strip_punctuation(phrase).split()
        start = next(
            (
                begin
                for begin in range(len(words) - len(wanted) + 1)
                if begin not in taken and [w for w, _, _ in words[begin : begin + len(wanted)]] == wanted
            ),
            None,
        )
        if start is None or not wanted:
            yield tag, phrase, None
        else:
            taken.add(start)
            yield tag, phrase, words[start : start + len(wanted)]


def entity_outcome(reference: str, hypothesis: str, plain: Callable[[str], str], form: Callable[[str], str]) -> Kind:
    """Outcome of an entity with the words ``reference``, recognised as ``hypothesis``, under two normalisers."""
    from rapidfuzz.distance import Levenshtein

    same_form = form(reference) == form(hypothesis)
    reference, hypothesis = plain(reference), plain(hypothesis)
    if reference == hypothesis:
        return "exact"
    if not hypothesis:
        return "deleted"
    if reference.replace(" ", "") == hypothesis.replace(" ", ""):
        return "split or merge"
    if same_form:
        return "form only"
    similarity = Levenshtein.normalized_similarity(reference.replace(" ", ""), hypothesis.replace(" ", ""))
    return "near miss" if similarity >= NEAR else "wrong"


def recognised_entities(
    texts: Mapping[str, str], recognised: Mapping[str, str], gold: Mapping[str, Sequence[Entity]]
) -> dict[str, list[Entity]]:
    """Output of a perfect tagger on the recognised text: the gold entities as they were recognised, by id.

    Deleted entities are left out.
    """
    entities: dict[str, list[Entity]] = {}
    for utterance in _align(texts, recognised).utterances:
        entities[utterance.id] = [
            (tag, phrase)
            for tag, _, words in locate_entities(utterance, gold.get(utterance.id, ()))
            if words and (phrase := _join(words, 1))
        ]
    return entities
