"""Generate the sample: two programmes spoken by flite voices, and a PDF and a web page that differ from the speech.

    python scripts/make_mining_sample.py

Needs the program `flite` (its CMU voices are free software) and reportlab. The PDF has running headers, page numbers,
hyphenated line ends and a section that is not read; one paragraph that is read is missing from each document.
``truth.json`` keeps the time of every sentence, so that the result can be measured.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SAMPLE = Path(__file__).resolve().parent.parent / "recipes" / "mining" / "sample"
SAMPLE_RATE = 16000
SENTENCE_PAUSE_SECONDS = 0.45
PARAGRAPH_PAUSE_SECONDS = 1.1
PAGE_LINES = 26
LINE_CHARACTERS = 58


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph of this sample, where a full stop always ends one."""
    return re.split(r"(?<=\.) ", paragraph)


def speak(text: str, voice: str, folder: Path) -> np.ndarray:
    """Synthesise a sentence as float32 at 16 kHz, without flite's leading and trailing silence."""
    path = folder / "sentence.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
    waveform, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise SystemExit(f"voice {voice} speaks at {rate} Hz; choose one at {SAMPLE_RATE}")
    loud = np.flatnonzero(np.abs(waveform) > 0.005)
    return np.asarray(waveform[loud[0] : loud[-1] + 1])


def record(name: str, programme: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the recording and return the true time of every sentence that is read."""
    pieces, truth, cursor = [np.zeros(SAMPLE_RATE, np.float32)], [], SAMPLE_RATE
    with tempfile.TemporaryDirectory() as folder:
        for paragraph in programme["paragraphs"]:
            if not paragraph["read"]:
                continue
            for sentence in sentences(paragraph["text"]):
                spoken = speak(sentence, programme["voice"], Path(folder))
                start, end = cursor / SAMPLE_RATE, (cursor + len(spoken)) / SAMPLE_RATE
                truth.append({"text": sentence, "start": start, "end": end, "written": paragraph["written"]})
                pause = np.zeros(int(SENTENCE_PAUSE_SECONDS * SAMPLE_RATE), np.float32)
                pieces += [spoken, pause]
                cursor += len(spoken) + len(pause)
            pause = np.zeros(int(PARAGRAPH_PAUSE_SECONDS * SAMPLE_RATE), np.float32)
            pieces.append(pause)
            cursor += len(pause)
    waveform = np.concatenate(pieces)
    room = np.random.default_rng(7).normal(0, 0.0015, len(waveform)).astype(np.float32)
    (SAMPLE / "audio").mkdir(exist_ok=True)
    soundfile.write(SAMPLE / "audio" / f"{name}.ogg", waveform + room, SAMPLE_RATE, format="OGG", subtype="OPUS")
    return truth


def broken_lines(paragraph: str) -> list[str]:
    """Lines of at most `LINE_CHARACTERS`; a long word at the end of a line is broken with a hyphen."""
    lines, line = [], ""
    for word in paragraph.split():
        room = LINE_CHARACTERS - len(line) - 1
        if len(word) <= room:
            line = f"{line} {word}".strip()
        elif len(word) >= 9 and room >= 5 and word.isalpha():
            lines.append(f"{line} {word[: room - 1]}-" if line else f"{word[: room - 1]}-")
            line = word[room - 1 :]
        else:
            lines.append(line)
            line = word
    return [*lines, line]


def write_pdf(path: Path, programme: dict[str, Any]) -> None:
    """Pages with a running header and a number at the foot."""
    from reportlab.lib.pagesizes import A5
    from reportlab.pdfgen.canvas import Canvas

    lines: list[str] = [programme["title"], ""]
    for paragraph in programme["paragraphs"]:
        if paragraph["written"]:
            lines += [*broken_lines(paragraph["text"]), ""]
    width, height = A5
    canvas = Canvas(str(path), pagesize=A5, invariant=1)
    for number, first in enumerate(range(0, len(lines), PAGE_LINES), start=1):
        canvas.setFont("Times-Italic", 9)
        canvas.drawString(40, height - 30, programme["header"])
        canvas.setFont("Times-Roman", 12)
        for row, line in enumerate(lines[first : first + PAGE_LINES]):
            canvas.drawString(40, height - 60 - 18 * row, line)
        canvas.setFont("Times-Roman", 9)
        canvas.drawCentredString(width / 2, 24, f"- {number} -")
        canvas.showPage()
    canvas.save()


def write_html(path: Path, programme: dict[str, Any]) -> None:
    """A web page with a menu and a footer around the text."""
    body = "\n".join(f"<p>{html.escape(p['text'])}</p>" for p in programme["paragraphs"] if p["written"])
    title = html.escape(programme["title"])
    path.write_text(
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        "<style>p { max-width: 40em }</style></head>\n"
        f"<body><nav><a href='#'>Home</a> <a href='#'>Archive</a></nav>\n<h1>{title}</h1>\n{body}\n"
        f"<footer>{html.escape(programme['header'])}</footer></body></html>\n",
        encoding="utf-8",
    )


def main() -> None:
    """Write audio, documents and truth beside this file."""
    programmes = json.loads((SAMPLE / "programmes.json").read_text(encoding="utf-8"))
    (SAMPLE / "documents").mkdir(exist_ok=True)
    truth = {}
    for name, programme in programmes.items():
        truth[name] = record(name, programme)
        write = write_pdf if programme["document"].endswith(".pdf") else write_html
        write(SAMPLE / "documents" / programme["document"], programme)
    (SAMPLE / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
