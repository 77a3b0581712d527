"""Correction of OCR errors where the emissions clearly support another spelling.

A word is compared with the known words that one or two slips of a scan make of it: a letter for another, one lost or
doubled, one letter read as two, a space lost or read as a letter. A spelling wins if the emissions and its count
elsewhere in the document favour it by a margin. Known words are those of the document and of a lexicon; no other word
is ever written. The words and their frames are those of `refine_alignment`.

Source: the noisy channel of Kernighan, Church and Gale 1990, with acoustic scores in the place of the channel's.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.asr.alignment import align_words, columns_of
from speechkit.asr.hypothesis import Emissions
from speechkit.errors import AlignmentError, UserError, install_line, require
from speechkit.io.hashing import digest_file
from speechkit.mining.records import Correction, Document, PairAlignment, SentenceMatch, WordTime

MARGIN = 6.0
"""Nats by which a spelling must beat the written one, since OCR errors are rare."""
KNOWN_MARGIN = 12.0
"""The same where the written word is a known word too."""
ACOUSTIC_WEIGHT = 0.4
"""Weight of the acoustic score, below 1 because neighbouring frames are not independent."""
UNSEEN = 0.02
"""Count assigned to a spelling that occurs nowhere else."""
REACH_FRAMES = 3
SECOND_SLIPS = 8
LONGEST_WORD = 24


class Spellings:
    """Word counts of a document; a word of the lexicon counts once more."""

    def __init__(self, texts: Iterable[str], lexicon: Iterable[str] = ()):
        self._words: Counter[str] = Counter(parts(word)[1].lower() for text in texts for word in text.split())
        self._lexicon = frozenset(lexicon)

    def log_counts(self, spellings: Sequence[str], written: str) -> NDArray[np.float64]:
        """Logarithm (n,) of the count of each spelling elsewhere; of several words, that of the rarest.

        A spelling that occurs nowhere else counts `UNSEEN`.
        """
        return np.log([min(self._count(word, written) for word in each.split()) + UNSEEN for each in spellings])

    def _count(self, word: str, written: str) -> int:
        return self._words[word] - (word == written) + (word in self._lexicon)

    def known_elsewhere(self, word: str, written: str) -> bool:
        """Whether a word occurs elsewhere than where the document has ``written``."""
        return self._count(word, written) > 0

    def in_document(self, word: str) -> bool:
        """Whether a word occurs in the document."""
        return word in self._words

    def known(self, word: str) -> bool:
        """Whether a word is in the document or the lexicon."""
        return word in self._words or word in self._lexicon


def read_lexicon(name: str, lang: str) -> frozenset[str]:
    """The words of a file, the first of each line; ``auto`` is the installed lexicon of a language.

    That is the English dictionary of pocketsphinx where the extra ``align`` is installed; empty otherwise.

    Raises:
        UserError: if the file cannot be read, or holds no word.
    """
    path = _lexicon_path(name, lang)
    if path is None:
        return frozenset()
    try:
        words = (line.split()[0].split("(")[0].lower() for line in path.read_text("utf-8").splitlines() if line.strip())
        lexicon = frozenset(word for word in words if word[:1].isalpha())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as a lexicon ({error}); give a text file with one word per line"
        ) from error
    if not lexicon:
        raise UserError(f"{path}: holds no word; give a text file with one word per line")
    return lexicon


def lexicon_missing(name: str, lang: str) -> str | None:
    """Why OCR errors cannot be corrected, and what to do; None where there is a lexicon."""
    if _lexicon_path(name, lang) is not None:
        return None
    give = "give a file with one word per line by refinement.lexicon=FILE"
    if lang != "en":
        return f"OCR errors are not corrected: no lexicon is installed for {lang!r}; {give}"
    return f"OCR errors are not corrected: no lexicon is installed; run {install_line('align')}, or {give}"


def lexicon_digest(name: str) -> str:
    """Digest of a lexicon's content, so that with another one the correction is repeated."""
    path = _lexicon_path(name, "en")
    return "none" if path is None else digest_file(path)


