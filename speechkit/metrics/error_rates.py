"""Word and character error rates with counts, alignments and intervals, under a named normaliser.

Words are those of `str.split`; characters are counted after collapsing spaces, one space between words included, as in
jiwer. Rates are corpus rates: all errors over all reference tokens.

rapidfuzz computes the alignment, as in jiwer: the number of errors is minimal, and rapidfuzz breaks ties. From the end
of the two texts, after removing common prefixes and suffixes, a deletion is preferred, then an insertion if it
leaves fewer errors than a match or substitution would (or as many as a match), then the match or substitution. (Checked
up to 14,000 words; rapidfuzz may divide longer texts, which can move errors between the three kinds but never changes
their sum.)

With ``weights="sclite"`` a substitution costs 4, a deletion or insertion 3, as in NIST's sclite; see
`speechkit.metrics.lattice` for the ties there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from speechkit.errors import UserError
from speechkit.metrics.alignments import (
    Alignments,
    Counts,
    Operation,
    OperationKind,
    Progress,
    Runs,
    Sentences,
    UtteranceErrors,
    Vocabulary,
    align_sentences,
    fewest_errors,
    runs_of_steps,
)
from speechkit.metrics.alternatives import Alternatives, Ways
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, bootstrap_ratio, sum_by_group
from speechkit.metrics.lattice import Choice, Weights, align_lattice
from speechkit.text import NormalizerSpec, get_normalizer

__all__ = [
    "Counts",
    "ErrorResult",
    "Normalizing",
    "Operation",
    "OperationKind",
    "UtteranceErrors",
    "WordScorer",
    "character_errors",
    "word_errors",
]

Texts = Mapping[str, str] | Iterable[tuple[str, str]] | Sequence[str]
Unit = Literal["word", "character"]


class Normalizing(Protocol):
    """A normaliser with the name and version that results record."""

    @property
    def spec(self) -> NormalizerSpec:
        """Name and version."""
        ...

    def __call__(self, text: str) -> str:
        """The normal form."""
        ...


class ErrorResult(msgspec.Struct, frozen=True):
    """The errors of a test set, with token unit and normaliser."""

    unit: Unit
    normalizer: NormalizerSpec
    utterances: Alignments

    @property
    def counts(self) -> Counts:
        """Counts of the whole set."""
        return Counts(*self.utterances.counts.sum(axis=0).tolist())

    @property
    def rate(self) -> float:
        """The corpus error rate: 0.05 is 5 %."""
        return self.counts.rate

    def interval(
        self,
        by: Literal["utterance", "speaker"] = "utterance",
        *,
        confidence: float = 0.95,
        resamples: int = DEFAULT_RESAMPLES,
        seed: int = 0,
    ) -> Interval:
        """Bootstrap interval of the rate, over utterances or over whole speakers.

        Raises:
            UserError: if ``by`` is speaker and an utterance has none.
        """
        groups: list[str] | None = None
        if by == "speaker":
            groups = []
            for name, speaker in zip(self.utterances.ids, self.utterances.speakers, strict=True):
                if speaker is None:
                    raise UserError(f"{name}: has no speaker; give every utterance a speaker or resample by utterance")
                groups.append(speaker)
        elif by != "utterance":
            raise UserError(f'by is {by!r}; choose "utterance" or "speaker"')
        counts = self.utterances.counts
        errors, tokens = counts[:, 1:].sum(axis=1), counts[:, :3].sum(axis=1)
        return bootstrap_ratio(errors, tokens, groups=groups, confidence=confidence, resamples=resamples, seed=seed)

    def by_speaker(self) -> dict[str, Counts]:
        """Counts of every speaker, sorted by name; utterances without a speaker count under the empty name."""
        names = [speaker or "" for speaker in self.utterances.speakers]
        return dict(sorted(summed_counts(self.utterances, names).items()))


def summed_counts(utterances: Alignments, names: Sequence[str]) -> dict[str, Counts]:
    """Counts summed by name, in order of first appearance."""
    sums = sum_by_group(utterances.counts, names)
    return {name: Counts(*map(int, row)) for name, row in zip(dict.fromkeys(names), sums, strict=True)}


def word_errors(
    references: Texts,
    hypotheses: Texts,
    *,
    normalizer: str | Normalizing = "none",
    speakers: Mapping[str, str] | None = None,
    weights: Weights = "levenshtein",
    alternatives: Alternatives | None = None,
) -> ErrorResult:
    """Align words and count hits, substitutions, deletions and insertions.

    Args:
        references: mapping from id to text, pairs of id and text, or texts in the same order.
        hypotheses: likewise, with the same ids.
        normalizer: name of a normaliser of `speechkit.text` (or itself), applied to both sides and recorded.
        speakers: speaker of each id, for `ErrorResult.interval`.
        weights: "levenshtein" counts the fewest errors; "sclite" aligns with NIST's weights.
        alternatives: of the references; the alternative with the fewest errors is scored, and its words are the
            reference words of the result.

    The result is in the order of the references. Either text of an utterance may be empty.

    Raises:
        UserError: if ids are missing on one side or duplicate, with the first such ids.
        ConfigError: if the normaliser is unknown.
    """
    truth, guess = paired(references, hypotheses)
    names = None if speakers is None else [speakers.get(name) for name in truth]
    scorer = WordScorer(
        list(truth), truth.values(), normalizer=normalizer, speakers=names, weights=weights, alternatives=alternatives
    )
    return scorer.errors(guess)


class WordScorer:
    """References normalised once for several systems; see `word_errors`.

    Args:
        ids: of the references.
        references: their texts.
        normalizer: as in `word_errors`.
        speakers: of each reference.
        weights: as in `word_errors`.
        alternatives: as in `word_errors`.
    """

    def __init__(
        self,
        ids: Sequence[str],
        references: Iterable[str],
        *,
        normalizer: str | Normalizing = "none",
        speakers: Sequence[str | None] | None = None,
        weights: Weights = "levenshtein",
        alternatives: Alternatives | None = None,
    ) -> None:
        self.normalize = get_normalizer(normalizer) if isinstance(normalizer, str) else normalizer
        self.ids, self.speakers, self.weights = ids, speakers, weights
        self.choices: list[list[Choice]] = []
        self.vocabulary = Vocabulary()
        if alternatives:
            ways = Ways(alternatives, self.normalize)
            written = [ways.of(text) for text in references]
            self.reference = Sentences((words for words, _ in written), self.vocabulary)
            self.choices = [offered for _, offered in written]
        else:
            self.reference = self._sentences(references)

    def _sentences(self, texts: Iterable[str]) -> Sentences:
        return Sentences((self.normalize(text).split() for text in texts), self.vocabulary)

    def errors(self, hypotheses: Mapping[str, str], progress: Progress | None = None) -> ErrorResult:
        """The errors of one system, with texts for the ids of the references."""
        hypothesis = self._sentences(hypotheses[name] for name in self.ids)
        reference = self.reference
        chosen: dict[int, list[Choice]] = {}
        if self.weights == "levenshtein" and not any(self.choices):
            runs = align_sentences(reference, hypothesis, progress)
        else:
            reference, runs, chosen = self._with_choices(hypothesis, progress)
        made = Alignments(self.ids, reference, hypothesis, runs, self.speakers, chosen)
        return ErrorResult("word", self.normalize.spec, made)

    def _with_choices(
        self, hypothesis: Sentences, progress: Progress | None
    ) -> tuple[Sentences, Runs, dict[int, list[Choice]]]:
        """The chosen references, their errors, and the choices."""
        runs = Runs()
        chosen: dict[int, list[Choice]] = {}
        sentences: list[list[str]] = []
        for i in range(len(self.ids)):
            offered = self.choices[i] if self.choices else []
            truth, guess = self.reference.tokens(i), hypothesis.tokens(i)
            if self.weights == "levenshtein" and not offered:
                runs.add(fewest_errors(truth, guess))
            else:
                aligned = align_lattice(truth, offered, guess, self.weights)
                truth = aligned.reference
                runs.add(runs_of_steps(aligned.steps))
                if aligned.chosen:
                    chosen[i] = aligned.chosen
            sentences.append(truth)
            if progress is not None:
                progress(1)
        return Sentences(sentences, self.vocabulary), runs, chosen


def character_errors(
    references: Texts,
    hypotheses: Texts,
    *,
    normalizer: str | Normalizing = "none",
    speakers: Mapping[str, str] | None = None,
) -> ErrorResult:
    """Align characters and count, as `word_errors`; one space between words is a character too."""
    normalize = get_normalizer(normalizer) if isinstance(normalizer, str) else normalizer
    truth, guess = paired(references, hypotheses)
    vocabulary = Vocabulary()
    left = Sentences((" ".join(normalize(text).split()) for text in truth.values()), vocabulary)
    right = Sentences((" ".join(normalize(guess[name]).split()) for name in truth), vocabulary)
    names = None if speakers is None else [speakers.get(name) for name in truth]
    made = Alignments(list(truth), left, right, align_sentences(left, right), names)
    return ErrorResult("character", normalize.spec, made)


def paired(references: Texts, hypotheses: Texts) -> tuple[dict[str, str], dict[str, str]]:
    """Both sides by id.

    Raises:
        UserError: if ids are missing on one side or duplicate, with the first such ids.
    """
    truth, guess = _by_id(references, "reference"), _by_id(hypotheses, "hypothesis")
    for side, other, other_name in ((truth, guess, "hypotheses"), (guess, truth, "references")):
        missing = [i for i in side if i not in other]
        if missing:
            shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            raise UserError(
                f"{len(missing)} of {len(side)} utterances are missing among the {other_name} ({shown}); "
                f"give every utterance a text on both sides, possibly empty"
            )
    return truth, guess


def _by_id(texts: Texts, side: str) -> dict[str, str]:
    if isinstance(texts, str):
        raise UserError(f"the {side} is one text; give a list of texts or a mapping from id to text")
    if isinstance(texts, Mapping):
        return dict(texts)
    named: dict[str, str] = {}
    for number, item in enumerate(texts):
        name, text = (str(number), item) if isinstance(item, str) else item
        if name in named:
            raise UserError(f"duplicate id {name} among the {side} texts; ids must be unique")
        named[name] = text
    return named
