"""Script, run by `isolation`: optical character recognition of page images or of the pages of a PDF, as JSON.

It imports nothing of speechkit. Rendering and recognition happen here, so that a crash in either is only this file's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_PIXELS = 60_000_000


def rendered(request: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """(1-based page number, picture) of every requested page."""
    if request["pages"] is None:
        from PIL import Image, ImageSequence

        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        with Image.open(request["path"]) as image:
            for number, frame in enumerate(ImageSequence.Iterator(image), 1):
                if number > request["max_pages"]:
                    raise ValueError(f"it holds more than {request['max_pages']} pictures")
                if frame.width * frame.height > MAX_PIXELS:
                    raise ValueError(f"picture {number} has {frame.width} x {frame.height} pixels")
                yield number, frame.convert("L")
        return
    import pypdfium2

    document = pypdfium2.PdfDocument(request["path"])
    try:
        for number in request["pages"]:
            page = document[number - 1]
            width, height = page.get_size()
            scale = request["dots_per_inch"] / 72
            scale *= min(1.0, (MAX_PIXELS / max(width * height * scale * scale, 1.0)) ** 0.5)
            yield number, page.render(scale=scale, grayscale=True).to_pil()
    finally:
        document.close()


def lines_of(image: Any, request: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """(text, top in pixels, 0, left edge in pixels) of every recognised line, with an empty line between paragraphs."""
    import pytesseract

    data = pytesseract.image_to_data(
        image,
        lang=request["language"],
        timeout=request["seconds_per_page"],
        output_type=pytesseract.Output.DICT,
    )
    lines: list[tuple[str, float, float, float]] = []
    last: tuple[int, ...] = ()
    for index, word in enumerate(data["text"]):
        if not word.strip():
            continue
        key = tuple(data[name][index] for name in ("block_num", "par_num", "line_num"))
        if key != last:
            if last and key[:2] != last[:2]:
                lines.append(("", 0.0, 0.0, 0.0))
            lines.append((word, float(data["top"][index]), 0.0, float(data["left"][index])))
            last = key
        else:
            text, top, size, left = lines[-1]
            lines[-1] = (f"{text} {word}", top, size, left)
    return lines


def main() -> None:
    """Read the request from the first argument's file and write the answer to the second's."""
    request = json.loads(Path(sys.argv[-2]).read_text("utf-8"))
    try:
        import resource
    except ImportError:
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"], request["memory_bytes"]))
    answer: dict[str, Any]
    try:
        pages = [{"number": number, "lines": lines_of(image, request)} for number, image in rendered(request)]
        answer = {"pages": pages}
    except MemoryError:
        answer = {"error": f"needs more than {request['memory_bytes'] // 10**6} MB to recognise; scan it smaller"}
    except Exception as error:  # Pillow, PDFium and tesseract each have their own, and the parent needs one sentence
        words = " ".join(str(error).split())[:200]
        answer = {"error": f"cannot be recognised ({type(error).__name__}: {words}); check that it opens in a viewer"}
    Path(sys.argv[-1]).write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main()