def _lexicon_path(name: str, lang: str) -> Path | None:
    if name != "auto":
        return Path(name)
    if lang != "en" or importlib.util.find_spec("pocketsphinx") is None:
        return None
    return Path(str(require("pocketsphinx").get_model_path("en-us/cmudict-en-us.dict")))


@dataclass(frozen=True, eq=False)
class Corrector:
    """The spellings of a document and the emissions of a recording."""

    emissions: Emissions
    spellings: Spellings

    def of_match(self, match: SentenceMatch, text: str) -> list[Correction]:
        """Corrections of the words of a sentence whose spelling differs from what was spoken, in order."""
        column = columns_of(self.emissions)
        alphabet = sorted({symbol.lower() for symbol in column if len(symbol) == 1 and symbol.isalpha()})
        if not alphabet:
            return []
        corrections = []
        for index, (word, number) in enumerate(zip(match.words, _word_numbers(match, text), strict=True)):
            frames = self._frames(match, index)
            spelling = self._better(word.word, frames, alphabet, column)
            if spelling is None:
                continue
            if " " not in spelling:
                corrections.append(Correction(number, spelling))
            elif times := self._times(spelling.split(), frames):
                corrections.append(Correction(number, spelling, times))
        return corrections

    def _times(self, words: Sequence[str], frames: tuple[int, int]) -> list[tuple[float, float]]:
        """Start and end in seconds of each of the words that share some frames; empty if they do not fit."""
        first, last = max(frames[0], 0), frames[1]
        part = dataclasses.replace(self.emissions, log_probs=self.emissions.log_probs[first:last])
        try:
            items = align_words(part, [parts(word)[1].lower() for word in words])
        except AlignmentError:
            return []
        offset = first * self.emissions.hop_seconds
        return [(round(offset + i.start, 4), round(offset + i.start + i.duration, 4)) for i in items]

    def _frames(self, match: SentenceMatch, index: int) -> tuple[int, int]:
        """The word's frames and up to three of the pause on each side."""
        hop, words = self.emissions.hop_seconds, match.words
        before = 0 if index == 0 else round(words[index - 1].end / hop)
        after = len(self.emissions.log_probs) if index + 1 == len(words) else round(words[index + 1].start / hop)
        begin, end = round(words[index].start / hop), round(words[index].end / hop)
        return max(begin - REACH_FRAMES, min(before, begin)), min(end + REACH_FRAMES, max(after, end))

    def _better(
        self, word: str, frames: tuple[int, int], alphabet: Sequence[str], column: dict[str, int]
    ) -> str | None:
        lead, body, tail = parts(word)
        if not body or len(body) > LONGEST_WORD or not any(letter.isalpha() for letter in body) or "-" in body:
            return None
        lower = body.lower()
        scores = self._scorer(lower, frames, column)
        start = scores([lower])[0]
        near = list(dict.fromkeys(slips(lower, alphabet)))
        values = scores(near)
        # The likeliest first slips, known words or not, are the ground for second ones.
        likely = [near[index] for index in np.argsort(-values)[:SECOND_SLIPS]]
        candidates = {spelling for spelling in near if self.spellings.known(spelling)}
        candidates |= {s for first in likely for s in slips(first, alphabet) if self.spellings.known(s)}
        candidates |= {f"{first} {second}" for first, second in splits(lower) if self._both_known(first, second)}
        candidates -= {lower}
        if not candidates:
            return None
        ordered = sorted(candidates)
        values = scores(ordered)
        best, best_score = ordered[int(np.argmax(values))], float(values.max())
        margin = KNOWN_MARGIN if self.spellings.known_elsewhere(lower, lower) else MARGIN
        if best_score < start + margin:
            return None
        return lead + cased(best, body) + tail

    def _both_known(self, *words: str) -> bool:
        """Whether all are known; a single letter, which lexicons list, must be in the document."""
        return all(self.spellings.known(word) if len(word) > 1 else self.spellings.in_document(word) for word in words)

    def _scorer(
        self, written: str, frames: tuple[int, int], column: dict[str, int]
    ) -> Callable[[Sequence[str]], NDArray[np.float64]]:
        from speechkit.asr.refinement.ctc_kernel import spelling_scores

        part = np.ascontiguousarray(self.emissions.log_probs[slice(*frames)], np.float32)
        blank, space = self.emissions.blank, column.get(" ")
        edge = part[:, blank] if space is None else np.maximum(part[:, blank], part[:, space])

        def scores(spellings: Sequence[str]) -> NDArray[np.float64]:
            tokens = np.full((len(spellings), max(map(len, spellings))), -1, np.int32)
            for row, spelling in enumerate(spellings):
                tokens[row, : len(spelling)] = [column.get(letter, -1) for letter in spelling]
            lengths = np.array([len(spelling) for spelling in spellings], np.int64)
            acoustic = spelling_scores(part, edge, tokens, lengths, blank)
            return np.asarray(ACOUSTIC_WEIGHT * acoustic + self.spellings.log_counts(spellings, written))

        return scores


