"""Correction of OCR errors where the emissions clearly support another spelling.

A word is compared with the known words that one or two slips of a scan make of it: a letter for another, one lost or
doubled, one letter read as two. A spelling wins if what was heard and how often the document has the word elsewhere
speak for it by a margin. Known words are those of the document and of a lexicon; others are spelled as they sound. The
words are those of `refine_alignment`, with the frames where they were said.

Source: the noisy channel of Kernighan, Church and Gale 1990, with acoustic scores in the place of the channel's.
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.asr.alignment import columns_of
from speechkit.asr.hypothesis import Emissions
from speechkit.errors import UserError, require
from speechkit.io.hashing import digest_file
from speechkit.mining.records import Correction, Document, PairAlignment, SentenceMatch

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
    """How often a document has a spelling, and a lexicon that counts once more for every word of it."""

    def __init__(self, texts: Iterable[str], lexicon: Iterable[str] = ()):
        self._words: Counter[str] = Counter(parts(word)[1].lower() for text in texts for word in text.split())
        self._lexicon = frozenset(lexicon)

    def log_counts(self, spellings: Sequence[str], written: str) -> NDArray[np.float64]:
        """Logarithm (n,) of how often each stands elsewhere than here; what stands nowhere counts `UNSEEN`."""
        return np.log([self._words[word] - (word == written) + (word in self._lexicon) + UNSEEN for word in spellings])

    def known_elsewhere(self, word: str) -> bool:
        """Whether a written word also occurs elsewhere in the document."""
        return self._words[word] > 1 or word in self._lexicon

    def known(self, word: str) -> bool:
        """Whether a word is in the document or the lexicon."""
        return word in self._words or word in self._lexicon


def read_lexicon(name: str, lang: str) -> frozenset[str]:
    """The words of a file, one a line, the first of a line that has more; ``auto`` is what is at hand for a language.

    That is the English dictionary of pocketsphinx where the extra ``align`` is installed, and nothing otherwise.

    Raises:
        UserError: if the file cannot be read.
    """
    path = _at_hand() if name == "auto" and lang == "en" else None if name == "auto" else Path(name)
    if path is None:
        return frozenset()
    try:
        words = (line.split()[0].split("(")[0].lower() for line in path.read_text("utf-8").splitlines() if line.strip())
        return frozenset(word for word in words if word[:1].isalpha())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as a lexicon ({error}); give a text file with a word a line"
        ) from error


def lexicon_digest(name: str) -> str:
    """The content of a lexicon, so that another one corrects anew."""
    path = _at_hand() if name == "auto" else Path(name)
    return "none" if path is None else digest_file(path)


def _at_hand() -> Path | None:
    if importlib.util.find_spec("pocketsphinx") is None:
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
        found = []
        for index, (word, place) in enumerate(zip(match.words, _places(match, text), strict=True)):
            better = self._better(word.word, self._frames(match, index), alphabet, column)
            if better is not None:
                found.append(Correction(place, better))
        return found

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
        candidates -= {lower}
        if not candidates:
            return None
        ordered = sorted(candidates)
        values = scores(ordered)
        best, best_score = ordered[int(np.argmax(values))], float(values.max())
        margin = KNOWN_MARGIN if self.spellings.known_elsewhere(lower) else MARGIN
        if best_score < start + margin:
            return None
        return lead + cased(best, body) + tail

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
            heard = spelling_scores(part, edge, tokens, lengths, blank)
            return np.asarray(ACOUSTIC_WEIGHT * heard + self.spellings.log_counts(spellings, written))

        return scores


def with_corrections(
    alignment: PairAlignment, document: Document, emissions: Emissions, lexicon: Iterable[str]
) -> PairAlignment:
    """The alignment with what every sentence's words are put right to."""
    corrector = Corrector(emissions, Spellings((sentence.text for sentence in document.sentences), lexicon))
    text_of = {sentence.id: sentence.text for sentence in document.sentences}
    matches = [
        msgspec.structs.replace(match, corrections=corrector.of_match(match, text_of[match.sentence]))
        for match in alignment.matches
    ]
    return msgspec.structs.replace(alignment, matches=matches)


def corrected(match: SentenceMatch, text: str) -> tuple[str, list[str]]:
    """A sentence as it was said, with the spaces that it has, and the words of the match in the same spelling."""
    spelling = {item.word: item.spelling for item in match.corrections}
    said = [spelling.get(number, word) for number, word in enumerate(text.split())]
    number = iter(range(len(said)))
    return re.sub(r"\S+", lambda _: said[next(number)], text), [said[place] for place in _places(match, text)]


def _places(match: SentenceMatch, text: str) -> list[int]:
    """The number of each word among those of the sentence, of which some have no time."""
    written, found, place = text.split(), [], match.lost_before - 1
    for word in match.words:
        place = written.index(word.word, place + 1)
        found.append(place)
    return found


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


def cased(word: str, like: str) -> str:
    """``word`` in the case of another: capitals, a first capital, or small letters."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
