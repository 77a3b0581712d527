"""Text of HTML, Markdown, DOCX and EPUB, with explicit paragraphs. Nothing is fetched and no entity is expanded."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from speechkit.errors import DocumentError
from speechkit.mining.documents.extracted import DocumentLimits, Extracted, Paragraph, printable
from speechkit.mining.documents.plain_text import decode, read_encoded
from speechkit.mining.records import Removed

_BLOCK_TAGS = """
address article blockquote body caption center dd details dialog div dl dt fieldset figcaption figure form h1 h2 h3 h4
h5 h6 header hgroup hr html li main ol p pre section summary table tbody tfoot thead title tr ul
"""
_UNSPOKEN_TAGS = """
script style noscript template head svg math object embed iframe canvas audio video select button input textarea label
legend datalist rp rt link meta
"""
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_UNSPOKEN = frozenset(_UNSPOKEN_TAGS.split())
_NAVIGATION = {"nav": "navigation", "menu": "navigation", "aside": "navigation", "footer": "footer"}
_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]{0,100}?encoding=[\"']([\w.:-]+)", re.I
)
_COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.S)
_FRONT_MATTER = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)\n", re.S)
_NOTE_MARK = re.compile(r"(?:\[[^\[\]]{1,40}\][\s,]*)+|\(?\d{1,3}\)?|[a-z]|[*†‡§¶]{1,3}")
_LONGEST_MARK = 60
_WORD = (
    "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}",
    "{http://purl.oclc.org/ooxml/wordprocessingml/main}",  # Strict Open XML
)
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def read_html(path: Path, limits: DocumentLimits) -> Extracted:
    """The paragraphs of a saved web page.

    Raises:
        DocumentError: if it cannot be parsed at all.
    """
    extracted = Extracted("html")
    text, warnings = _decode_markup(read_encoded(path))
    extracted.warnings += warnings
    _add_html(extracted, text, 1, path)
    return extracted


def read_markdown(path: Path) -> Extracted:
    """The paragraphs of a Markdown text (CommonMark with tables), without front matter and blocks of code.

    Raises:
        DocumentError: if it cannot be parsed at all.
    """
    from markdown_it import MarkdownIt

    text, warnings = decode(read_encoded(path))
    text = _FRONT_MATTER.sub("", printable(text.replace("\r\n", "\n").replace("\r", "\n")))
    parser = MarkdownIt("commonmark").enable("table")
    for code in ("fence", "code_block"):
        parser.add_render_rule(code, lambda *_: "")
    extracted = Extracted("markdown", warnings=warnings)
    _add_html(extracted, parser.render(text), 1, path)
    return extracted


def _decode_markup(data: bytes) -> tuple[str, list[str]]:
    """`decode` by the character set that the markup declares."""
    declared = _CHARSET.search(_COMMENT.sub(b"", data[:4096]))
    return decode(data, (declared[1] or declared[2]).decode("ascii") if declared else None)


def _add_html(extracted: Extracted, text: str, page: int, where: Path) -> None:
    """Append the paragraphs of an HTML text; navigation and footers are kept as removed."""
    from lxml import etree

    content = printable(text).encode("utf-8")
    if not content.strip():
        return
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_pis=True, recover=True, huge_tree=True)
    try:
        root = etree.fromstring(content, parser)
    except etree.LxmlError as error:
        _check_memory(parser)
        raise DocumentError(f"{where}: is not readable HTML ({error}); save it again") from error
    _check_memory(parser)
    if root is None:
        return
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise DocumentError(f"{where}: is nested too deeply for a web page; save it as text")
    for reason, block in _html_blocks(root):
        if reason:
            extracted.removed.append(Removed(page, block, reason))  # type: ignore[arg-type]
        else:
            extracted.paragraphs.append(Paragraph(block, page))


def _check_memory(parser: Any) -> None:
    """Raise MemoryError if the parser ran out of memory, which libxml2 reports as an error of the document."""
    if any(entry.type_name == "ERR_NO_MEMORY" for entry in parser.error_log):
        raise MemoryError


def _html_blocks(root: Any) -> Iterator[tuple[str, str]]:
    """(reason to remove or "", text) of every block, in document order, without recursion."""
    from lxml import etree

    pending: list[str] = []
    removing: list[str] = []
    verbatim = 0  # depth of <pre>, in which an empty line separates paragraphs

    def add(text: str | None) -> None:
        if text:
            pending.append(text if verbatim else re.sub(r"\s+", " ", text))

    def flush() -> Iterator[tuple[str, str]]:
        text = "".join(pending)
        pending.clear()
        for block in re.split(r"\n\s*\n", text):
            joined = " ".join(block.split())
            if joined:
                yield (removing[-1] if removing else "", joined)

    walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    skipped: Any = None
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            unseen = element.get("hidden") is not None or element.get("aria-hidden") == "true"
            if tag in _UNSPOKEN or unseen or _is_note_mark(element, tag, pending[-1][-1:] if pending else ""):
                walk.skip_subtree()
                skipped = element
                continue
            if tag in _BLOCKS or tag in _NAVIGATION:
                yield from flush()
            if tag in _NAVIGATION:
                removing.append(_NAVIGATION[tag])
            if tag in ("td", "th"):
                pending.append(" ")
            verbatim += tag == "pre"
            add(element.text)
            continue
        if event == "end" and element is not skipped:
            verbatim -= tag == "pre"
            if tag == "br":
                pending.append("\n")
            if tag in _BLOCKS or tag in _NAVIGATION:
                yield from flush()
            if tag in _NAVIGATION:
                removing.pop()
        add(element.tail)
    yield from flush()


def _is_note_mark(element: Any, tag: str, before: str) -> bool:
    """Whether an element is the number of a note, which nobody reads aloud, and no power or unit (``m<sup>2</sup>``).

    It is if it says so (EPUB), or is raised and in brackets, a link, or after a mark ``before`` that ends a sentence.
    """
    if tag == "a" and (element.get("epub:type") == "noteref" or element.get("role") == "doc-noteref"):
        return True
    if tag != "sup":
        return False
    text = ""
    for part in element.itertext():
        text += part
        if len(text) > _LONGEST_MARK:
            return False
    text, parent = text.strip(), element.getparent()
    if not _NOTE_MARK.fullmatch(text):
        return False
    linked = element.find(".//a") is not None or (parent is not None and parent.tag == "a")
    return text[0] == "[" or linked or (bool(before) and before in '.,;:!?"”’»)')


def _parse_xml(data: bytes, where: str) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False)
    try:
        return etree.fromstring(data, parser)
    except etree.LxmlError as error:
        _check_memory(parser)
        raise DocumentError(
            f"{where}: is not well-formed XML ({' '.join(str(error).split())[:150]}); save it again"
        ) from error


class _Package:
    """A zip file with bounds: members are looked up by name and never written to disk."""

    def __init__(self, path: Path, limits: DocumentLimits) -> None:
        self.path, self.limits = path, limits
        self.room = limits.max_file_bytes
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DocumentError(
                f"{path}: is not a readable {path.suffix[1:].upper()} file ({error}); save it again"
            ) from error
        self.names = set(self.archive.namelist())
        if len(self.names) > limits.max_members:
            raise DocumentError(f"{path}: holds {len(self.names)} members, more than {limits.max_members}; split it")

    def read(self, name: str) -> bytes:
        if name not in self.names:
            raise DocumentError(f"{self.path}: lacks the member {name}; save it again")
        bound = min(self.limits.max_member_bytes, self.room)
        try:
            with self.archive.open(name) as member:
                data = _read_at_most(member, bound)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, NotImplementedError) as error:
            raise DocumentError(
                f"{self.path}: the member {name} cannot be unpacked ({error}); save it again"
            ) from error
        except Exception as error:
            if type(error).__name__ in ("error", "LZMAError"):  # zlib.error and its kind
                raise DocumentError(f"{self.path}: the member {name} is damaged ({error}); save it again") from error
            raise
        if data is None:
            raise DocumentError(f"{self.path}: the member {name} unpacks to more than {bound} bytes; is it a zip bomb?")
        self.room -= len(data)
        return data


def _read_at_most(member: IO[bytes], bound: int) -> bytes | None:
    data = member.read(bound + 1)
    return None if len(data) > bound else data


def read_docx(path: Path, limits: DocumentLimits) -> Extracted:
    """The paragraphs of the main text, tables and text boxes included; deleted text, notes and headers are not read.

    Raises:
        DocumentError: if it is not a DOCX file, is damaged, or unpacks to too much.
    """
    package = _Package(path, limits)
    with package.archive:
        part = _main_part(package)
        root = _parse_xml(package.read(part), f"{path}: {part}")
    extracted = Extracted("docx")
    extracted.paragraphs += [Paragraph(text) for text in _word_paragraphs(root)]
    return extracted


def _main_part(package: _Package) -> str:
    """The member that holds the text, by the relationships of the package; its usual name if they do not say."""
    usual = "word/document.xml"
    if "_rels/.rels" not in package.names:
        return usual
    root = _parse_xml(package.read("_rels/.rels"), f"{package.path}: _rels/.rels")
    for relation in root.iter("{*}Relationship"):
        if (relation.get("Type") or "").endswith("/officeDocument"):
            return posixpath.normpath(unquote(relation.get("Target") or usual)).lstrip("/")
    return usual


def _word_paragraphs(root: Any) -> Iterator[str]:
    from lxml import etree

    open_paragraphs: list[list[str]] = []
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        name = element.tag.removeprefix(_WORD[0]).removeprefix(_WORD[1])
        if event == "start":
            unread = name in ("del", "moveFrom", "instrText", "delText", "rt")  # rt: how ruby text is pronounced
            if element.tag == _FALLBACK or unread or (name == "r" and _is_hidden(element)):
                walk.skip_subtree()
            elif name == "p":
                open_paragraphs.append([])
            elif open_paragraphs:
                if name == "t":
                    open_paragraphs[-1].append(element.text or "")
                elif name in ("tab", "br", "cr"):
                    open_paragraphs[-1].append(" ")
                elif name == "noBreakHyphen":
                    open_paragraphs[-1].append("-")
        elif name == "p" and open_paragraphs:
            text = " ".join(printable("".join(open_paragraphs.pop())).split())
            if text:
                yield text


def _is_hidden(run: Any) -> bool:
    """Whether a run of a Word paragraph is formatted as hidden text."""
    found = [vanish for space in _WORD for vanish in run.findall(f"{space}rPr/{space}vanish")]
    values = {value for vanish in found for name, value in vanish.items() if name.endswith("}val")}
    return bool(found) and not values & {"0", "false", "off"}


def read_epub(path: Path, limits: DocumentLimits) -> Extracted:
    """The paragraphs of the chapters in reading (spine) order; a page is a chapter.

    Raises:
        DocumentError: if it is not an EPUB, is protected, damaged, or unpacks to too much.
    """
    package = _Package(path, limits)
    extracted = Extracted("epub")
    with package.archive:
        container = _parse_xml(package.read("META-INF/container.xml"), f"{path}: META-INF/container.xml")
        rootfile = next((node.get("full-path") for node in container.iter("{*}rootfile")), None)
        if not rootfile:
            raise DocumentError(f"{path}: names no content in META-INF/container.xml; save it again")
        book = _parse_xml(package.read(rootfile), f"{path}: {rootfile}")
        items = {node.get("id"): node for node in book.iter("{*}item")}
        locked = _encrypted_members(package)
        chapter = 0
        for reference in book.iter("{*}itemref"):
            item = items.get(reference.get("idref"))
            href = item.get("href") if item is not None else None
            if item is None or not href:
                extracted.warnings.append(f"the spine names {reference.get('idref')!r}, which is not in the book")
                continue
            if "nav" in (item.get("properties") or "").split():
                continue  # the table of contents
            name = posixpath.normpath(posixpath.join(posixpath.dirname(rootfile), unquote(href.split("#")[0])))
            if name in locked:
                raise DocumentError(f"{path}: is copy-protected; use a copy without protection")
            if name not in package.names:
                extracted.warnings.append(f"the chapter {name!r} is missing from the book")
                continue
            data = package.read(name)
            text, warnings = _decode_markup(data)
            extracted.warnings += warnings
            chapter += 1
            _add_html(extracted, text, chapter, path)
    return extracted


def _encrypted_members(package: _Package) -> set[str]:
    if "META-INF/encryption.xml" not in package.names:
        return set()
    root = _parse_xml(package.read("META-INF/encryption.xml"), f"{package.path}: META-INF/encryption.xml")
    return {unquote(node.get("URI") or "") for node in root.iter("{*}CipherReference")}
