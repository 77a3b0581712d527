"""Romanise any script, as a key for matching only: stored and displayed text keeps its original script."""

from __future__ import annotations

import functools
import re
from typing import Any

from speechkit.errors import require
from speechkit.text.normalized import Normalized, replace_spans

# uroman's language codes, where they differ from the two-letter codes of manifests.
_LANGUAGE_CODES = {
    "as": "asm", "bn": "ben", "en": "eng", "gu": "guj", "hi": "hin", "kn": "kan", "ml": "mal", "mr": "mar", "ne": "nep",
    "or": "ori", "pa": "pan", "sa": "san", "sd": "snd", "ta": "tam", "te": "tel", "ur": "urd", "zh": "zho", "ja": "jpn",
    "ko": "kor", "ru": "rus", "uk": "ukr", "el": "ell", "ar": "ara", "fa": "fas", "de": "deu",
}  # fmt: skip
_WORD = re.compile(r"[^\x00-\x7f]\S*")


@functools.cache
def _romanizer() -> Any:
    return require("uroman").Uroman()


@functools.lru_cache(maxsize=200_000)
def _edges(word: str, code: str | None) -> tuple[tuple[int, int, str], ...]:
    edges = _romanizer().romanize_string(word, lcode=code, rom_format=require("uroman").RomFormat.EDGES)
    return tuple((edge.start, edge.end, edge.txt) for edge in edges)


def romanize(text: str, lang: str | None = None) -> Normalized:
    """Romanise the text with uroman, word by word, with offsets into it; ASCII words are unchanged.

    The first call loads the tables (about 3.5 s); words are cached.

    Raises:
        MissingExtraError: if the extra ``romanize`` is not installed.
    """
    primary = (lang or "").replace("_", "-").split("-")[0].lower()
    code = _LANGUAGE_CODES.get(primary, primary if len(primary) == 3 else None)
    spans = [
        (match.start() + begin, match.start() + end, new)
        for match in _WORD.finditer(text)
        for begin, end, new in _edges(match.group(), code)
    ]
    return replace_spans(text, spans)
