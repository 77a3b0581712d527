"""Named, versioned normalisers with offsets into the source text.

A name identifies a chain of steps with a version, which increases whenever the output for any text changes. Artefacts
record the `NormalizerSpec`, so that results of different versions are never compared.
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
    """Name and version of a normaliser, as recorded in artefacts."""

    name: str
    version: int


@dataclass(frozen=True)
class Normalizer:
    """A named, versioned chain of steps."""

    spec: NormalizerSpec
    steps: Sequence[Step]

    def normalize(self, text: str) -> Normalized:
        """Normalise the text, with offsets into it; time and memory are linear in its length."""
        normalized = unchanged(text)
        for step in self.steps:
            normalized = normalized.then(step)
        return normalized

    def __call__(self, text: str) -> str:
        """Normalise the text, without offsets."""
        return self.normalize(text).text


@functools.cache
def get_normalizer(name: str) -> Normalizer:
    """Look up a normaliser by name.

    ``none`` changes nothing. ``simple`` composes (NFC), folds case and replaces punctuation by spaces. ``english`` also
    verbalises numbers and abbreviations, removes diacritics from Latin letters, unifies spoken variants ("hundred and
    two", "per cent"), and drops hesitations and transcriber tags, which ``english-verbatim`` keeps; ``english-digits``
    is ``simple`` with each digit as a word, for strings read digit by digit. ``whisper`` is Whisper's normaliser for
    English, used for most published error rates, ``whisper-basic`` its normaliser for other languages. ``indic``
    composes, drops joiners and punctuation including the danda, and folds native digits. ``earnings21`` is ``simple``
    without that data set's transcriber tags (``<inaudible>``, ``<crosstalk>``). The ``match-`` normalisers produce
    keys for matching a document with recognised text: choose one by language with `normalizer_for`.

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
    """Matching normaliser for a language code such as ``en``, ``hi`` or ``pa-IN``; ``match-simple`` if unknown.

    In English and Hindi, numbers in digits match numbers in words. In other languages digits stay digits.
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
