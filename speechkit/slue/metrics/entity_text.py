"""Entities in text: symbols around words in end-to-end transcripts, B-I-O tags of words, and spans of characters.

End to end, an entity is ``SYMBOL word word ]``, every symbol a token of its own. In text models a word has the tag
``O``, ``B-TAG`` or ``I-TAG``. In the corpora an entity is ``(tag, start character, length)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from speechkit.errors import UserError
from speechkit.slue.metrics.entity_tags import END_SYMBOL, SYMBOLS, TagSet, combined_tag

Entity = tuple[str, str]
"""Tag and phrase."""
Span = tuple[str, int, int]
"""Tag, first character, number of characters."""
TaggedWord = tuple[str, str]
"""Word and its tag: O, B-TAG or I-TAG."""
PUNCTUATION = str.maketrans("", "", ".,!?;")


def parse_entities(line: str, *, symbols: TagSet = "raw", tags: TagSet = "raw") -> list[Entity]:
    """Entities of a transcript with symbols.

    A start inside an open entity drops the open one; an end without a start, an entity without words and one without
    an end are no entities; a symbol glued to a word is a part of the word.

    Args:
        line: words and symbols, parted by white space.
        symbols: the table that the transcript was written with; a model trained on the combined symbols needs
            "combined" (the reference toolkit reads every transcript with the raw ones).
        tags: "combined" maps raw tags to the 7 and leaves out those that are discarded.
    """
    tag_of = {symbol: tag for tag, symbol in SYMBOLS[symbols].items()}
    found: list[Entity] = []
    tag: str | None = None
    words: list[str] = []
    for token in line.split():
        if token in tag_of:
            tag, words = tag_of[token], []
        elif token == END_SYMBOL:
            if tag is not None and words:
                found.append((tag, " ".join(words)))
            tag, words = None, []
        elif tag is not None:
            words.append(token)
    return combine_entities(found) if tags == "combined" else found


def plain_text(line: str, *, symbols: TagSet = "raw") -> str:
    """The words of a transcript with symbols: what word error rates are counted on."""
    marks = {*SYMBOLS[symbols].values(), END_SYMBOL}
    return " ".join(token for token in line.split() if token not in marks)


def combine_entities(entities: Iterable[Entity]) -> list[Entity]:
    """Entities with combined tags; those of the five discarded tags are left out."""
    return [(tag, phrase) for raw, phrase in entities if (tag := combined_tag(raw)) is not None]


def tag_words(text: str, spans: Sequence[Span], *, tags: TagSet = "raw") -> list[TaggedWord]:
    """Words of ``text`` with B-I-O tags from spans of characters.

    The characters . , ! ? ; are removed; a word with an apostrophe inside is split before it ("commission's" becomes
    "commission" and "'s"), an apostrophe at its end is dropped.

    Raises:
        UserError: if a span leaves the text, has no words, or overlaps another.
    """
    checked = check_spans(text, spans)
    if tags == "combined":
        checked = [(tag, begin, length) for raw, begin, length in checked if (tag := combined_tag(raw)) is not None]
    tagged: list[TaggedWord] = []
    at = 0
    for tag, begin, length in checked:
        tagged += [(piece, "O") for piece in split_words(text[at:begin])]
        pieces = split_words(text[begin : begin + length])
        tagged += [(piece, ("B-" if index == 0 else "I-") + tag) for index, piece in enumerate(pieces)]
        at = begin + length
    return tagged + [(piece, "O") for piece in split_words(text[at:])]


def check_spans(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans in order, after a check that they lie in the text, hold words and do not overlap.

    Raises:
        UserError: naming the first span that does not.
    """
    ordered = sorted(spans, key=lambda span: (span[1], span[2]))
    end = 0
    for tag, begin, length in ordered:
        if length < 1 or begin < 0 or begin + length > len(text):
            raise UserError(
                f"entity {tag} at character {begin} with length {length} does not lie in the text of {len(text)} "
                "characters; fix the span"
            )
        if begin < end:
            raise UserError(f"entity {tag} at character {begin} overlaps the entity before it; fix the spans")
        if not split_words(text[begin : begin + length]):
            raise UserError(f"entity {tag} at character {begin} holds no word; fix the span")
        end = begin + length
    return ordered


def split_words(segment: str) -> list[str]:
    """Words without punctuation, clitics after an apostrophe apart."""
    pieces: list[str] = []
    for word in segment.translate(PUNCTUATION).split():
        word = word.removesuffix("'")
        if not word:
            continue
        if "'" in word and word != "'s":
            *front, last = word.split("'")
            pieces += [piece for piece in front if piece]
            pieces.append("'" + last)
        else:
            pieces.append(word)
    return pieces


def split_clitics(text: str) -> str:
    """The clitic 's as a word of its own, as text models are trained: what recognised text needs before tagging."""
    return " ".join(text.replace("'s", " 's").split())


def entities_of_tags(words: Sequence[TaggedWord]) -> list[Entity]:
    """Entities of B-I-O tagged words; an I-TAG that continues nothing begins an entity."""
    found: list[tuple[str, list[str]]] = []
    inside: str | None = None
    for word, tag in words:
        if tag == "O":
            inside = None
            continue
        mark, _, name = tag.partition("-")
        if mark not in ("B", "I") or not name:
            raise UserError(f"{tag!r}: is no tag of a word; tags are O, B-NAME and I-NAME")
        if mark == "B" or inside != name:
            found.append((name, []))
        found[-1][1].append(word)
        inside = name
    return [(name, " ".join(phrase)) for name, phrase in found]


def mark_entities(words: Sequence[TaggedWord], *, symbols: TagSet = "raw") -> str:
    """Tagged words as an end-to-end transcript: the symbol of the tag before an entity and ``]`` after it.

    Raises:
        UserError: if a tag is not in the table.
    """
    table = SYMBOLS[symbols]
    tokens: list[str] = []
    inside: str | None = None
    for word, tag in words:
        mark, _, name = tag.partition("-")
        if inside is not None and (mark != "I" or name != inside):
            tokens.append(END_SYMBOL)
            inside = None
        if mark != "O" and inside is None:
            if name not in table:
                raise UserError(f"{name!r}: has no symbol among the {symbols} tags ({', '.join(table)})")
            tokens.append(table[name])
            inside = name
        tokens.append(word)
    if inside is not None:
        tokens.append(END_SYMBOL)
    return " ".join(tokens)
