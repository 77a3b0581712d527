"""Script, run by `isolation`: the text layer of a PDF, line by line with positions, as JSON.

It imports nothing of speechkit, so that it starts quickly and stays small.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any


def limit(memory_bytes: int, seconds: float) -> None:
    """Bound this process's address space and processor time, where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows: the parent's clock remains
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    whole = math.ceil(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 5))


def page_lines(page: Any, room: int) -> list[tuple[str, float, float, float]]:
    """(text, distance from an upper origin, font size, left edge) of every line.

    Raises:
        OverflowError: past ``room`` characters.
    """
    lines: list[tuple[str, float, float, float]] = []
    pending: list[str] = []
    place = [0.0, 0.0, 0.0]
    count = 0

    def flush() -> None:
        lines.append(("".join(pending), place[0], place[1], place[2]))
        pending.clear()

    def visit(text: str, user: list[float], matrix: list[float], _font: Any, size: float) -> None:
        nonlocal count
        count += len(text)
        if count > room:
            raise OverflowError
        for number, part in enumerate(text.split("\n")):
            if number:
                flush()
            if part.strip() and not "".join(pending).strip():
                height = matrix[4] * user[1] + matrix[5] * user[3] + user[5]
                left = matrix[4] * user[0] + matrix[5] * user[2] + user[4]
                place[:] = [-height, abs((matrix[3] or matrix[1]) * (user[3] or user[1])) * (size or 0), left]
            pending.append(part)

    page.extract_text(visitor_text=visit)
    flush()
    return lines


def has_image(page: Any) -> bool:
    """Whether the page draws a picture, so that it may be a scan."""
    resources = page.get("/Resources")
    resources = resources.get_object() if resources is not None else {}
    objects = resources.get("/XObject")
    objects = objects.get_object() if objects is not None else {}
    return any(value.get_object().get("/Subtype") in ("/Image", "/Form") for value in objects.values())


def read(request: dict[str, Any]) -> dict[str, Any]:
    """Pages, or an error in words that end a sentence which begins with the path."""
    import pypdf
    from pypdf.errors import PyPdfError

    try:
        reader = pypdf.PdfReader(request["path"])
        if reader.is_encrypted and not reader.decrypt(""):
            return {"error": "is encrypted; save a copy without a password"}
        count = reader.get_num_pages()
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, RecursionError) as error:
        return {"error": f"is not a readable PDF ({summary(error)}); save it anew or convert it to text"}
    if count <= 0:
        return {"error": "has no pages; save it anew"}
    if count > request["max_pages"]:
        return {"error": f"has {count} pages, more than {request['max_pages']}; split it or raise max_pages"}
    pages: list[dict[str, Any]] = []
    room = request["max_characters"]
    for index in range(count):
        found: dict[str, Any] = {"lines": [], "image": False, "problem": ""}
        try:
            page = reader.pages[index]
            found["image"] = has_image(page)
            found["lines"] = page_lines(page, room)
        except OverflowError:
            return {"error": f"holds more than {request['max_characters']} characters; split it or raise the limit"}
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:  # a damaged page must not take the others with it
            found["problem"] = summary(error)
        room -= sum(len(line[0]) for line in found["lines"])
        pages.append(found)
    return {"pages": pages}


def summary(error: BaseException) -> str:
    """One short line about an exception."""
    words = " ".join(str(error).split())[:150]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def main() -> None:
    """Answer the request in the first argument's file with the second argument's file."""
    logging.disable(logging.CRITICAL)
    request = json.loads(Path(sys.argv[-2]).read_text("utf-8"))
    limit(request["memory_bytes"], request["seconds"])
    try:
        answer = read(request)
    except MemoryError:
        answer = {"error": f"needs more than {request['memory_bytes'] // 10**6} MB to read; split it"}
    Path(sys.argv[-1]).write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main()
