from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.mining.documents import DocumentLimits, read_document
from speechkit.mining.documents.assembly import assemble
from speechkit.mining.documents.extracted import Extracted, Line, Paragraph, PrintedPage
from speechkit.mining.documents.running_lines import remove_running_lines
from speechkit.mining.records import Document

BODY = [
    "The old lighthouse stands at the end of the stone pier and its lamp",
    "has been lit every evening for more than a hundred years by keepers",
    "who came from the mainland in flat boats when the weather allowed it.",
    "Nobody remembers who carried the granite across the bay that winter.",
]

TALE = "harbour granite winter gallery window keeper council herring shutter evening lantern village thunder compass"
WORDS = TALE.split()
# Twelve pages of six lines that resemble one another no more than the pages of a book do.
OTHER = [
    [" ".join(random.Random(f"{page} {line}").choices(WORDS, k=9)) + "." * (line % 2) for line in range(6)]
    for page in range(12)
]


def printed(pages: list[list[str]], **options: str) -> Document:
    extracted = Extracted("pdf", [PrintedPage(n, [Line(line) for line in lines]) for n, lines in enumerate(pages, 1)])
    return assemble(extracted, document_id="d", path="d.pdf", lang=options.get("lang", "en"), limits=DocumentLimits())


def check(document: Document) -> None:
    cursor = 0
    for sentence in document.sentences:
        assert document.text[sentence.begin : sentence.end] == sentence.text
        assert sentence.begin >= cursor
        cursor = sentence.end
        page = next(page for page in document.pages if page.number == sentence.page)
        assert page.begin <= sentence.begin < page.end
    assert document.pages[0].begin == 0
    assert document.pages[-1].end == len(document.text)
    assert all(one.end == two.begin for one, two in zip(document.pages, document.pages[1:], strict=False))


LINE = st.text(st.sampled_from("aBc .-,।?!1\u00ad"), max_size=12).map(lambda text: " ".join(text.split()))


@given(
    pages=st.lists(st.lists(st.tuples(LINE, st.floats(0, 900), st.floats(0, 30)), max_size=8), min_size=1, max_size=6)
)
@settings(max_examples=300)
def test_offsets_hold_for_every_printed_document(pages: list[list[tuple[str, float, float]]]) -> None:
    extracted = Extracted(
        "pdf",
        [
            PrintedPage(n, [Line(*line) for line in lines])
            for n, lines in enumerate([[("Start x", 0.0, 0.0)], *pages], 1)
        ],
    )
    total = sum(len(line.text) for page in extracted.pages for line in page.lines)
    document = assemble(extracted, document_id="d", path="d.pdf", lang="en", limits=DocumentLimits())
    check(document)
    kept = sum(not c.isspace() for c in document.text) + sum(len("".join(r.text.split())) for r in document.removed)
    # Soft hyphens print nothing and are left out wherever they stand.
    hyphens = sum(
        line.text.endswith("-") + line.text.count("\u00ad") for page in extracted.pages for line in page.lines
    )
    assert total - sum(line.text.count(" ") for p in extracted.pages for line in p.lines) - hyphens <= kept <= total


@given(paragraphs=st.lists(st.tuples(st.text(st.sampled_from("aB. ।\n-"), max_size=30), st.integers(1, 3)), max_size=9))
@settings(max_examples=200)
def test_offsets_hold_for_every_document_of_paragraphs(paragraphs: list[tuple[str, int]]) -> None:
    ordered = sorted(paragraphs, key=lambda item: item[1])
    extracted = Extracted("html", paragraphs=[Paragraph("Start", 1), *(Paragraph(*item) for item in ordered)])
    check(assemble(extracted, document_id="d", path="d.html", lang="en", limits=DocumentLimits()))


def test_headers_footers_and_page_numbers_are_taken_out_and_recorded(tmp_path: Path) -> None:
    from making import make_pdf

    pages = [[f"Harbour Gazette, number {n}", "", *OTHER[n], "", f"- {n} -"] for n in range(7, 12)]
    document = read_document(make_pdf(tmp_path / "a.pdf", pages))
    assert "Gazette" not in document.text
    assert {(r.page, r.reason) for r in document.removed} == {
        (p, r) for p in range(1, 6) for r in ("header", "page_number")
    }
    assert document.removed[0].text == "Harbour Gazette, number 7"
    check(document)


def test_alternating_headers_of_left_and_right_pages_are_found() -> None:
    pages = [[["The Sea Book", "Chapter of Storms"][n % 2], *OTHER[n]] for n in range(8)]
    assert [r.text for r in printed(pages).removed] == ["The Sea Book", "Chapter of Storms"] * 4


