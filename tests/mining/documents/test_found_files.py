"""Files as they are found: encodings, forms, subtitles, Word parts and drawn text that a naive reader gets wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from speechkit.errors import DocumentError
from speechkit.mining.documents import DocumentReader, Unreadable, read_document, reading


def sentences(path: Path) -> list[str]:
    return [sentence.text for sentence in read_document(path).sentences]


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("iso-8859-1", "cp1252", "He said “don’t go” — it’s late… cost €5."),
        ("ISO-8859-9", "cp1254", "Işık “söndü” dedi…"),
        ("gb2312", "gb18030", "今天天气很好。朱镕基讲话。"),
        ("shift_jis", "cp932", "①番の髙橋さん。"),
        ("x-sjis", "cp932", "①番の髙橋さん。"),
        ("ks_c_5601-1987", "cp949", "똠방각하가 왔다."),
        ("big5", "big5hkscs", "今天嘅天氣好好。"),
        ("windows-874", "cp874", "สวัสดีครับ"),
        ("x-user-defined", "cp1252", "It’s late…"),
        ("hz-gb-2312", "hz", "今天天气很好。"),
        ("iso-2022-kr", "iso2022_kr", "오늘은 날씨가 좋다."),
    ],
)
def test_charset_labels_mean_what_browsers_take_them_for(tmp_path: Path, label: str, codec: str, text: str) -> None:
    page = f'<html><head><meta charset="{label}"></head><body><p>{text}</p></body></html>'
    (tmp_path / "a.html").write_bytes(page.encode(codec))
    assert read_document(tmp_path / "a.html").text == text


@pytest.mark.parametrize(
    "label", ["undefined", "rot13", "base64", "idna", "no-such-thing", "unicode_escape", "replacement"]
)
def test_a_label_that_browsers_do_not_know_is_not_believed(tmp_path: Path, label: str) -> None:
    (tmp_path / "a.html").write_text(f'<meta charset="{label}"><p>Grüße aus der Stadt.</p>', "utf-8")
    assert read_document(tmp_path / "a.html").text == "Grüße aus der Stadt."


@pytest.mark.parametrize(
    "page",
    [
        '<html><head><meta charset="utf-16"></head><body><p>Hello world.</p></body></html>',
        '<?xml version="1.0" encoding="utf-16"?>\n<html><body><p>Hello world.</p></body></html>',
    ],
)
def test_utf_16_that_is_only_declared_is_utf_8(tmp_path: Path, page: str) -> None:
    (tmp_path / "a.html").write_text(page, "utf-8")
    assert sentences(tmp_path / "a.html") == ["Hello world."]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["The river rises in the hills.", "नदी पहाड़ियों में निकलती है और बहती है।", "Река течёт к морю."]
)
def test_utf_16_without_a_byte_order_mark_is_known_by_its_zeros(tmp_path: Path, codec: str, text: str) -> None:
    (tmp_path / "a.txt").write_bytes((text + "\r\n").encode(codec))
    (tmp_path / "a.html").write_bytes(f"<html><body><p>{text}</p></body></html>".encode(codec))
    assert read_document(tmp_path / "a.txt").text == text
    assert read_document(tmp_path / "a.html").text == text


def test_a_zero_byte_in_a_text_is_a_space_and_not_utf_16(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello\0world this is. A test\n")
    assert sentences(tmp_path / "a.txt") == ["hello world this is.", "A test"]


def test_a_vertical_tab_parts_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The council met on Monday\x0bto vote on the motion.\n")
    assert sentences(tmp_path / "a.txt") == ["The council met on Monday to vote on the motion."]


def test_an_article_inside_a_form_is_read_and_its_controls_are_not(tmp_path: Path) -> None:
    page = """<body><form action="x.aspx"><label>Search</label><input value="words"><select><option>One</option>
    </select><textarea>Type here.</textarea><div><p>The council met on Monday.</p><p>It voted.</p></div>
    <button>Go</button></form>
    <p>After the form.</p></body>"""
    (tmp_path / "a.html").write_text(page)
    assert sentences(tmp_path / "a.html") == ["The council met on Monday.", "It voted.", "After the form."]


def test_cues_with_blank_lines_notes_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(
        "WEBVTT - title\n\nSTYLE\n::cue { color: red }\n\nNOTE this is\na comment\n\nintro\n"
        "00:01.000 --> 00:02.000\n \nFirst line.\n\nNOTE another\n\n"
        "chapter two\n00:00:02.500 --> 00:00:03.000 align:start\n<v Fred>Twelve\n12\n"
    )
    assert read_document(tmp_path / "a.vtt").text == "First line. Twelve 12"
    (tmp_path / "a.srt").write_text(
        "1\n00:00:01,000 --> 00:00:02,000\nHello there,\n\nmy old friend.\n\n2\n00:00:02,100 --> 00:00:03,000\n"
        "How are\n1999\n3\n00:00:03,100 --> 00:00:04,000\nyou?\n"
    )
    assert read_document(tmp_path / "a.srt").text == "Hello there, my old friend. How are 1999 you?"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nword &#" + "1" * 10_000 + "; end\n"),
        ("b.srt", "1\n00:00:01,000 --> 00:00:02,000\nword &#x" + "f" * 10_000 + "; end\n"),
        (
            "c.vtt",
            "WEBVTT\n\n" + "9" * 5_000 + ":00:01.000 --> 00:00:02.000\nword\n\n00:01.000 --> 00:02.000\nword end\n",
        ),
        ("d.html", "<p>word &#" + "1" * 10_000 + "; end</p>"),
    ],
)
def test_numbers_of_ten_thousand_digits_are_no_end(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    text = read_document(tmp_path / name).text
    assert text.startswith("word")
    assert text.endswith("end")


def test_what_nobody_expected_of_one_file_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("One sentence.")

    def fail(path: Path) -> None:
        raise RecursionError("no\nluck" if path.name == "a.txt" else "")

    monkeypatch.setattr(reading, "read_text", fail)
    results = list(DocumentReader(tmp_path).read_all([tmp_path / "a.txt", tmp_path / "b.txt"]))
    assert all(isinstance(result, Unreadable) for result in results)
    assert "a.txt: cannot be read (RecursionError: no luck)" in results[0].reason
    assert "test_found_files.py" in caplog.text
    assert len(caplog.records) == 2
    with pytest.raises(DocumentError):
        read_document(tmp_path / "b.txt")


WORD = '<w:document xmlns:w="{0}"><w:body><w:p><w:r><w:t>Hello there.</w:t></w:r></w:p></w:body></w:document>'
RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{0}</Relationships>'


@pytest.mark.parametrize("target", ["word/document2.xml", "/word/document2.xml", "./other/text.xml"])
@pytest.mark.parametrize("strict", [False, True])
def test_the_main_part_of_a_word_file_is_named_by_its_relationships(tmp_path: Path, target: str, strict: bool) -> None:
    base = "http://purl.oclc.org/ooxml" if strict else "http://schemas.openxmlformats.org"
    space = f"{base}/wordprocessingml/main" if strict else f"{base}/wordprocessingml/2006/main"
    kind = f"{base}/officeDocument/{'' if strict else '2006/'}relationships/officeDocument"
    relation = f'<Relationship Id="rId1" Type="{kind}" Target="{target}"/>'
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("_rels/.rels", RELATIONS.format(relation))
        archive.writestr(target.lstrip("/").removeprefix("./"), WORD.format(space))
    assert sentences(tmp_path / "a.docx") == ["Hello there."]


LINES = [
    "The river rises in the northern hills and runs",
    "to the sea through nine small towns. Each of",
    "them has a bridge.",
]
READ = [
    "The river rises in the northern hills and runs to the sea through nine small towns.",
    "Each of them has a bridge.",
]


@pytest.mark.parametrize("way", ["once", "twice", "letters"])
def test_text_is_read_as_it_looks_however_it_is_drawn(tmp_path: Path, way: str) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"))
    canvas.setFont("Helvetica", 11)
    for number, line in enumerate(LINES):
        height, left = 700 - 16 * number, 72.0
        if way == "letters":
            for letter in line:
                if letter != " ":
                    canvas.drawString(left, height, letter)
                left += canvas.stringWidth(letter, "Helvetica", 11)
        else:
            for shift in (0.0, 0.3)[: 1 + (way == "twice")]:
                canvas.drawString(left + shift, height, line)
    canvas.save()
    assert sentences(tmp_path / "a.pdf") == READ


def test_raised_numbers_of_notes_go_and_exponents_and_ordinals_stay(tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"))
    drawn = [
        [("The bridge was built in stone", 11, 0), ("12", 6, 4), (" and stands.", 11, 0), ("3,4", 6, 4)],
        [("An area of 12 m", 11, 0), ("2", 6, 4), (" and 10", 11, 0), ("6", 6, 4), (" people on the 21", 11, 0),
         ("st", 6, 4), (" with H", 11, 0), ("2", 6, -3), ("O.", 11, 0)],
    ]  # fmt: skip
    for number, parts in enumerate(drawn):
        left = 60.0
        for text, size, rise in parts:
            canvas.setFont("Helvetica", size)
            canvas.drawString(left, 700 - 30 * number + rise, text)
            left += canvas.stringWidth(text, "Helvetica", size)
    canvas.save()
    document = read_document(tmp_path / "a.pdf")
    assert [sentence.text for sentence in document.sentences] == [
        "The bridge was built in stone and stands.", "An area of 12 m2 and 106 people on the 21st with H2O."
    ]  # fmt: skip
    assert [(item.text, item.reason) for item in document.removed] == [("12", "note_mark"), ("3,4", "note_mark")]
