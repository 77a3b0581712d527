"""Which sides of a run read nothing of one another."""

from __future__ import annotations

from speechkit.mining.mismatch import unread
from speechkit.mining.records import SentenceMatch


def place(number: int, document: str, probability: float, recording: str = "r") -> SentenceMatch:
    name = f"{document}-{number:05d}"
    return SentenceMatch(name, recording, document, 0.0, 1.0, 0.5, 0.0, 0.0, 10.0, probability=probability)


def test_document_with_a_stray_likely_place_is_unread() -> None:
    strays = [place(0, "far", 0.7), *(place(n, "far", 0.1) for n in range(1, 50))]
    assert unread({"far", "none"}, "document", strays, []) == ["far", "none"]


def test_stray_places_grow_with_the_document() -> None:
    found = [place(n, "far", 0.6 if n < 3 else 0.1) for n in range(400)]
    assert unread({"far"}, "document", found, []) == ["far"]
    assert unread({"far"}, "document", found[:200], []) == []


def test_document_that_was_heard_badly_is_not_unread() -> None:
    found = [place(n, "noisy", 0.7) for n in range(5)]
    assert unread({"noisy"}, "document", found, []) == []


def test_one_kept_sentence_is_enough() -> None:
    kept = place(0, "short", 0.99)
    assert unread({"short"}, "document", [kept], [kept]) == []
    assert unread({"r"}, "recording", [kept], [kept]) == []
    assert unread({"r", "other"}, "recording", [kept], [kept]) == ["other"]
