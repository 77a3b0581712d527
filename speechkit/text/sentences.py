"""Sentence segmentation for Latin, Indic, Arabic, Armenian, Ethiopic and Chinese scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ENGLISH = """
mr mrs ms dr prof rev hon gen col capt lieut lt sgt maj gov sen rep st messrs mt ft esq jan feb mar apr jun jul aug sep
sept oct nov dec vs approx dept govt eg ie e.g i.e cf viz al ave blvd rd vol vols ch chap fig figs ed eds
pp op cit ibid adm cmdr brig supt insp pres
"""
_GERMAN = """
dr prof hr fr frl st bzw ca usw z.b d.h u.a z.t evtl ggf vgl nr bd s jan feb mär apr jun jul aug sep sept okt nov dez
str abb kap inkl exkl geb gest ing
"""
_FRENCH = "m mm mme mlle dr prof st ste av bd fig cf p pp vol chap art éd env janv févr avr juil sept oct nov déc n"
_SPANISH = "sr sra srta dr dra prof d dña ud uds av avda cap fig núm pág págs vol art ed aprox ene feb abr ago sept oct"
_ITALIAN = "sig sig.ra sig.na dr dott dott.ssa prof avv ing on pag pagg vol cap fig art ecc gen feb mar apr giu lug ago"
_PORTUGUESE = "sr sra srta dr dra prof profa av cap fig núm pág págs vol art ed aprox jan fev abr ago set out nov dez"
_DUTCH = "dhr mevr mr dr drs prof ing st nr blz bijv bv d.w.z enz vgl ca jan feb mrt apr aug sept okt nov dec"
_HINDI = "डॉ श्री सुश्री प्रो पं मो चौ कु ई स्व एड लि कि.मी रु ए.के उ.प्र"

ABBREVIATIONS = {
    lang: frozenset(words.split())
    for lang, words in {
        "en": _ENGLISH,
        "de": _GERMAN,
        "fr": _FRENCH,
        "es": _SPANISH,
        "it": _ITALIAN,
        "pt": _PORTUGUESE,
        "nl": _DUTCH,
        "hi": _HINDI,
        "mr": _HINDI,
        "ne": _HINDI,
    }.items()
}
# Abbreviations only before a number: "No. 5", but "He said no. Then he left."
_BEFORE_NUMBERS = "No no Nos nos Nr nr Art art Sec sec Ch ch Fig fig Vol vol p pp P Núm núm n"
BEFORE_NUMBERS = frozenset(_BEFORE_NUMBERS.split())
# Frequent first words of English sentences: after "U.S." they indicate a sentence boundary.
_STARTERS = """
A After All An And As At But By For From He Her His How However I If In It Its My No On One Our She So Some That The
Their Then There These They This Those Though To Under We What When Where While Who Why With You Your
"""
STARTERS = frozenset(_STARTERS.split())


MAX_CHARACTERS = 400
MOST_SIGNS = 16
"""Of signs that belong to one letter, far more than any writing has."""

_CLOSERS = "\"'”’»›)\\]}」』】〉》）"
_PARAGRAPH = re.compile(r"[^\S\n]*\n[^\S\n]*(?:\n\s*|\f\s*)|\f\s*")
# Marks that always end a sentence; a full stop, question or exclamation mark must be followed by white space.
_AROUND = rf"(?:[{_CLOSERS}]|[ \u00a0\u202f]»)*"  # French puts a space before its closing quotation mark
_END = re.compile(rf"[।॥۔؟。！？｡։።፧᙮]+{_AROUND}|[.!?…]+{_AROUND}(?=\s|$)|[.!?…]+(?=[\"“«‘]?[A-Z][a-z]{{2}})")
_LAST_WORD = re.compile(r"[^\s\"'“‘«(\[{—–]*$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]$")
_ENUMERATOR = re.compile(r"(?:\d{1,3}|[ivxlc]{1,5}|[IVXLC]{1,5}|[A-Za-z])$")
_NEXT = re.compile(r"\s*[\"'“‘«‹(\[{¿¡—–-]*")
_CLAUSES = (
    re.compile(r"[;；؛][\"'”’»)\]]*(?=\s)|；|:(?=\s)|："),
    re.compile(r"[,，、،؍](?=\s)|[，、،]|\s[—–]\s|—"),
    re.compile(r"\s"),
)


def split_sentences(
    text: str, lang: str | None = "en", *, max_characters: int = MAX_CHARACTERS
) -> list[tuple[int, int]]:
    """Split text into sentences: half-open character ranges, sorted, disjoint, stripped of white space.

    A blank line or a form feed always ends a sentence, so that headings and list items without a full stop are
    separate; a single line break does not. A sentence longer than ``max_characters`` is cut at semicolons and colons,
    else at commas and dashes, else between words, else anywhere. Everything outside the ranges is white space.

    Raises:
        ValueError: if ``max_characters`` is less than 1.
    """
    if max_characters < 1:
        raise ValueError(f"max_characters is {max_characters}; it must be at least 1")
    primary = (lang or "").replace("_", "-").split("-")[0].lower()
    spans: list[tuple[int, int]] = []
    for begin, end in _paragraphs(text):
        for first, last in _sentences(text, begin, end, primary):
            spans.extend(_pieces(text, first, last, max_characters))
    return spans


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    cursor = 0
    for gap in _PARAGRAPH.finditer(text):
        yield cursor, gap.start()
        cursor = gap.end()
    yield cursor, len(text)


def _strip(text: str, begin: int, end: int) -> tuple[int, int]:
    while begin < end and text[begin].isspace():
        begin += 1
    while end > begin and text[end - 1].isspace():
        end -= 1
    return begin, end


def _sentences(text: str, begin: int, end: int, lang: str) -> Iterator[tuple[int, int]]:
    cursor = begin
    for mark in _END.finditer(text, begin, end):
        if mark.end() > cursor and _ends_sentence(text, cursor, mark, end, lang):
            first, last = _strip(text, cursor, mark.end())
            if first < last:
                yield first, last
            cursor = mark.end()
    first, last = _strip(text, cursor, end)
    if first < last:
        yield first, last


def _ends_sentence(text: str, sentence: int, mark: re.Match[str], end: int, lang: str) -> bool:
    """Whether the mark ends the sentence that starts at ``sentence``, from the adjacent words."""
    marks = mark.group().rstrip("\"'”’»›)]}」』】〉》） \u00a0\u202f")
    if marks[0] not in ".…!?":
        return True
    following = _NEXT.match(text, mark.end(), end)
    after = following.end() if following else mark.end()
    if after >= end:
        return True
    if text[after].islower():  # "Stop!" he cried; and so on ... but; e.g. this
        return False
    if marks[0] in "!?":
        return True
    if len(marks) > 1 or marks == "…":
        return True
    word = _LAST_WORD.search(text, max(sentence, mark.start() - 40), mark.start())
    before = word.group() if word else ""
    if not before:
        return True
    if before in BEFORE_NUMBERS and text[after].isdigit():
        return False
    if before.casefold() in ABBREVIATIONS.get(lang, ABBREVIATIONS["en"]):
        return False
    if word is not None and word.start() <= sentence + 1 and _ENUMERATOR.match(before):  # "1. First point"
        return False
    if before.isdigit() and lang in ("de", "da", "nb", "no", "fi", "cs", "hu"):  # an ordinal: "3. Oktober"
        return len(before) > 2
    if _INITIALS.match(before):  # "J. Smith"; after "U.S." a sentence starts only with a frequent first word
        next_word = re.compile(r"[^\W\d_]+").match(text, after, end)
        return "." in before and next_word is not None and next_word.group() in STARTERS
    return True


def _pieces(text: str, begin: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    """Cut a sentence into pieces of at most ``longest`` characters, at the best marks, preferring later ones."""
    while end - begin > longest:
        cut = begin + longest
        for marks in _CLAUSES:
            ends = [match.end() for match in marks.finditer(text, begin + longest // 3, begin + longest)]
            if ends:
                cut = ends[-1]
                break
        else:
            # Keep a vowel sign with its consonant; a run of marks may be cut.
            near = range(cut, max(begin, cut - MOST_SIGNS), -1)
            cut = next((position for position in near if _may_part(text[position])), cut)
        first, last = _strip(text, begin, cut)
        if first < last:
            yield first, last
        begin, _ = _strip(text, cut, end)
    if begin < end:
        yield begin, end


def _may_part(following: str) -> bool:
    return following.isalnum() or following.isspace()
