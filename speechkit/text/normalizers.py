"""The named, versioned, reversible normalisers.

A name stands for a chain of steps and a version: change what a chain does to any text, and its version rises. What was
made with one version is never compared with what was made with another: artefacts carry the `NormalizerSpec`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from speechkit.errors import ConfigError
from speechkit.text import english, indic, steps, whisper
from speechkit.text.normalized import Normalized, Step, unchanged

_SIMPLE: tuple[Step, ...] = (
    steps.delete_invisible,
    steps.compose,
    steps.casefold,
    steps.compose,
    steps.drop_punctuation,
    steps.collapse_spaces,
)
_ENGLISH: tuple[Step, ...] = (
    steps.delete_invisible,
    steps.compose,
    steps.fold_digits,
    steps.fold_apostrophes,
    english.expand_abbreviations,
    english.numbers_to_words,
    steps.casefold,
    english.fold_latin_letters,
    steps.compose,
    steps.drop_punctuation,
    steps.collapse_spaces,
    english.expand_titles,
)
_ONE_FORM: tuple[Step, ...] = (steps.collapse_spaces, english.unify_spoken_variants, steps.collapse_spaces)
_INDIC: tuple[Step, ...] = (
    indic.unify_conjuncts,
    steps.delete_invisible,
    steps.compose,
    steps.casefold,
    steps.compose,
    steps.fold_digits,
    steps.drop_punctuation,
    steps.collapse_spaces,
)
_HINDI: tuple[Step, ...] = (
    indic.unify_conjuncts,
    steps.delete_invisible,
    steps.compose,
    steps.casefold,
    steps.compose,
    steps.fold_digits,
    indic.hindi_numbers_to_words,
    steps.drop_punctuation,
    steps.collapse_spaces,
)
CHAINS: dict[str, tuple[int, tuple[Step, ...]]] = {
    "none": (1, ()),
    "simple": (1, _SIMPLE),
    "english": (2, (english.drop_marks, *_ENGLISH, english.drop_fillers, *_ONE_FORM)),
    "english-verbatim": (1, (*_ENGLISH, *_ONE_FORM)),
    "english-digits": (1, (steps.fold_digits, english.spell_digits, *_SIMPLE)),
    "whisper": (1, (whisper.english,)),
    "whisper-basic": (1, (whisper.basic,)),
    "indic": (1, _INDIC),
    "earnings21": (1, (steps.drop_tags, *_SIMPLE)),
    "match-en": (2, (*_ENGLISH, *_ONE_FORM)),
    "match-indic": (2, (steps.fold_presentation_forms, *_INDIC)),
    "match-hi": (1, _HINDI),
    "match-cjk": (1, (steps.fold_width, *_SIMPLE, steps.fold_digits, steps.drop_spaces, steps.compose)),
    "match-simple": (2, (steps.fold_presentation_forms, steps.fold_width, *_SIMPLE, steps.fold_digits)),
}
_INDIC_LANGUAGES = "as bn brx doi gom gu hi kn kok ks mai ml mni mr ne or pa sa sat sd ta te"
INDIC_LANGUAGES = frozenset(_INDIC_LANGUAGES.split())
CJK_LANGUAGES = frozenset(("zh", "yue", "ja", "cmn"))


class NormalizerSpec(msgspec.Struct, frozen=True):
    """What an artefact records about the normaliser that it was made with."""

    name: str
    version: int


@dataclass(frozen=True)
class Normalizer:
    """A chain of steps under a name and a version."""

    spec: NormalizerSpec
    steps: Sequence[Step]

    def normalize(self, text: str) -> Normalized:
        """The normal form of the text, with offsets into it; time and memory grow linearly with the text."""
        normalized = unchanged(text)
        for step in self.steps:
            normalized = normalized.then(step)
        return normalized

    def __call__(self, text: str) -> str:
        """The normal form alone."""
        return self.normalize(text).text


@functools.cache
def get_normalizer(name: str) -> Normalizer:
    """The normaliser of this name.

    ``none`` changes nothing. ``simple`` composes (NFC), folds case, turns punctuation into spaces. ``english`` also
    writes numbers and abbreviations in words and Latin letters without diacritics, takes one form of what is said in
    two ways ("hundred and two", "per cent"), and drops hesitations and transcribers' marks, which ``english-verbatim``
    keeps; ``english-digits`` is ``simple`` with each digit as a word, for strings that are read so. ``whisper`` is
    Whisper's for English, by which most published error rates are made, ``whisper-basic`` its one for other languages.
    ``indic`` composes, drops joiners and punctuation with the danda, and folds native digits. ``earnings21`` is
    ``simple`` without the marks of that data set's transcribers (``<inaudible>``, ``<crosstalk>``). The ``match-``
    names are keys for comparing a document with what a recogniser heard: choose one by language with `normalizer_for`.

    Raises:
        ConfigError: if there is no such normaliser.
    """
    if name not in CHAINS:
        near = difflib.get_close_matches(name, CHAINS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no normalizer is called {name!r}{hint}; choose one of {', '.join(CHAINS)}")
    version, chain = CHAINS[name]
    return Normalizer(NormalizerSpec(name, version), chain)


def normalizer_for(lang: str | None) -> Normalizer:
    """The matching key of a language code such as ``en``, ``hi`` or ``pa-IN``; unknown languages get ``match-simple``.

    Numbers match in digits or words in English and Hindi. In other languages digits stay digits.
    """
    primary = (lang or "").replace("_", "-").split("-")[0].lower()
    if primary == "en":
        return get_normalizer("match-en")
    if primary == "hi":
        return get_normalizer("match-hi")
    if primary in INDIC_LANGUAGES:
        return get_normalizer("match-indic")
    if primary in CJK_LANGUAGES:
        return get_normalizer("match-cjk")
    return get_normalizer("match-simple")
