"""Script-independent normalisation steps: canonical composition, case, punctuation, spaces and digits."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np

from speechkit.text.normalized import (
    Normalized,
    character_table,
    code_points,
    from_code_points,
    keep_characters,
    map_characters,
    replace_matches,
    replace_spans,
    unchanged,
)

APOSTROPHES = "'\u2019\u2018\u02bc\u2032\u0060\u00b4\uff07"
_DELETED, _SPACE, _KEPT, _APOSTROPHE = range(4)
# Text with nothing to drop. Each repetition starts with an apostrophe, so that matching takes linear time.
_WORDS = re.compile("[A-Za-z0-9 ]*(?:(?<=[A-Za-z0-9])'(?=[A-Za-z0-9])[A-Za-z0-9 ]*)*")
_TAG = re.compile(r"<[A-Za-z_/-]{1,32}>")
_HANGUL_VOWELS_AND_FINALS = "\u1160-\u11ff"


def compose(text: str) -> Normalized:
    """Unicode NFC, cluster by cluster, so that each cluster stays aligned with its source."""
    if unicodedata.is_normalized("NFC", text):
        return unchanged(text)
    distinct = set(text)
    marks = "".join(re.escape(character) for character in distinct if unicodedata.category(character)[0] == "M")
    changing = "".join(re.escape(c) for c in distinct if not unicodedata.is_normalized("NFC", c))
    # A character composes with the preceding one only if it is a mark or a non-initial Hangul jamo.
    following = f"[{marks}{_HANGUL_VOWELS_AND_FINALS}]"
    pattern = re.compile(f"(?s:.){following}+" + (f"|[{changing}]" if changing else ""))
    composed: dict[str, str] = {}
    spans: list[tuple[int, int, str]] = []
    for match in pattern.finditer(text):
        cluster = match.group()
        new = composed.get(cluster)
        if new is None:
            new = composed[cluster] = unicodedata.normalize("NFC", cluster)
        if new != cluster:
            spans.append((*match.span(), new))
    return replace_spans(text, spans)


def casefold(text: str) -> Normalized:
    """Full Unicode case folding; one character may become several."""
    if text.isascii():
        lowered = text.lower()
        return unchanged(text) if lowered == text else Normalized(lowered, np.arange(len(text) + 1, dtype=np.int32))
    return map_characters(text, str.casefold)


def delete_invisible(text: str) -> Normalized:
    """Remove soft hyphens, joiners, direction marks and variation selectors, which are not spoken."""
    if text.isascii():
        return unchanged(text)
    return map_characters(text, lambda c: "" if unicodedata.category(c) == "Cf" or "\ufe00" <= c <= "\ufe0f" else c)


def fold_presentation_forms(text: str) -> Normalized:
    """Replace Arabic presentation forms, as stored in PDF files (initial, final, ligatures), by base letters."""

    def letters(character: str) -> str:
        shaped = "\ufb50" <= character <= "\ufdff" or "\ufe70" <= character <= "\ufefc"
        return unicodedata.normalize("NFKC", character) if shaped else character

    return map_characters(text, letters)


def fold_digits(text: str) -> Normalized:
    """Convert decimal digits of any script to ASCII digits."""
    return map_characters(text, lambda c: str(unicodedata.digit(c)) if unicodedata.category(c) == "Nd" else c)


def fold_apostrophes(text: str) -> Normalized:
    """Convert typographic apostrophes to ASCII."""
    return map_characters(text, lambda c: "'" if c in APOSTROPHES else c)


def fold_width(text: str) -> Normalized:
    """Convert full-width and half-width forms to standard characters."""
    return map_characters(text, lambda c: unicodedata.normalize("NFKC", c) if "\uff00" <= c <= "\uffef" else c)


@cache
def _character_class(character: str) -> int:
    if character in APOSTROPHES:
        return _APOSTROPHE
    if unicodedata.category(character)[0] in "LMN":
        return _KEPT
    return _SPACE


def drop_punctuation(text: str) -> Normalized:
    """Replace punctuation, symbols and control characters by spaces; keep letters, marks and numbers of any script.

    An apostrophe between two kept characters (``don't``) is kept, as ASCII.
    """
    if _WORDS.fullmatch(text):
        return unchanged(text)
    classes = character_table(text, _character_class)
    if not len(classes) or (classes == _KEPT).all():
        return unchanged(text)
    kept = np.concatenate(([False], classes == _KEPT, [False]))
    apostrophe = (classes == _APOSTROPHE) & kept[:-2] & kept[2:]
    codes = code_points(text).copy()
    codes[(classes == _SPACE) | (classes == _APOSTROPHE)] = ord(" ")
    codes[apostrophe] = ord("'")
    return Normalized(from_code_points(codes), np.arange(len(text) + 1, dtype=np.int32))


def drop_tags(text: str) -> Normalized:
    """Replace transcriber tags in angle brackets, such as ``<inaudible>``, by a space."""
    return replace_matches(text, _TAG, lambda match: " ")


def collapse_spaces(text: str) -> Normalized:
    """Collapse runs of white space to one space and strip both ends."""
    if " ".join(text.split()) == text:
        return unchanged(text)
    space = character_table(text, str.isspace).astype(bool)
    if not space.any():
        return unchanged(text)
    keep = ~space
    first_of_run = space & np.concatenate(([False], keep[:-1]))  # a space after a kept character
    if not keep.any():
        return Normalized("", np.asarray([len(text)], np.int32))
    first_of_run[np.flatnonzero(keep)[-1] + 1 :] = False
    kept = keep_characters(text, keep | first_of_run)
    return kept.then(lambda inner: map_characters(inner, lambda c: " " if c.isspace() else c))


def drop_spaces(text: str) -> Normalized:
    """Remove all white space, for scripts written without it."""
    return keep_characters(text, ~character_table(text, str.isspace).astype(bool))
