"""Text front end: written text to the symbols that a synthesis model reads, by language.

A text is spelled out (numbers, dates, abbreviations) and split into sentences. Each sentence becomes symbols: letters,
or phonemes of the program espeak-ng, or phones of a dictionary with letters for words that it lacks. Exactly one symbol
separates two words: a space or a punctuation mark.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec

from speechkit.errors import ConfigError, UserError, require
from speechkit.text import english, german, steps
from speechkit.text.acronyms import spell_acronyms
from speechkit.text.normalized import Step, unchanged
from speechkit.text.sentences import split_sentences
from speechkit.tts.speech import UnspeakableError

PAUSES = (" ", ",", ".", "?", "!")
"""Symbols between words; at a space there is usually no pause."""
SENTENCE_CHARACTERS = 240
"""Longer sentences are split at commas, else between words."""
_LETTERS = {"en": "abcdefghijklmnopqrstuvwxyz'", "de": "abcdefghijklmnopqrstuvwxyzäöüß'"}
_EXPANSIONS: dict[str, tuple[Step, ...]] = {
    "en": (english.expand_abbreviations, english.numbers_to_words),
    "de": (german.expand_abbreviations, german.numbers_to_words),
}
_PREPARATION: tuple[Step, ...] = (
    steps.fold_width,
    steps.delete_invisible,
    steps.compose,
    steps.fold_digits,
    steps.fold_apostrophes,
)
LANGUAGES = tuple(_LETTERS)
_AS_PAUSE = {
    **dict.fromkeys(";:–—()[]/|", ","),
    **dict.fromkeys("…。।", "."),
    **dict.fromkeys("？؟", "?"),
    **dict.fromkeys("！¡", "!"),
    **dict.fromkeys("，、", ","),
}
_SILENT = frozenset('"“”„«»‹›*_~^`´#¿{}<>=+\\-‐‑\u00ad')
"""Marks without sound; a hyphen separates two words."""
_FOLDED = {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ß": "ss"}
_WORD_OR_MARK = re.compile(r"[,.?!]+|[^\s,.?!]+")
_BEFORE_MARK = re.compile(r" (?=[,.;:?!])")
_SHOWN = 8
_POCKETSPHINX = "en-us/cmudict-en-us.dict"


class TextConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How texts of one language become symbols; stored with the model.

    Attributes:
        lang: ``en`` or ``de``, which have built-in rules, or any other code with its letters in ``symbols``.
        units: ``letters``, or ``phonemes`` from the program espeak-ng.
        symbols: the model's inventory, pauses included; empty for that of the language.
        espeak_voice: the espeak-ng voice, if its name is not ``lang``.
    """

    lang: str = "en"
    units: Literal["letters", "phonemes"] = "letters"
    symbols: tuple[str, ...] = ()
    espeak_voice: str = ""

    def __post_init__(self) -> None:
        if not self.symbols and self.lang not in _LETTERS:
            raise ConfigError(
                f"no letters are known for lang {self.lang!r}, only for {', '.join(LANGUAGES)}; list them as symbols"
            )
        if self.symbols and (set(PAUSES) - set(self.symbols) or len(set(self.symbols)) != len(self.symbols)):
            raise ConfigError(f"symbols must hold each of {' '.join(map(repr, PAUSES))}, and none twice")


def spell_out(text: str, lang: str) -> str:
    """Expand numbers, dates and abbreviations (English and German) into words; punctuation is kept."""
    spelled = unchanged(text)
    for step in (*_PREPARATION, *_EXPANSIONS.get(lang, ()), lambda inner: spell_acronyms(inner, lang)):
        spelled = spelled.then(step)
    return spelled.text


def sentences(text: str, lang: str, longest: int = SENTENCE_CHARACTERS) -> list[str]:
    """Sentences of a text in pieces of at most ``longest``; spelled out first, so that no ordinal's dot ends one."""
    spelled = spell_out(text, lang)
    spans = split_sentences(spelled, lang, max_characters=longest)
    return [_BEFORE_MARK.sub("", " ".join(spelled[begin:end].split())) for begin, end in spans]