def test_a_header_that_ocr_misread_is_still_found() -> None:
    chooser = random.Random(3)

    def misread(text: str) -> str:
        return "".join(chooser.choice("aeltn") if c.isalpha() and chooser.random() < 0.08 else c for c in text)

    pages = [[misread("Proceedings of the Harbour Commission"), *OTHER[n]] for n in range(12)]
    kept, removed = remove_running_lines([PrintedPage(n, [Line(x) for x in lines]) for n, lines in enumerate(pages, 1)])
    assert (
        sum(r.reason == "header" and r.page == n for n in range(1, 13) for r in removed if r.text == pages[n - 1][0])
        == 12
    )
    assert all(page.lines for page in kept)


def test_roman_page_numbers_go_and_a_number_that_does_not_count_stays() -> None:
    assert [r.text for r in printed([[BODY[0], "xii"], [BODY[1], "xiii"], [BODY[2], "xiv"]]).removed] == [
        "xii",
        "xiii",
        "xiv",
    ]
    assert printed([["1947", BODY[0]], ["12", BODY[1]], ["88", BODY[2]]]).removed == []


def test_body_lines_and_single_pages_are_left_alone() -> None:
    assert printed([BODY]).removed == []
    assert printed([BODY[:2], BODY[2:]]).removed == []


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["A retired carpen-", "ter made it."], "A retired carpenter made it."),
        (["A well-known man.", "He was a well-", "known man."], "A well-known man. He was a well-known man."),
        (["wellknown well-known", "he was well-", "known there"], "wellknown well-known he was wellknown there"),
        (["on the Anglo-", "Saxon coast"], "on the Anglo-Saxon coast"),
        (["a soft\u00ad", "ware part"], "a software part"),
        (["from 1914-", "18 there was"], "from 1914-18 there was"),
        (["he said -", "and left"], "he said - and left"),
        (["all thirty-", "nine boats"], "all thirty-nine boats"),
    ],
)
def test_hyphens_at_line_ends(lines: list[str], text: str) -> None:
    document = printed([lines])
    assert document.text.replace("\n\n", " ") == text
    check(document)


def test_a_sentence_and_a_broken_word_run_across_pages() -> None:
    document = printed(
        [
            [*BODY[:3], "They painted the spiral stair-"],
            ["case blue. Then they went home and slept until the late"],
            ["evening bell."],
        ]
    )
    spanning = next(s for s in document.sentences if "staircase" in s.text)
    assert spanning.text == "They painted the spiral staircase blue."
    assert spanning.page == 1
    assert document.sentences[-1].text == "Then they went home and slept until the late evening bell."
    assert document.text[document.pages[1].begin :].startswith("case blue.")
    check(document)


def test_headings_lists_and_gaps_begin_paragraphs() -> None:
    lines = [
        "The Harbour",
        *BODY[:3],
        "Opening hours",
        "1. Saturdays from ten until the bell is rung at the gate of the tower",
        "2. Sundays",
        "",
        *BODY[:2],
    ]
    document = printed([lines])
    assert [p.split()[0] for p in document.text.split("\n\n")] == ["The", "The", "Opening", "1.", "2.", "The"]


def test_a_larger_font_is_a_heading(tmp_path: Path) -> None:
    page = PrintedPage(
        1,
        [
            Line("A heading that goes on for quite as long as the body does go on", 10, 20),
            *(Line(x, 40 + 14 * i, 12) for i, x in enumerate(BODY)),
        ],
    )
    document = assemble(Extracted("pdf", [page]), document_id="d", path="d", lang="en", limits=DocumentLimits())
    assert document.text.count("\n\n") == 1


def test_chinese_lines_join_without_a_space() -> None:
    assert printed([["今天天气很好我们去", "公园玩吧。"]], lang="zh").text == "今天天气很好我们去公园玩吧。"


def test_another_language_than_asked_for_is_said() -> None:
    text = "Der Mann ging mit dem Hund in den Wald und es war nicht kalt. Sie hat ein Haus auf dem Berg, das er sich so"
    assert printed([[text]]).warnings == ["the text looks like 'de' (Latin script) and not 'en'"]
    assert printed([BODY]).warnings == []


def test_an_indented_first_line_begins_a_paragraph() -> None:
    lines = [
        Line(text, 14.0 * n, 12, left)
        for n, (text, left) in enumerate(zip([*BODY, *BODY], [84, 60, 60, 60] * 2, strict=True))
    ]
    extracted = Extracted("pdf", [PrintedPage(1, lines)])
    document = assemble(extracted, document_id="d", path="d", lang="en", limits=DocumentLimits())
    assert len(document.text.split("\n\n")) == 2


def test_a_date_and_address_printed_on_every_page_go() -> None:
    pages = [["11/23/26, 5:07 AM", *OTHER[n], f"file:///tmp/one.html {n + 1}/3"] for n in range(3)]
    assert {r.reason for r in printed(pages).removed} == {"header", "footer"}
    assert len(printed(pages).removed) == 6
