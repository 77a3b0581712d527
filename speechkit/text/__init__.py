"""Versioned normalisers with offsets, sentence splitting, romanisation and language identification. No torch."""

from speechkit.text.language import LanguageGuess, guess_language, script_shares
from speechkit.text.normalized import Normalized
from speechkit.text.normalizers import CHAINS, Normalizer, NormalizerSpec, get_normalizer, normalizer_for
from speechkit.text.romanization import romanize
from speechkit.text.sentences import split_sentences

__all__ = [
    "CHAINS",
    "LanguageGuess",
    "Normalized",
    "Normalizer",
    "NormalizerSpec",
    "get_normalizer",
    "guess_language",
    "normalizer_for",
    "romanize",
    "script_shares",
    "split_sentences",
]
