"""Word and character error rates with counts, alignments and intervals, and the normaliser that made them.

Words are what `str.split` gives; characters are counted after spaces are collapsed, one space between words included,
as jiwer counts them. Rates are corpus rates: all errors over all reference tokens.

jiwer is the engine: the number of errors is the smallest there is, and of several alignments with as many errors its
own is taken. Seen from the end of the two texts, where common beginnings and ends are set aside first, a deletion comes
first, then an insertion where it leaves fewer errors than a match or substitution would (or as many, beside a match),
then the match or substitution. (Checked up to 14,000 words; the engine may divide still longer texts, which can move
errors between the three kinds and never changes their sum.)

With ``weights="sclite"`` a substitution costs 4, a deletion or insertion 3, as in NIST's sclite; see
`speechkit.metrics.lattice` for the ties there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, Protocol

import msgspec

from speechkit.errors import UserError
from speechkit.metrics.alternatives import Alternatives, Ways
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, bootstrap_ratio, ratio
from speechkit.metrics.lattice import Choice, Weights, align_lattice
from speechkit.text import NormalizerSpec, get_normalizer

Texts = Mapping[str, str] | Iterable[tuple[str, str]] | Sequence[str]
Unit = Literal["word", "character"]
OperationKind = Literal["equal", "substitute", "delete", "insert"]
STEP_KINDS: dict[str, OperationKind] = {"=": "equal", "s": "substitute", "d": "delete", "i": "insert"}
CHUNK_TOKENS = 20_000  # aligned at once, so that the engine's own copies stay small


class Normalizing(Protocol):
    """What turns a text into its normal form, and the name and version that a result records."""

    @property
    def spec(self) -> NormalizerSpec:
        """Name and version."""
        ...

    def __call__(self, text: str) -> str:
        """The normal form."""
        ...


class Operation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Reference tokens ``reference_begin`` to ``reference_end`` became hypothesis tokens, half-open ranges."""

    kind: OperationKind
    reference_begin: int
    reference_end: int
    hypothesis_begin: int
    hypothesis_end: int


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Hits and errors; ``rate`` is errors over reference tokens."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_tokens(self) -> int:
        """Tokens of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over reference tokens: 0 or more; infinite when there is no reference token to insert beside."""
        return float(ratio(self.errors, self.reference_tokens))

    def __add__(self, other: Counts) -> Counts:
        """Counts of both together."""
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


class UtteranceErrors(msgspec.Struct, frozen=True):
    """One utterance: normalised tokens of both sides, how they align, and the counts."""

    id: str
    reference: list[str]
    hypothesis: list[str]
    operations: list[Operation]
    counts: Counts
    speaker: str | None = None
    chosen: list[Choice] = []


class ErrorResult(msgspec.Struct, frozen=True):
    """The errors of a test set with what made them: the token unit and the normaliser."""

    unit: Unit
    normalizer: NormalizerSpec
    utterances: list[UtteranceErrors]

    @property
    def counts(self) -> Counts:
        """Counts of the whole set."""
        return sum((u.counts for u in self.utterances), Counts(0, 0, 0, 0))

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
            UserError: if speakers are asked for and an utterance has none.
        """
        groups: list[str] | None = None
        if by == "speaker":
            groups = []
            for utterance in self.utterances:
                if utterance.speaker is None:
                    raise UserError(
                        f"{utterance.id}: has no speaker; give every utterance a speaker or resample by utterance"
                    )
                groups.append(utterance.speaker)
        elif by != "utterance":
            raise UserError(f'by is {by!r}; choose "utterance" or "speaker"')
        errors = [u.counts.errors for u in self.utterances]
        tokens = [u.counts.reference_tokens for u in self.utterances]
        return bootstrap_ratio(errors, tokens, groups=groups, confidence=confidence, resamples=resamples, seed=seed)

    def by_speaker(self) -> dict[str, Counts]:
        """Counts of every speaker, sorted by name; utterances without a speaker count under the empty name."""
        sums: dict[str, Counts] = {}
        for utterance in self.utterances:
            name = utterance.speaker or ""
            sums[name] = sums.get(name, Counts(0, 0, 0, 0)) + utterance.counts
        return dict(sorted(sums.items()))


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
        references: what was said: id to text, pairs of id and text, or plain texts that stand in the same order.
        hypotheses: what was recognised, in the same form. Its ids must be those of the references.
        normalizer: name of a normaliser of `speechkit.text` (or itself), applied to both sides and recorded.
        speakers: speaker of each id, for `ErrorResult.interval`.
        weights: "levenshtein" counts the fewest errors; "sclite" aligns with NIST's weights.
        alternatives: other ways to say parts of the references; the way nearest to the hypothesis is scored, and the
            reference words of the result are those of that way.

    The result is in the order of the references. Either text of an utterance may be empty.

    Raises:
        UserError: if an id is missing on one side or stands twice, with the first such ids.
        ConfigError: if the normaliser's name is not known.
    """
    normalize = get_normalizer(normalizer) if isinstance(normalizer, str) else normalizer
    truth, guess = paired(references, hypotheses)
    shared: dict[str, str] = {}  # one string object for each word, however often it is said

    def words(text: str) -> list[str]:
        return [shared.setdefault(word, word) for word in normalize(text).split()]

    ways = Ways(alternatives, normalize) if alternatives else None
    left: list[list[str]] = []
    choices: list[list[Choice]] = []
    for text in truth.values():
        if ways is None:
            left.append(words(text))
        else:
            written, offered = ways.of(text)
            left.append([shared.setdefault(word, word) for word in written])
            choices.append(offered)
    right = [words(guess[name]) for name in truth]
    chosen: dict[int, list[Choice]] = {}
    operations: list[list[Operation]] = [[] for _ in left]
    plain = []
    for i in range(len(left)):
        if weights == "levenshtein" and not (choices and choices[i]):
            plain.append(i)
            continue
        aligned = align_lattice(left[i], choices[i] if choices else (), right[i], weights)
        left[i], operations[i] = [shared.setdefault(w, w) for w in aligned.reference], _operations(aligned.steps)
        chosen[i] = aligned.chosen
    for i, found in zip(plain, _align("word", [left[i] for i in plain], [right[i] for i in plain]), strict=True):
        operations[i] = found
    utterances = [
        UtteranceErrors(
            id=name,
            reference=left[i],
            hypothesis=right[i],
            operations=operations[i],
            counts=_count(operations[i]),
            speaker=None if speakers is None else speakers.get(name),
            chosen=chosen.get(i, []),
        )
        for i, name in enumerate(truth)
    ]
    return ErrorResult("word", normalize.spec, utterances)


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
    left = [list(" ".join(normalize(text).split())) for text in truth.values()]
    right = [list(" ".join(normalize(guess[name]).split())) for name in truth]
    utterances = [
        UtteranceErrors(
            id=name,
            reference=left[i],
            hypothesis=right[i],
            operations=found,
            counts=_count(found),
            speaker=None if speakers is None else speakers.get(name),
        )
        for i, (name, found) in enumerate(zip(truth, _align("character", left, right), strict=True))
    ]
    return ErrorResult("character", normalize.spec, utterances)


