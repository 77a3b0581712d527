"""What recognition did to each gold entity: what a score of exact phrases cannot tell apart.

The reference text is aligned with the recognised text word by word, and each gold entity is one of:

* exact: its words were recognised as they are;
* form only: they differ, but not after normalisation with numbers, spellings and contractions made alike;
* near miss: the words that stand in its place are spelled alike (at least 0.6 of the letters);
* split or merge: the same letters with other gaps between words;
* wrong: other words stand in its place;
* deleted: nothing does.

A predicted entity that no gold one of its utterance has, neither by tag and phrase nor by place, is hallucinated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from speechkit.metrics.error_rates import ErrorResult, UtteranceErrors, word_errors
from speechkit.slue.metrics.entity_text import Entity
from speechkit.slue.sensitivity_noise import outcomes
from speechkit.text import NormalizerSpec, get_normalizer

Kind = Literal["exact", "form only", "near miss", "split or merge", "wrong", "deleted"]
KINDS: tuple[Kind, ...] = ("exact", "form only", "near miss", "split or merge", "wrong", "deleted")
NEAR = 0.6
MARKS = '.,!?;:"()[]'
EXAMPLES = 8


class EntityOutcome(msgspec.Struct, frozen=True):
    """One gold entity, the words that stand in its place, and whether the system gave it with its tag."""

    id: str
    tag: str
    phrase: str
    heard: str
    kind: Kind
    found: bool


class Hallucination(msgspec.Struct, frozen=True):
    """A predicted entity that no gold one explains."""

    id: str
    tag: str
    phrase: str


class EntityErrors(msgspec.Struct, frozen=True):
    """Counts of each kind by tag, of those that the system found all the same, of inventions, and examples of each."""

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
        """How many entities of a kind, over all tags."""
        return sum(counts.get(kind, 0) for counts in self.kinds.values())


def entity_errors(
    texts: Mapping[str, str],
    heard: Mapping[str, str],
    gold: Mapping[str, Sequence[Entity]],
    predicted: Mapping[str, Sequence[Entity]] | None = None,
    *,
    normalizer: str = "simple",
    form_normalizer: str = "english",
) -> EntityErrors:
    """The outcome of every gold entity.

    Args:
        texts: reference text by id.
        heard: recognised text of the same ids.
        gold: tags and phrases of the reference, by id.
        predicted: tags and phrases of a system, by id; nothing is found or hallucinated where absent.
        normalizer: two texts that are equal under it are the same.
        form_normalizer: two texts that are equal under it differ in form only.

    A gold phrase that does not stand in its text after normalisation is counted in ``not_in_text`` and left out.

    Raises:
        UserError: if the ids of the texts differ.
    """
    aligned = _aligned(texts, heard)
    plain, form = get_normalizer(normalizer), get_normalizer(form_normalizer)
    kinds: dict[str, Counter[str]] = {}
    found: Counter[str] = Counter()
    invented: list[Hallucination] = []
    examples: dict[str, list[EntityOutcome]] = {}
    lost = total = 0
    for utterance in aligned.utterances:
        guesses = Counter((tag, plain(phrase)) for tag, phrase in (predicted or {}).get(utterance.id, ()))
        explained: Counter[Entity] = Counter()
        for tag, phrase, place in placed_entities(utterance, gold.get(utterance.id, ())):
            if place is None:
                lost += 1
                continue
            total += 1
            raw_said, raw_became = _joined(place, 0), _joined(place, 1)
            became = plain(raw_became)
            kind = kind_of(raw_said, raw_became, plain, form)
            said = (tag, plain(raw_said))
            is_found = guesses[said] > explained[said]
            explained[said] += is_found
            if not is_found:
                # The system marked what it heard: an error of recognition, not an invention.
                explained[tag, became] += guesses[tag, became] > explained[tag, became]
            outcome = EntityOutcome(utterance.id, tag, phrase, became, kind, is_found)
            kinds.setdefault(tag, Counter())[kind] += 1
            found[kind] += is_found
            if len(examples.setdefault(kind, [])) < EXAMPLES:
                examples[kind].append(outcome)
        for (tag, phrase), count in (guesses - explained).items():
            invented += [Hallucination(utterance.id, tag, phrase)] * count
    return EntityErrors(
        gold=total,
        kinds={tag: dict(counts) for tag, counts in sorted(kinds.items())},
        found=dict(found),
        hallucinated=dict(sorted(Counter(each.tag for each in invented).items())),
        examples=examples,
        invented=invented[:EXAMPLES],
        not_in_text=lost,
        normalizer=plain.spec,
        form_normalizer=form.spec,
    )


Place = list[tuple[str, str, list[str]]]
"""Reference words with what they became and what was inserted after them."""


def light(text: str) -> str:
    """Lower-case words without marks at their edges: what is aligned, so that $25 keeps its sign."""
    return " ".join(word for each in text.lower().split() if (word := each.strip(MARKS)))


def _aligned(texts: Mapping[str, str], heard: Mapping[str, str]) -> ErrorResult:
    said = {name: light(text) for name, text in texts.items()}
    return word_errors(said, {name: light(text) for name, text in heard.items()}, normalizer="none")


def _joined(place: Place, which: Literal[0, 1]) -> str:
    """The words of a place, as they were said (0) or recognised (1)."""
    return " ".join(word[which] for word in place if word[which])


def placed_entities(utterance: UtteranceErrors, entities: Sequence[Entity]) -> Iterator[tuple[str, str, Place | None]]:
    """Tag, phrase and the words where it stands; equal phrases take their places one after another."""
    words = list(outcomes(utterance))
    taken: set[int] = set()
    for tag, phrase in entities:
        wanted = light(phrase).split()
        place = next(
            (
                begin
                for begin in range(len(words) - len(wanted) + 1)
                if begin not in taken and [w for w, _, _ in words[begin : begin + len(wanted)]] == wanted
            ),
            None,
        )
        if place is None or not wanted:
            yield tag, phrase, None
        else:
            taken.add(place)
            yield tag, phrase, words[place : place + len(wanted)]


def kind_of(said: str, heard: str, plain: Callable[[str], str], form: Callable[[str], str]) -> Kind:
    """The kind of an entity whose words ``said`` became ``heard``; ``plain`` and ``form`` are the normalisers."""
    from rapidfuzz.distance import Levenshtein

    same_form = form(said) == form(heard)
    said, heard = plain(said), plain(heard)
    if said == heard:
        return "exact"
    if not heard:
        return "deleted"
    if said.replace(" ", "") == heard.replace(" ", ""):
        return "split or merge"
    if same_form:
        return "form only"
    alike = Levenshtein.normalized_similarity(said.replace(" ", ""), heard.replace(" ", ""))
    return "near miss" if alike >= NEAR else "wrong"


def entities_heard(
    texts: Mapping[str, str], heard: Mapping[str, str], gold: Mapping[str, Sequence[Entity]]
) -> dict[str, list[Entity]]:
    """What a perfect tagger would give for the recognised text: gold entities as they were recognised, by id.

    An entity of which nothing was recognised is not there.
    """
    found: dict[str, list[Entity]] = {}
    for utterance in _aligned(texts, heard).utterances:
        found[utterance.id] = [
            (tag, phrase)
            for tag, _, place in placed_entities(utterance, gold.get(utterance.id, ()))
            if place and (phrase := _joined(place, 1))
        ]
    return found
