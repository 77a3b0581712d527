"""Tables: in HTML, scrolling inside their own box on a narrow screen, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from speechkit.report.markup import Child, element


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], *, caption: str, numeric: Iterable[int] = ()) -> Markup:
    """A table with a caption for screen readers; the columns ``numeric`` are set flush right."""
    right = set(numeric)

    def cell(name: str, index: int, content: Child) -> Markup:
        attributes = {"class": "number"} if index in right else {}
        if name == "th":
            attributes["scope"] = "col"
        return element(name, content, **attributes)

    header = element("tr", [cell("th", index, text) for index, text in enumerate(head)])
    body = [element("tr", [cell("td", index, content) for index, content in enumerate(row)]) for row in rows]
    content = element("table", element("caption", caption), element("thead", header), element("tbody", body))
    return element("div", content, class_="table", tabindex=0, role="region", aria_label=caption)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same in Markdown, each line ended."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ("---",) * len(head), *rows))
