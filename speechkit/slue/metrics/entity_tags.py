"""The entity tags of SLUE: 18 raw tags, the 7 combined tags used for scoring, and their transcript symbols.

Source: Shon et al. 2022, SLUE, section 3 and appendix; the symbols are those of the published transcripts.
"""

from __future__ import annotations

from typing import Literal

from speechkit.errors import UserError

TagSet = Literal["raw", "combined"]

RAW_SYMBOLS = {
    "CARDINAL": "!",
    "DATE": "@",
    "EVENT": "#",
    "FAC": "$",
    "GPE": "%",
    "LANGUAGE": "^",
    "LAW": "&",
    "LOC": "*",
    "MONEY": "(",
    "NORP": ")",
    "ORDINAL": "~",
    "ORG": "`",
    "PERCENT": "{",
    "PERSON": "}",
    "PRODUCT": "[",
    "QUANTITY": "<",
    "TIME": ">",
    "WORK_OF_ART": "?",
}
COMBINED_SYMBOLS = {
    "LAW": "!",
    "NORP": "@",
    "ORG": "#",
    "PERSON": "$",
    "PLACE": "%",
    "QUANT": "^",
    "WHEN": "&",
}
SYMBOLS: dict[TagSet, dict[str, str]] = {"raw": RAW_SYMBOLS, "combined": COMBINED_SYMBOLS}
END_SYMBOL = "]"
_MEMBERS = {
    "PLACE": ("GPE", "LOC"),
    "QUANT": ("CARDINAL", "ORDINAL", "QUANTITY", "MONEY", "PERCENT"),
    "WHEN": ("DATE", "TIME"),
    "NORP": ("NORP",),
    "ORG": ("ORG",),
    "LAW": ("LAW",),
    "PERSON": ("PERSON",),
}
COMBINED_OF: dict[str, str | None] = {
    **dict.fromkeys(RAW_SYMBOLS),
    **{raw: combined for combined, members in _MEMBERS.items() for raw in members},
}
"""Combined tag of each raw tag; None for the five tags discarded before scoring."""


def combined_tag(tag: str) -> str | None:
    """The combined tag of a raw or combined tag; None if it is discarded.

    Raises:
        UserError: if the tag is in neither set.
    """
    if tag in COMBINED_SYMBOLS:
        return tag
    if tag in COMBINED_OF:
        return COMBINED_OF[tag]
    raise UserError(
        f"{tag!r} is not an entity tag; use one of the 18 raw tags ({', '.join(RAW_SYMBOLS)}) "
        f"or of the 7 combined tags ({', '.join(COMBINED_SYMBOLS)})"
    )