def with_corrections(
    alignment: PairAlignment, document: Document, emissions: Emissions, spellings: Spellings
) -> PairAlignment:
    """The alignment with the corrections of each sentence."""
    corrector = Corrector(emissions, spellings)
    text_of = {sentence.id: sentence.text for sentence in document.sentences}
    matches = [
        msgspec.structs.replace(match, corrections=corrector.of_match(match, text_of[match.sentence]))
        for match in alignment.matches
    ]
    return msgspec.structs.replace(alignment, matches=matches)


def corrected(match: SentenceMatch, text: str) -> tuple[str, list[WordTime]]:
    """A sentence with its corrections and its own spaces, and the words of the match in the same spelling."""
    correction_of = {item.word: item for item in match.corrections}
    words = [correction_of[n].spelling if n in correction_of else word for n, word in enumerate(text.split())]
    timed: list[WordTime] = []
    for word, number in zip(match.words, _word_numbers(match, text), strict=True):
        spellings = words[number].split()
        times = correction_of[number].times if len(spellings) > 1 else [(word.start, word.end)]
        for spelling, (start, end) in zip(spellings, times, strict=True):
            timed.append(WordTime(spelling, start, end, word.score))
    in_order = iter(words)
    return re.sub(r"\S+", lambda _: next(in_order), text), timed


def without_lost(text: str, match: SentenceMatch) -> str:
    """The text of what the audio holds, without the words at the edges that were given no time."""
    if not match.lost_before and not match.lost_after:
        return text
    words = text.split()
    return " ".join(words[match.lost_before : len(words) - match.lost_after])


def _word_numbers(match: SentenceMatch, text: str) -> list[int]:
    """The number of each timed word among those of the sentence, of which some have no time."""
    written, numbers, number = text.split(), [], match.lost_before - 1
    for word in match.words:
        number = written.index(word.word, number + 1)
        numbers.append(number)
    return numbers


def parts(word: str) -> tuple[str, str, str]:
    """The marks before a word, the word, and the marks behind it."""
    inside = [index for index, character in enumerate(word) if character.isalnum()]
    if not inside:
        return word, "", ""
    return word[: inside[0]], word[inside[0] : inside[-1] + 1], word[inside[-1] + 1 :]


def slips(word: str, alphabet: Sequence[str]) -> Iterable[str]:
    """Every spelling that is one OCR error away from ``word``."""
    for index in range(len(word) + 1):
        head, tail = word[:index], word[index:]
        for letter in alphabet:
            yield head + letter + tail
            if tail and letter != tail[0]:
                yield head + letter + tail[1:]
            if len(tail) > 1:
                yield head + letter + tail[2:]
        if tail and len(word) > 1:
            yield head + tail[1:]


def splits(word: str) -> Iterable[tuple[str, str]]:
    """Every pair of words that ``word`` may be where the space was lost, or read as a letter."""
    for index in range(1, len(word)):
        yield word[:index], word[index:]
        if index + 1 < len(word):
            yield word[:index], word[index + 1 :]


def cased(word: str, like: str) -> str:
    """``word`` in the case of another: capitals, a first capital, or small letters."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
