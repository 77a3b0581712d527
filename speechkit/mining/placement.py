"""From sentences and a timed hypothesis to places in seconds, then to exact ones: the work of stages 5 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.asr.alignment import columns_of, spell
from speechkit.asr.hypothesis import Emissions, Hypothesis
from speechkit.asr.refinement import Refined, refine_all, snap_to_quiet, word_frames
from speechkit.errors import AlignmentError
from speechkit.mining.alignment import Costs, learn_costs, locate_sentences
from speechkit.mining.config import RefinementConfig
from speechkit.mining.records import Document, Gap, PairAlignment, Sentence, SentenceMatch, WordTime
from speechkit.mining.sentence_edges import cut_tokens, lost_words, searched_again, settled_edges, with_gaps
from speechkit.text import Normalized, Normalizer

Float = NDArray[np.float64]

LEVEL_HOP_SECONDS = 0.01
_COSTS_CHARACTERS = 60_000


@dataclass(frozen=True, eq=False)
class KeyedDocument:
    """A document with the matching key of every sentence; ``begins`` are the keys' places when joined by one space."""

    document: Document
    keys: list[Normalized]
    begins: NDArray[np.int64]

    @classmethod
    def of(cls, document: Document, normalizer: Normalizer) -> KeyedDocument:
        """Normalise every sentence on its own, so that keys never reach over a sentence's end."""
        keys = [normalizer.normalize(sentence.text) for sentence in document.sentences]
        lengths = np.array([len(key.text) + 1 for key in keys], np.int64)
        return cls(document, keys, np.concatenate([[0], np.cumsum(lengths)])[: len(keys)].astype(np.int64))

    def texts(self) -> list[str]:
        """The matching keys."""
        return [key.text for key in self.keys]

    def source(self, position: int) -> int:
        """The character of the document's text behind a character of the joined keys."""
        if not self.keys:
            return 0
        index = max(0, int(np.searchsorted(self.begins, position, "right")) - 1)
        key, sentence = self.keys[index], self.document.sentences[index]
        inside = min(max(position - int(self.begins[index]), 0), len(key.text))
        return sentence.begin + int(key.offsets[inside])


@dataclass(frozen=True, eq=False)
class KeyedHypothesis:
    """Recognised text as a matching key, with the seconds of every key character: ``starts``, ``ends`` (len(text),)."""

    text: str
    starts: Float
    ends: Float

    @classmethod
    def of(cls, hypothesis: Hypothesis, normalizer: Normalizer) -> KeyedHypothesis:
        """Normalise the text and carry its times along; a number written in words shares the digits' time."""
        key = normalizer.normalize(hypothesis.text)
        count = len(hypothesis.text)
        if not count or not key.text:
            return cls("", np.zeros(0), np.zeros(0))
        offsets = np.minimum(key.offsets, count).astype(np.int64)
        first = np.minimum(offsets[:-1], count - 1)
        last = np.minimum(np.maximum(offsets[1:] - 1, first), count - 1)
        spaces = np.frombuffer(hypothesis.text.encode("utf-32-le", "surrogatepass"), np.uint32) == ord(" ")
        # A stretch may hold dropped characters after its own; time ends with the last that is no space.
        while True:
            trailing = (last > first) & spaces[last]
            if not trailing.any():
                break
            last = np.where(trailing, last - 1, last)
        return cls(key.text, hypothesis.starts[first], np.maximum(hypothesis.ends[last], hypothesis.starts[first]))

    def seconds(self, position: int) -> float:
        """The time at which a key character begins; the end of the last one beyond it."""
        if not len(self.starts):
            return 0.0
        return float(self.starts[position]) if position < len(self.starts) else float(self.ends[-1])


def learned_costs(documents: Sequence[KeyedDocument], hypotheses: Sequence[KeyedHypothesis]) -> Costs:
    """Substitution costs of this recogniser against these documents, from as much text as a second or two takes."""
    keys: list[list[str]] = []
    texts: list[str] = []
    total = 0
    for document, hypothesis in zip(documents, hypotheses, strict=True):
        if total >= _COSTS_CHARACTERS:
            break
        keys.append(document.texts())
        texts.append(hypothesis.text)
        total += len(hypothesis.text)
    return learn_costs(keys, texts, rounds=1)


def align(
    recording: str,
    document: KeyedDocument,
    hypothesis: KeyedHypothesis,
    min_similarity: float,
    costs: Costs | None = None,
) -> PairAlignment:
    """Locate the sentences of a document in a recording's hypothesis, in seconds and source characters."""
    located = locate_sentences(document.texts(), hypothesis.text, costs, min_similarity=min_similarity)
    matches = []
    for sentence, key, match in zip(document.document.sentences, document.keys, located.matches, strict=True):
        if match is None or match.end <= match.begin:
            continue
        start, end = hypothesis.seconds(match.begin), float(hypothesis.ends[match.end - 1])
        end = max(end, start + 0.01)
        matches.append(
            SentenceMatch(
                sentence=sentence.id,
                recording=recording,
                document=document.document.id,
                start=start,
                end=end,
                similarity=match.similarity,
                edge_cer=match.edge_cer,
                margin=match.margin,
                characters_per_second=len(key.text) / (end - start),
            )
        )
    path = [(document.source(int(a)), round(hypothesis.seconds(int(b)), 3)) for a, b in located.path]
    gaps = [
        Gap(
            kind,
            document.source(a0),
            document.source(a1),
            round(hypothesis.seconds(b0), 3),
            round(hypothesis.seconds(b1), 3),
        )
        for kind, a0, a1, b0, b1 in located.gaps
    ]
    return PairAlignment(recording, document.document.id, path, gaps, matches)