def _align(unit: Unit, left: Sequence[list[str]], right: Sequence[list[str]]) -> Iterator[list[Operation]]:
    """The engine's alignment of every pair, a few utterances at a time."""
    # jiwer is imported here so that reading a result loads no scoring engine.
    from jiwer import ReduceToListOfListOfChars, ReduceToListOfListOfWords, process_characters, process_words

    glue = " " if unit == "word" else ""
    process = process_words if unit == "word" else process_characters
    # Spaces are collapsed already: the engine's own pass over them would cost as much as the alignment.
    split = ReduceToListOfListOfWords() if unit == "word" else ReduceToListOfListOfChars()
    begin = 0
    while begin < len(left):
        end, tokens = begin, 0
        while end < len(left) and tokens < CHUNK_TOKENS:
            tokens += len(left[end]) + len(right[end]) + 1
            end += 1
        said, heard = [glue.join(t) for t in left[begin:end]], [glue.join(t) for t in right[begin:end]]
        output = process(said, heard, reference_transform=split, hypothesis_transform=split)
        for chunks in output.alignments:
            yield [Operation(c.type, c.ref_start_idx, c.ref_end_idx, c.hyp_start_idx, c.hyp_end_idx) for c in chunks]
        begin = end


def _operations(steps: str) -> list[Operation]:
    """Runs of equal steps as operations."""
    found: list[Operation] = []
    i = j = 0
    for step, run in groupby(steps):
        length = len(list(run))
        di, dj = (0 if step == "i" else length), (0 if step == "d" else length)
        found.append(Operation(STEP_KINDS[step], i, i + di, j, j + dj))
        i, j = i + di, j + dj
    return found


def _count(operations: Sequence[Operation]) -> Counts:
    totals = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for o in operations:
        totals[o.kind] += max(o.reference_end - o.reference_begin, o.hypothesis_end - o.hypothesis_begin)
    return Counts(totals["equal"], totals["substitute"], totals["delete"], totals["insert"])


def paired(references: Texts, hypotheses: Texts) -> tuple[dict[str, str], dict[str, str]]:
    """Both sides by id.

    Raises:
        UserError: if an id is missing on one side or stands twice, with the first such ids.
    """
    truth, guess = _by_id(references, "reference"), _by_id(hypotheses, "hypothesis")
    for here, there, where in ((truth, guess, "hypotheses"), (guess, truth, "references")):
        missing = [i for i in here if i not in there]
        if missing:
            shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            raise UserError(
                f"{len(missing)} of {len(here)} utterances are missing among the {where} ({shown}); "
                f"give every utterance a text on both sides, an empty one where nothing was said"
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
            raise UserError(f"{name}: stands twice among the {side} texts; every id must be unique")
        named[name] = text
    return named
