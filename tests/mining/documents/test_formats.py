from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest
from making import make_epub, needs_tesseract

from speechkit.errors import DocumentError
from speechkit.mining.documents import DocumentLimits, read_document
from speechkit.mining.records import Document


def texts(document: Document) -> list[str]:
    assert all(document.text[s.begin : s.end] == s.text for s in document.sentences)
    return [sentence.text for sentence in document.sentences]


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_in_any_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    document = read_document(write(tmp_path / "a.txt", "Größe zählt.\nयह है।\nРека течёт к морю.", encoding))
    assert texts(document) == ["Größe zählt.", "यह है।", "Река течёт к морю."]
    assert document.warnings == []


def test_text_in_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    document = read_document(write(tmp_path / "a.txt", "Caf\u00e9 \u201cnoir\u201d costs 5 \u20ac.", "cp1252"))
    assert document.text == "Café “noir” costs 5 €."
    assert "cp1252" in document.warnings[0]


def test_hard_wrapped_text_is_joined_and_one_sentence_a_line_is_not(tmp_path: Path) -> None:
    wrapped = "It was the best of times and the worst of times, it was the age of\nwisdom and the age of foolishness "
    wrapped += (
        "that we all remember from the days\nwhen nobody knew what was to come next. Then the bell rang for the\nend."
    )
    assert len(texts(read_document(write(tmp_path / "a.txt", wrapped)))) == 2
    lines = "first line without a stop\nsecond line\nthird line that is longer than the others are"
    assert texts(read_document(write(tmp_path / "b.txt", lines))) == lines.split("\n")


def test_form_feeds_are_pages(tmp_path: Path) -> None:
    pages = [f"My running header\n\nSentence of page {word}.\n" for word in ("one", "two", "three")]
    document = read_document(write(tmp_path / "a.txt", "\f".join(pages)))
    assert [(s.text, s.page) for s in document.sentences] == [
        (f"Sentence of page {word}.", page) for page, word in enumerate(("one", "two", "three"), 1)
    ]
    assert len(document.removed) == 3


def test_ten_megabytes_in_one_line(tmp_path: Path) -> None:
    line = "The boat came in at half past five with Mr. Smith, who was cold. " * 155_000
    document = read_document(write(tmp_path / "a.txt", line), lang="en")
    assert len(line) > 10_000_000
    assert len(document.sentences) == 155_000


def test_subtitles_lose_their_times_and_tags(tmp_path: Path) -> None:
    srt = "1\n00:00:01,000 --> 00:00:02,000\n<i>The boat</i> came\n\n"
    srt += "2\n00:00:02,100 --> 00:00:04,000\n{\\an8}in at five. It\n"
    srt += "\n3\n00:00:04,000 --> 00:00:05,000\nwas late &amp; cold.\n4\n00:01:00,000 --> 00:01:05,000\n42\n"
    document = read_document(write(tmp_path / "a.srt", srt))
    assert document.kind == "subtitles"
    assert texts(document) == ["The boat came in at five.", "It was late & cold.", "42"]


def test_rolling_web_captions_are_said_once(tmp_path: Path) -> None:
    vtt = "WEBVTT\n\nNOTE made by hand\n\nSTYLE\n::cue {}\n\n"
    vtt += "00:01.000 --> 00:02.000 align:start\n<v Ann>we went<00:01.500><c> home</c>\n\n"
    vtt += "00:02.000 --> 00:03.000\nwe went home\nand slept.\n"
    assert texts(read_document(write(tmp_path / "a.vtt", vtt))) == ["we went home and slept."]