@dataclass(frozen=True)
class TextFrontEnd:
    """Converts sentences to symbols.

    Attributes:
        config: the language and its symbols.
        dictionary: phones of lower-case words, one symbol each; words that it lacks are spelled in letters.
    """

    config: TextConfig
    dictionary: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """All symbols in the order of their numbers from 1; 0 is padding."""
        if self.config.symbols:
            return self.config.symbols
        if self.config.units == "phonemes":
            return PAUSES
        phones = sorted({phone for word in self.dictionary.values() for phone in word})
        return (*PAUSES, *_LETTERS[self.config.lang], *phones)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols, 1)}

    def _knows(self, symbol: str) -> bool:
        # The phonemes of a language are collected from its texts: until they are listed, all are accepted.
        return symbol in self._numbers or (self.config.units == "phonemes" and not self.config.symbols)

    def sentences(self, text: str) -> list[str]:
        """See `sentences`."""
        return sentences(text, self.config.lang)

    def __call__(self, sentence: str) -> list[str]:
        """The symbols of a sentence; characters without sound are left out with a warning that names them.

        Raises:
            UnspeakableError: if nothing in it can be spoken.
        """
        symbols, unknown = self.read(sentence)
        if unknown:
            names = ", ".join(map(_named, unknown[:_SHOWN]))
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            warnings.warn(
                f"left out what lang {self.config.lang!r} has no sound for: {names}{more}", UserWarning, stacklevel=2
            )
        return symbols

    def read(
        self, sentence: str, as_letters: Callable[[str], bool] = lambda word: False
    ) -> tuple[list[str], list[str]]:
        """The symbols of a sentence (a space, then words with one pause after each), and the characters without symbol.

        Args:
            sentence: from `sentences`, or any text, which is spelled out.
            as_letters: selects words to spell in letters although the dictionary has them.

        Raises:
            UnspeakableError: if nothing in it can be spoken.
        """
        unknown: dict[str, None] = {}
        symbols = [" "]
        for piece in self._pieces(spell_out(sentence, self.config.lang), unknown):
            if piece in PAUSES:
                # The last of several marks counts, spaces aside: "?!" is an exclamation.
                if len(symbols) > 1 and (symbols[-1] == " " or piece != " "):
                    symbols[-1] = piece
                continue
            phones = self.dictionary.get(piece)
            symbols += phones if phones is not None and not as_letters(piece) else piece
            symbols.append(" ")
        if len(symbols) == 1:
            shown = sentence if len(sentence) <= 60 else f"{sentence[:60]} …"
            raise UnspeakableError(
                f"{shown!r}: holds nothing that can be spoken in lang {self.config.lang!r}; give words of that language"
            )
        if symbols[-1] == " ":
            symbols[-1] = "."
        return symbols, [*unknown]

    def numbers(self, symbols: Sequence[str]) -> list[int]:
        """The numbers of symbols.

        Raises:
            UserError: if the model does not know one.
        """
        try:
            return [self._numbers[symbol] for symbol in symbols]
        except KeyError as error:
            raise UserError(f"the model has no symbol {error}; use one of {''.join(self.symbols)!r}") from None

    def _pieces(self, spelled: str, unknown: dict[str, None]) -> list[str]:
        """Words, in known letters or phonemes, and pauses."""
        if self.config.units == "phonemes":
            return self._phonemes(spelled, unknown)
        written = "".join(self._letter(character, unknown) for character in spelled.lower())
        pieces: list[str] = []
        for piece in _WORD_OR_MARK.findall(written):
            if piece[0] in PAUSES:
                pieces += piece
            else:
                bare = piece.strip("'")
                pieces += [piece if piece in self.dictionary else bare] if bare else []
        return pieces

    def _letter(self, character: str, unknown: dict[str, None]) -> str:
        """Replacement of a lower-case character: itself, its base letters, a pause or a space."""
        if character.isspace():
            return " "
        if character in PAUSES or character in self._numbers:
            return character
        if character in _AS_PAUSE:
            return _AS_PAUSE[character]
        if character in _SILENT:
            return " "
        folded = _FOLDED.get(character) or unicodedata.normalize("NFKD", character).lower()  # № holds an N
        letters = "".join(letter for letter in folded if letter in self._numbers and letter not in PAUSES)
        if not letters:
            unknown[character] = None
        return letters or " "

    def _phonemes(self, spelled: str, unknown: dict[str, None]) -> list[str]:
        from speechkit.tts.espeak import espeak_program, phonemize

        marked = "".join(_AS_PAUSE.get(character, character) for character in spelled)
        clauses: list[str] = []
        marks: list[str] = []
        for clause in re.split(r"(?<=[,.?!])\s+", marked):
            words = clause.rstrip(",.?! ")
            if any(character.isalnum() for character in words):
                clauses.append(words)
                marks.append(clause[-1] if clause[-1] in PAUSES else " ")
        spoken = phonemize(clauses, self.config.espeak_voice or self.config.lang, espeak_program())
        pieces: list[str] = []
        for clause, mark in zip(spoken, marks, strict=True):
            for word in unicodedata.normalize("NFD", clause).split():
                known = "".join(filter(self._knows, word))
                unknown.update(dict.fromkeys(symbol for symbol in word if not self._knows(symbol)))
                pieces += [known] if known else []
            pieces.append(mark)
        return pieces


def read_dictionary(name: str) -> dict[str, tuple[str, ...]]:
    """Phones of lower-case words, from a file of lines ``word PHONE PHONE`` or ``pocketsphinx`` (English, ARPAbet).

    The first of several pronunciations counts.

    Raises:
        UserError: if the file cannot be read or a line has no phones.
        MissingExtraError: if pocketsphinx is not installed.
    """
    path = Path(require("pocketsphinx").get_model_path(_POCKETSPHINX) if name == "pocketsphinx" else name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a dictionary ({error}); give lines of a word and phones") from error
    words: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        word, *phones = line.split() or [""]
        if not word:
            continue
        if not phones:
            raise UserError(f"{path}:{number}: {word!r} has no phones; give lines of a word and phones")
        if all(character.isalpha() or character == "'" for character in word):
            words.setdefault(word.lower(), tuple(phones))
    return words


def read_front_end(text: Path, dictionary: Path) -> TextFrontEnd:
    """The front end that the first stage of a recipe wrote: a `TextConfig` and a dictionary, both as JSON."""
    return TextFrontEnd(
        msgspec.json.decode(text.read_bytes(), type=TextConfig),
        msgspec.json.decode(dictionary.read_bytes(), type=dict[str, tuple[str, ...]]),
    )


def _named(character: str) -> str:
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    return f"{character} ({name})" if character.isprintable() else name  # a terminal would act on control characters