def refine_alignment(
    alignment: PairAlignment,
    document: KeyedDocument,
    emissions: Emissions | None,
    levels: NDArray[np.float32],
    config: RefinementConfig,
) -> PairAlignment:
    """Exact starts, ends, word times and CTC scores where there are emissions; boundaries in quiet places everywhere.

    Args:
        alignment: as `align` made it.
        document: of the alignment.
        emissions: of the recording, if its recogniser gives them.
        levels: (T,) loudness every 10 ms in decibels, from the start of the recording.
        config: window, star and reach of the boundaries.
    """
    index_of = {sentence.id: index for index, sentence in enumerate(document.document.sentences)}
    indices = [index_of[match.sentence] for match in alignment.matches]
    matches = list(alignment.matches)
    if emissions is not None:
        matches = _with_emissions(matches, indices, document, emissions, config)
    smooth = _smoothed(levels)
    finished = []
    for match, index in zip(matches, indices, strict=True):
        start, end = _snapped(match, smooth, config)
        length = len(document.keys[index].text)
        finished.append(
            msgspec.structs.replace(match, start=start, end=end, characters_per_second=length / max(end - start, 0.01))
        )
    return msgspec.structs.replace(alignment, matches=finished)


def _with_emissions(
    matches: Sequence[SentenceMatch],
    indices: Sequence[int],
    document: KeyedDocument,
    emissions: Emissions,
    config: RefinementConfig,
) -> list[SentenceMatch]:
    column = columns_of(emissions)
    hop = emissions.hop_seconds
    tokens, owners = [], []
    for index in indices:
        token, owner = tokens_of(document.document.sentences[index], document.keys[index], column)
        tokens.append(token)
        owners.append(owner)
    windows = [
        (int((match.start - config.window_seconds) / hop), int((match.end + config.window_seconds) / hop) + 1)
        for match in matches
    ]
    alignments = refine_all(emissions.log_probs, tokens, windows, emissions.blank, star_penalty=config.star_penalty)
    result = []
    for match, index, owner, refined in zip(matches, indices, owners, alignments, strict=True):
        if isinstance(refined, AlignmentError):
            result.append(match)  # keeps the recogniser's own times and is judged by its text
            continue
        written = document.document.sentences[index].text.split()
        first, last = settled_edges(refined, owner, hop)
        if set(owner[:first].tolist() + owner[last:].tolist()) - set(owner[first:last].tolist()) - {-1}:
            refined, first, last = searched_again(refined, first, last, owner, tokens[len(result)], emissions, config)
        refined = cut_tokens(refined, first, last)
        words = word_times(refined, owner[first:last], written, hop)
        if any(word.end - word.start > config.max_word_seconds for word in words):
            refined = with_gaps(refined, tokens[len(result)][first:last], owner[first:last], emissions, config)
            words = word_times(refined, owner[first:last], written, hop)
        result.append(
            msgspec.structs.replace(
                match,
                start=refined.start_frame * hop,
                end=refined.end_frame * hop,
                ctc_mean=refined.mean,
                ctc_worst=refined.worst,
                words=words,
                **lost_words(owner, first, last, written),
            )
        )
    return result


def tokens_of(
    sentence: Sentence, key: Normalized, column: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns of the symbols that spell the key and, for each, the written word it belongs to (-1 between words)."""
    word_at = np.full(len(sentence.text) + 1, -1, np.int64)
    position = 0
    for number, word in enumerate(sentence.text.split()):
        position = sentence.text.index(word, position)
        word_at[position : position + len(word)] = number
        position += len(word)
    tokens: list[int] = []
    owners: list[int] = []
    for token, begin, _ in spell(key.text, column):
        tokens.append(token)
        between = key.text[begin] == " "
        owners.append(-1 if between else int(word_at[min(int(key.offsets[begin]), len(sentence.text))]))
    # A number written in words may lean on the space before it: such characters belong to the word that follows.
    for index in range(len(owners) - 2, -1, -1):
        if owners[index] < 0 and tokens[index] != column.get(" ", -2):
            owners[index] = owners[index + 1]
    return np.array(tokens, np.int64), np.array(owners, np.int64)


def word_times(refined: Refined, owners: NDArray[np.int64], words: Sequence[str], hop_seconds: float) -> list[WordTime]:
    """Times of the written words that hold at least one spoken character."""
    return [
        WordTime(words[number], round(first * hop_seconds, 4), round(last * hop_seconds, 4), round(score, 4))
        for number, first, last, score in word_frames(refined, owners)
        if number < len(words)
    ]


def _smoothed(levels: NDArray[np.float32]) -> Float:
    """Mean power over three frames, in decibels again."""
    if len(levels) < 3:
        return levels.astype(np.float64)
    power = 10 ** (levels.astype(np.float64) / 10)
    power[1:-1] = (power[:-2] + power[1:-1] + power[2:]) / 3
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)))


def _snapped(match: SentenceMatch, levels: Float, config: RefinementConfig) -> tuple[float, float]:
    reach = config.quiet_outward_seconds + 0.5
    low = max(0, int((match.start - reach) / LEVEL_HOP_SECONDS))
    high = min(len(levels), int((match.end + reach) / LEVEL_HOP_SECONDS) + 1)
    shift = low * LEVEL_HOP_SECONDS
    start, end = snap_to_quiet(
        match.start - shift,
        match.end - shift,
        levels[low:high],
        LEVEL_HOP_SECONDS,
        outward_seconds=config.quiet_outward_seconds,
        inward_seconds=config.quiet_inward_seconds,
        pad_seconds=config.quiet_pad_seconds,
    )
    return max(0.0, start + shift), min(end + shift, len(levels) * LEVEL_HOP_SECONDS) if len(levels) else end + shift