def test_web_page_keeps_what_is_read(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><title>No</title><style>p{}</style></head><body>
    <nav><a>Home</a></nav><script>alert("x")</script><!-- comment --><h1>The &amp; sea</h1>
    <p>It <b>rain</b>ed<br>all day. Then<!-- c --> it stopped.</p><div>Loose text<p>Inner</p>tail text</div>
    <p hidden>secret</p><ul><li>One</li><li>Two</li></ul><table><tr><td>A</td><td>B</td></tr></table>
    <noscript>turn on</noscript><iframe src="http://example.com">x</iframe><footer>Imprint</footer></body></html>"""
    document = read_document(write(tmp_path / "a.html", page))
    assert document.text.split("\n\n") == [
        "The & sea", "It rained all day. Then it stopped.", "Loose text", "Inner", "tail text", "One", "Two", "A B",
    ]  # fmt: skip
    assert [(r.text, r.reason) for r in document.removed] == [("Home", "navigation"), ("Imprint", "footer")]


def test_web_page_in_its_declared_encoding(tmp_path: Path) -> None:
    page = '<html><head><meta charset="koi8-r"></head><body><p>Он пришёл.</p></body></html>'
    assert read_document(write(tmp_path / "a.html", page, "koi8-r")).text == "Он пришёл."
    assert read_document(write(tmp_path / "b.html", "<p>Größe</p>")).text == "Größe"


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12)
)


def test_hostile_web_pages_end_quickly(tmp_path: Path) -> None:
    started = time.process_time()
    laughing = read_document(write(tmp_path / "a.html", LAUGHS + "]><html><body><p>Safe text. &m;</p></body></html>"))
    assert len(laughing.text) < 3000
    outside = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><html><body><p>Text &f; here</p></body></html>'
    assert "root:" not in read_document(write(tmp_path / "b.html", outside)).text
    deep = read_document(write(tmp_path / "c.html", "<div>" * 1500 + "deep text" + "</div>" * 1500))
    assert deep.text == "deep text"
    with pytest.raises(DocumentError, match="nested too deeply"):
        read_document(write(tmp_path / "d.html", "<div>" * 60_000 + "deep text" + "</div>" * 60_000))
    unclosed = read_document(write(tmp_path / "d.html", "<p>Open <b>text <![CDATA[ x ]]> <p>More\x00 <"))
    assert "Open text" in unclosed.text
    assert time.process_time() - started < 20


def test_word_document(tmp_path: Path) -> None:
    import docx

    made = docx.Document()
    made.add_heading("The harbour", 1)
    paragraph = made.add_paragraph("The boat ")
    paragraph.add_run("came in").bold = True
    paragraph.add_run(" at five. It was late.")
    made.add_table(1, 2).cell(0, 1).text = "In a table."
    made.sections[0].header.paragraphs[0].text = "Running header"
    made.save(str(tmp_path / "a.docx"))
    document = read_document(tmp_path / "a.docx")
    assert texts(document) == ["The harbour", "The boat came in at five.", "It was late.", "In a table."]


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def zipped(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"other.xml": "x"}, "lacks the member word/document.xml"),
        ({"word/document.xml": b" " * 3_000_000}, "zip bomb"),
        ({"word/document.xml": "<w:document"}, "not well-formed XML"),
        ({"word/document.xml": f"<w:document {W}><w:body/></w:document>"}, "holds no text"),
        ({f"m{n}": "x" for n in range(60)}, "holds 60 members"),
    ],
)
def test_bad_word_documents_end_in_a_sentence(tmp_path: Path, members: dict[str, bytes | str], complaint: str) -> None:
    with pytest.raises(DocumentError, match=complaint):
        read_document(
            zipped(tmp_path / "a.docx", members), limits=DocumentLimits(max_member_bytes=1_000_000, max_members=50)
        )


def test_entities_in_word_documents_are_not_expanded(tmp_path: Path) -> None:
    body = f"<w:document {W}><w:body><w:p><w:r><w:t>Text &m;</w:t></w:r></w:p></w:body></w:document>"
    path = zipped(tmp_path / "a.docx", {"word/document.xml": LAUGHS + "]>" + body})
    try:
        assert len(read_document(path).text) < 100
    except DocumentError as error:
        assert "XML" in str(error)  # noqa: PT017


def test_deleted_text_and_the_second_copy_of_a_text_box_are_not_read(tmp_path: Path) -> None:
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = "<w:p><w:r><w:t>In the box.</w:t></w:r></w:p>"
    body = (
        f'<w:document {W} xmlns:mc="{mc}"><w:body><w:p><w:r><w:t>Kept.</w:t></w:r><w:del><w:r>'
        "<w:delText>Gone.</w:delText>"
        f"</w:r></w:del><mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
        "</mc:AlternateContent></w:p></w:body></w:document>"
    )
    assert sorted(texts(read_document(zipped(tmp_path / "a.docx", {"word/document.xml": body})))) == [
        "In the box.",
        "Kept.",
    ]


def test_book_is_read_in_spine_order(tmp_path: Path) -> None:
    chapters = {"one": "<h1>First</h1><p>It begins.</p>", "two": "<p>It&nbsp;ends.</p>"}
    document = read_document(make_epub(tmp_path / "a.epub", chapters, ["two", "one", "ghost"]))
    assert [(s.text, s.page) for s in document.sentences] == [("It ends.", 1), ("First", 2), ("It begins.", 2)]
    assert "ghost" in document.warnings[0]


def test_bad_books_end_in_a_sentence(tmp_path: Path) -> None:
    locked = {"META-INF/encryption.xml": '<e><CipherReference URI="OPS/text/one.xhtml"/></e>'}
    with pytest.raises(DocumentError, match="copy-protected"):
        read_document(make_epub(tmp_path / "a.epub", {"one": "<p>x</p>"}, ["one"], locked))
    with pytest.raises(DocumentError, match="not a readable EPUB"):
        read_document(write(tmp_path / "b.epub", "no zip"))
    with pytest.raises(DocumentError, match=r"lacks the member META-INF/container\.xml"):
        read_document(zipped(tmp_path / "c.epub", {"x": "y"}))
    damaged = make_epub(tmp_path / "d.epub", {"one": "<p>text</p>"}, ["one"])
    damaged.write_bytes(damaged.read_bytes().replace(b"rootfile", b"rootfilX"))
    with pytest.raises(DocumentError):
        read_document(damaged)


@pytest.mark.parametrize(
    "name", ["a.pdf", "a.docx", "a.epub", "a.html", "a.txt", "a.srt", pytest.param("a.png", marks=needs_tesseract)]
)
def test_empty_missing_and_random_files_end_in_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        read_document(tmp_path / name)
    with pytest.raises(DocumentError, match="is empty"):
        read_document(write(tmp_path / name, b""))
    if name not in ("a.txt", "a.html"):
        with pytest.raises(DocumentError, match=name):
            read_document(write(tmp_path / name, bytes(range(256)) * 8))


def test_an_oversized_file_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="more than 10"):
        read_document(write(tmp_path / "a.txt", "long enough text"), limits=DocumentLimits(max_file_bytes=10))
    with pytest.raises(DocumentError, match="not a document format"):
        read_document(write(tmp_path / "a.xyz", "text"))
    with pytest.raises(DocumentError, match="characters, more than 5"):
        read_document(write(tmp_path / "a.txt", "long enough text"), limits=DocumentLimits(max_characters=5))


def test_single_damaged_bytes_do_not_change_how_the_rest_is_read(tmp_path: Path) -> None:
    german = "Die Bienen fliegen über die Wiese. Äpfel fallen vom Baum.".encode()
    for name, data in (
        ("a.txt", german + b" \xff Ende."),
        ("b.html", b"<meta charset=utf-8><p>" + german + b" \xff Ende."),
        ("c.srt", b"1\n00:00:01,000 --> 00:00:02,000\n" + german + " ß".encode()[:2]),
    ):
        (tmp_path / name).write_bytes(data)
        document = read_document(tmp_path / name)
        assert texts(document)[:2] == ["Die Bienen fliegen über die Wiese.", "Äpfel fallen vom Baum."]
        assert document.warnings == ["1 bytes are not valid UTF-8, in which the rest is read"]


def test_a_commented_charset_is_none(tmp_path: Path) -> None:
    page = '<!-- <meta charset="koi8-r"> --><meta charset="windows-1252"><p>Café au lait.</p>'
    document = read_document(write(tmp_path / "a.html", page, "cp1252"))
    assert (document.text, document.warnings) == ("Café au lait.", [])


def test_numbers_of_notes_are_not_read_and_powers_are(tmp_path: Path) -> None:
    page = (
        "<p>Bees dance.<sup>[1]</sup><sup>[<a href=#>a note</a>]</sup> They fly far<a href=#n><sup>2</sup></a> away, "
        "over ten m<sup>2</sup>.<sup>3</sup> Then the 4<sup>th</sup> sleeps.</p>"
    )
    sentences = ["Bees dance.", "They fly far away, over ten m2.", "Then the 4th sleeps."]
    assert texts(read_document(write(tmp_path / "a.html", page))) == sentences
    chapters = {"one": '<p>Bees dance.<a epub:type="noteref" href="#n">1</a> They sleep.</p>'}
    assert texts(read_document(make_epub(tmp_path / "b.epub", chapters, ["one"]))) == ["Bees dance.", "They sleep."]


def test_preformatted_text_keeps_its_paragraphs(tmp_path: Path) -> None:
    page = "<pre>First line\nand second.\n\n  Third <b>\n\nFourth</b></pre><p>after\n\nit</p>"
    assert read_document(write(tmp_path / "a.html", page)).text.split("\n\n") == [
        "First line and second.", "Third", "Fourth", "after it",
    ]  # fmt: skip


def test_invisible_characters_are_no_text(tmp_path: Path) -> None:
    page = "<p>Soft&shy;ware, zero&#8203;width&lrm; and क्\u200dष stay.</p>"
    assert read_document(write(tmp_path / "a.html", page)).text == "Software, zerowidth and क्\u200dष stay."
    cue = "WEBVTT\n\n00:01.000 --> 00:02.000\nEnd&lrm; of&shy;fer\n"
    assert read_document(write(tmp_path / "a.vtt", cue)).text == "End offer"


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.srt", "a.md"])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.4\n1 0 obj\n", "a PDF file"), (b"PK\x03\x04\x14\0", "a ZIP"), (rb"{\rtf1 Hello.}", "an RTF file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Office file"), (bytes(range(1, 9)) * 9, "control characters"),
    ],
)  # fmt: skip
def test_other_formats_under_the_suffix_of_text_are_refused(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DocumentError, match=f"{name}: is .*{kind}"):
        read_document(tmp_path / name)


def test_markdown_is_read_without_its_marks(tmp_path: Path) -> None:
    text = (
        "---\ntitle: x\n---\n# The *sea*\n\nIt **rained** [all day](http://example.com/a_b). \nThen it\nstopped.\n\n"
        "* One\n* Two\n\n```\ncode\n```\n\n    more code\n\n| A | B |\n|---|---|\n| 1 | 2 |\n\n<b>Raw</b> &amp; `so`.\n"
    )
    document = read_document(write(tmp_path / "a.md", text))
    assert document.text.split("\n\n") == [
        "The sea", "It rained all day. Then it stopped.", "One", "Two", "A B", "1 2", "Raw & so.",
    ]  # fmt: skip
    assert document.kind == "markdown"


def test_hidden_words_and_readings_of_a_word_document_are_not_read(tmp_path: Path) -> None:
    run = "<w:r>{}<w:t>{}</w:t></w:r>"
    hidden = run.format("<w:rPr><w:vanish/></w:rPr>", "secret ")
    shown = run.format('<w:rPr><w:vanish w:val="0"/></w:rPr>', "Bees ")
    reading, base = run.format("", "ha"), run.format("", "葉")
    ruby = f"<w:r><w:ruby><w:rt>{reading}</w:rt><w:rubyBase>{base}</w:rubyBase></w:ruby></w:r>"
    body = f"<w:p>{hidden}{shown}{run.format('', 'dance.')}</w:p><w:p>{ruby}</w:p>"
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {W}><w:body>{body}</w:body></w:document>")
    assert read_document(tmp_path / "a.docx").text == "Bees dance.\n\n葉"
