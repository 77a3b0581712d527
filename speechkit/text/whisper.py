"""Whisper's two normalisers, used for most published error rates, with offsets into the text.

The rules are those of the package whisper-normalizer, without its additions to the published ones.
Source: Radford et al. 2022, appendix C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from speechkit.text.normalized import Normalized

ADDED = ("kinda", "sorta", "dunno", "cause")
"""Words that the published normaliser leaves as they are."""


def english(text: str) -> Normalized:
    """Lower case, without marks and hesitations, American spelling, contractions expanded, numbers in digits."""
    try:
        normal = _english()(text)
    except (AssertionError, ValueError):  # a number of thousands of digits, which its arithmetic refuses
        return basic(text)
    return _aligned(text, normal.strip())


def basic(text: str) -> Normalized:
    """Lower case; letters, marks and digits of any script; text in brackets is dropped."""
    return _aligned(text, _basic()(text).strip())


@cache
def _english() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer = EnglishTextNormalizer()
    for added in ADDED:
        normalizer.replacers.pop(rf"\b{added}\b", None)
    chosen: Callable[[str], str] = normalizer
    return chosen


@cache
def _basic() -> Callable[[str], str]:
    from whisper_normalizer.basic import BasicTextNormalizer

    chosen: Callable[[str], str] = BasicTextNormalizer()
    return chosen


def _aligned(source: str, text: str) -> Normalized:
    """Offsets by minimum edit distance from the lower-cased source, since the rules themselves provide none."""
    from rapidfuzz.distance import Levenshtein

    lowered = "".join(low if len(low := letter.lower()) == 1 else letter for letter in source)
    offsets = np.full(len(text) + 1, len(source), np.int32)
    for step in Levenshtein.opcodes(lowered, text):
        length = step.dest_end - step.dest_start
        if length:
            span = step.src_end - step.src_start
            offsets[step.dest_start : step.dest_end] = step.src_start + np.arange(length) * span // length
    return Normalized(text, offsets)
