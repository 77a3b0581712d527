"""N-gram language models in the ARPA format, which KenLM, SRILM and `speechkit lm build` write. Torch-free.

Large models that are loaded often are packed into arrays: `speechkit.lm.packed_ngrams`.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from speechkit.errors import UserError
from speechkit.lm.packed_ngrams import PackedNgrams

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPACE = "<space>"
"""The space as a word of a character model."""
State = tuple[str, ...]
"""The history of the next word, at most order - 1 words."""
LN_10 = math.log(10)
UNKNOWN_LOG10 = -7.0
"""log10 probability of an unknown word if the model has no ``<unk>``."""
MAX_LINE = 1 << 16


class NgramModel:
    """Back-off n-gram model that gives natural log-probabilities of words given their history.

    Args:
        order: longest n-gram.
        entries: n-gram, its words separated by spaces, to (log10 probability, log10 back-off weight).
        source: file it was read from, for error messages.
    """

    def __init__(self, order: int, entries: Mapping[str, tuple[float, float]], source: str = "the language model"):
        self.order, self.entries, self.source = order, entries, source
        unknown = entries.get(UNKNOWN)
        self._unknown = unknown[0] if unknown is not None else UNKNOWN_LOG10

    @classmethod
    def read(cls, path: str | Path) -> NgramModel:
        """Read ``.arpa`` or ``.arpa.gz``, or ``.safetensors``, a packed model.

        Raises:
            UserError: with ``file:line`` where the file is not ARPA, or if the stated counts and the n-grams differ.
        """
        path = Path(path)
        if path.suffix == ".safetensors":
            packed = PackedNgrams.read(path)
            return cls(packed.order, packed, str(path))
        counts: dict[int, int] = {}
        entries: dict[str, tuple[float, float]] = {}
        section, seen = 0, 0
        sections: set[int] = set()
        ended = begun = False

        def check_count(where: str) -> None:
            if section and seen != counts.get(section, 0):
                raise UserError(
                    f"{where}: there are {seen} {section}-grams and the header says {counts.get(section, 0)}; "
                    "build the model again"
                )

        number = 0
        for number, line in _lines(path):
            where = f"{path}:{number}"
            if not begun:
                begun = line == "\\data\\"
                continue
            if not line:
                continue
            if line == "\\end\\":
                check_count(where)
                if absent := [order for order, count in counts.items() if count and order not in sections]:
                    raise UserError(
                        f"{where}: there is no section of {absent[0]}-grams and the header says {counts[absent[0]]}; "
                        "build the model again"
                    )
                ended = True
                break
            if line.startswith("ngram ") and not section:
                order, _, count = line[6:].partition("=")
                if not (order.strip().isdecimal() and count.strip().isdecimal()):
                    raise UserError(f"{where}: {line[:60]!r} is not a count; write 'ngram N=COUNT'")
                counts[int(order)] = int(count)
            elif line.startswith("\\") and line.endswith("-grams:"):
                check_count(where)
                section, seen = _section(line, where, counts), 0
                sections.add(section)
            else:
                words, value = _entry(line, section, where)
                entries[words] = value
                seen += 1
        if not ended:
            raise UserError(
                f"{path}:{number}: ends before \\end\\; give a complete ARPA file (not KenLM's binary format)"
            )
        if not entries:
            raise UserError(f"{path}: holds no n-grams; build the model again")
        return cls(max(counts), entries, str(path))

    def begin(self) -> State:
        """The state before a sentence."""
        return (BEGIN,) if self.order > 1 else ()

    def score(self, state: State, word: str) -> tuple[float, State]:
        """Natural log-probability of a word in a state, and the state after the word.

        An out-of-vocabulary word is scored as ``<unk>``.
        """
        known = word if word in self.entries else UNKNOWN
        back_off = 0.0
        context = state
        while True:
            entry = self.entries.get(" ".join((*context, known)))
            if entry is not None:
                log10 = back_off + entry[0]
                break
            if not context:
                log10 = back_off + self._unknown
                break
            weights = self.entries.get(" ".join(context))
            back_off += weights[1] if weights is not None else 0.0
            context = context[1:]
        following = (*state, known)[-(self.order - 1) :] if self.order > 1 else ()
        return log10 * LN_10, following

    def sentence(self, words: Sequence[str]) -> float:
        """Natural log-probability of a sentence, including its end."""
        total, state = 0.0, self.begin()
        for word in (*words, END):
            value, state = self.score(state, word)
            total += value
        return total

    def perplexity(self, sentences: Sequence[Sequence[str]]) -> tuple[float, float]:
        """Perplexity per word, sentence ends included, and the share of out-of-vocabulary words.

        Raises:
            UserError: if there is no sentence.
        """
        if not sentences:
            raise UserError("there is no sentence to compute a perplexity of; give text")
        total = sum(self.sentence(words) for words in sentences)
        words = sum(len(sentence) for sentence in sentences)
        unknown = sum(word not in self.entries for sentence in sentences for word in sentence)
        return math.exp(-total / (words + len(sentences))), unknown / max(1, words)

    @property
    def words(self) -> Iterable[str]:
        """All words, reserved symbols included; one by one, so that who needs the first few waits for no more."""
        entries = self.entries
        return entries.words if isinstance(entries, PackedNgrams) else (gram for gram in entries if " " not in gram)

    @property
    def spells(self) -> bool:
        """Whether this is a character model: all words are single characters, with ``<space>`` for the space."""
        return all(len(word) == 1 or word.startswith("<") for word in self.words)


def _section(line: str, where: str, counts: dict[int, int]) -> int:
    order = line[1 : -len("-grams:")]
    if not order.isdecimal() or int(order) not in counts:
        raise UserError(f"{where}: the section {line[:40]!r} is not in the header; build the model again")
    return int(order)


def _entry(line: str, order: int, where: str) -> tuple[str, tuple[float, float]]:
    cells = line.split()
    if not order or not order + 1 <= len(cells) <= order + 2:
        raise UserError(f"{where}: {line[:60]!r} is not a {order}-gram; write log10 probability, words, back-off")
    try:
        value = float(cells[0]), float(cells[order + 1]) if len(cells) == order + 2 else 0.0
    except ValueError as error:
        raise UserError(f"{where}: {line[:60]!r} has a value that is not a number; build the model again") from error
    if not all(math.isfinite(number) for number in value):
        raise UserError(f"{where}: a value is not finite; build the model again")
    return " ".join(cells[1 : order + 1]), value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    def opened() -> IO[bytes]:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]

    try:
        with opened() as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise UserError(f"{path}:{number}: the line is longer than 64 KiB; give an ARPA model")
                yield number, line.decode("utf-8").strip(" \t\r\n")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(
            f"{path}: cannot be read as an ARPA model ({error}); build one by speechkit lm build"
        ) from error
