"""Entity formats: symbols in end-to-end transcripts, BIO tags of words, and character spans.

In end-to-end transcripts an entity is ``SYMBOL word word ]``, with every symbol a separate token. Text models tag words
with ``O``, ``B-TAG`` or ``I-TAG``. The corpora give ``(tag, start character, length)``.
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

    A start symbol inside an open entity discards the open one. An end symbol without a start, an entity without words
    and one without an end are ignored; a symbol attached to a word is part of the word.

    Args:
        line: words and symbols, separated by white space.
        symbols: the symbol set of the transcript; a model trained on combined symbols needs "combined" (the reference
            toolkit reads every transcript with the raw ones).
        tags: "combined" maps raw tags to the 7 combined ones and drops the discarded tags.
    """
    tag_of = {symbol: tag for tag, symbol in SYMBOLS[symbols].items()}
    entities: list[Entity] = []
    tag: str | None = None
    words: list[str] = []
    for token in line.split():
        if token in tag_of:
            tag, words = tag_of[token], []
        elif token == END_SYMBOL:
            if tag is not None and words:
                entities.append((tag, " ".join(words)))
            tag, words = None, []
        elif tag is not None:
            words.append(token)
    return combine_entities(entities) if tags == "combined" else entities


def plain_text(line: str, *, symbols: TagSet = "raw") -> str:
    """The words of a transcript without its symbols, for word error rates."""
    marks = {*SYMBOLS[symbols].values(), END_SYMBOL}
    return " ".join(token for token in line.split() if token not in marks)


def combine_entities(entities: Iterable[Entity]) -> list[Entity]:
    """Entities with combined tags, without those of the five discarded tags."""
    return [(tag, phrase) for raw, phrase in entities if (tag := combined_tag(raw)) is not None]


def tag_words(text: str, spans: Sequence[Span], *, tags: TagSet = "raw") -> list[TaggedWord]:
    """Words of ``text`` with BIO tags from character spans.

    The characters . , ! ? ; are removed; a word is split before an inner apostrophe ("commission's" becomes
    "commission" and "'s"), and a final apostrophe is dropped.

    Raises:
        UserError: if a span is outside the text, contains no words, or overlaps another.
    """
    checked = check_spans(text, spans)
    if tags == "combined":
        checked = [(tag, begin, length) for raw, begin, length in checked if (tag := combined_tag(raw)) is not None]
    tagged: list[TaggedWord] = []
    position = 0
    for tag, begin, length in checked:
        tagged += [(piece, "O") for piece in split_words(text[position:begin])]
        pieces = split_words(text[begin : begin + length])
        tagged += [(piece, ("B-" if index == 0 else "I-") + tag) for index, piece in enumerate(pieces)]
        position = begin + length
    return tagged + [(piece, "O") for piece in split_words(text[position:])]


def check_spans(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans sorted, validated to lie in the text, contain words and not overlap.

    Raises:
        UserError: naming the first invalid span.
    """
    ordered = sorted(spans, key=lambda span: (span[1], span[2]))
    end = 0
    for tag, begin, length in ordered:
        if length < 1 or begin < 0 or begin + length > len(text):
            raise UserError(
                f"entity {tag} at character {begin} with length {length} is outside the text of {len(text)} "
                "characters; fix the span"
            )
        if begin < end:
            raise UserError(f"entity {tag} at character {begin} overlaps the entity before it; fix the spans")
        if not split_words(text[begin : begin + length]):
            raise UserError(f"entity {tag} at character {begin} contains no word; fix the span")
        end = begin + length
    return ordered


def split_words(segment: str) -> list[str]:
    """Words without punctuation, with clitics split off at the apostrophe."""
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
    """Recognised text with the clitic 's as a separate word, as in the training data of taggers."""
    return " ".join(text.replace("'s", " 's").split())


def entities_of_tags(words: Sequence[TaggedWord]) -> list[Entity]:
    """Entities of BIO-tagged words; an I-TAG without a preceding tag starts an entity."""
    entities: list[tuple[str, list[str]]] = []
    inside: str | None = None
    for word, tag in words:
        if tag == "O":
            inside = None
            continue
        mark, _, name = tag.partition("-")
        if mark not in ("B", "I") or not name:
            raise UserError(f"{tag!r} is not a BIO tag; use O, B-NAME or I-NAME")
        if mark == "B" or inside != name:
            entities.append((name, []))
        entities[-1][1].append(word)
        inside = name
    return [(name, " ".join(phrase)) for name, phrase in entities]


def mark_entities(words: Sequence[TaggedWord], *, symbols: TagSet = "raw") -> str:
    """Tagged words as an end-to-end transcript: the tag's symbol before each entity and ``]`` after it.

    Raises:
        UserError: if a tag has no symbol.
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
                raise UserError(f"{name!r} is not one of the {symbols} tags ({', '.join(table)})")
            tokens.append(table[name])
            inside = name
        tokens.append(word)
    if inside is not None:
        tokens.append(END_SYMBOL)
    return " ".join(tokens)
