"""A ten-hour recording mined end to end without the recogniser: seconds and peak memory.

The recording is LibriSpeech chapters repeated in turn to ten hours. The hypothesis is their transcripts with 20 %
of the characters wrong and words spread over the true times, with emissions of a recogniser that believes them; both
are put where stage 3 would have put them, so that all other stages run as they are: documents, speech regions,
pairing, alignment, refinement of every sentence, selection, export and report. The document lacks a fifth of what is
said and 30 % of it was not read.

Run: python -m benchmarks.ten_hours [--hours 10]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import peak_megabytes

HOP_SECONDS = 0.02
VOCABULARY = ("<blank>", " ", "'", *"abcdefghijklmnopqrstuvwxyz")


class CachedRecognizer:
    """Gives back what was prepared: the recogniser's place in the run without its cost."""

    def __init__(self, folder: Path) -> None:
        from speechkit.asr.hypothesis import RecognizerSpec

        self.folder = folder
        self.spec = RecognizerSpec("cached", "simulated", "none", "en")

    def recognize(self, path: str, speech: list[tuple[int, int]] | None = None):
        from speechkit.asr.hypothesis import Emissions, Hypothesis
        from speechkit.io.arrays import read_arrays

        arrays = read_arrays(self.folder / "heard.safetensors")
        text = (self.folder / "heard.txt").read_text()
        emissions = Emissions(arrays["log_probs"], HOP_SECONDS, VOCABULARY, 0)
        return Hypothesis(text, arrays["starts"], arrays["ends"], np.zeros(len(text), np.float32), emissions)


def build(corpus: Path, folder: Path, hours: float) -> float:
    """Write the recording in pieces, the document, and the hypothesis with its emissions."""
    import soundfile

    from benchmarks.simulated_chapters import SAMPLE_RATE, Spoken, as_text, chapters, damaged_document, record
    from speechkit.io.arrays import write_arrays
    from speechkit.io.atomic import write_text

    found = chapters(corpus)[:-2]
    unread = [text for other in chapters(corpus)[-2:] for text in other.texts().values()]
    rng = random.Random(1)
    (folder / "audio").mkdir()
    spoken: list[Spoken] = []
    cursor, number = 0.0, 0
    lexicon = sorted({word for chapter in found for text in chapter.texts().values() for word in text.lower().split()})
    known = [record(chapter) for chapter in found]
    with soundfile.SoundFile(folder / "audio/day.flac", "w", SAMPLE_RATE, 1, format="FLAC") as file:
        while cursor < hours * 3600:
            waveform, said = known[number % len(known)]
            file.write(waveform)
            for item in said:
                # A second reading of a chapter says something else: a tenth of its words are others.
                words = [
                    rng.choice(lexicon) if number >= len(known) and rng.random() < 0.1 else w for w in item.text.split()
                ]
                spoken.append(Spoken(item.id, " ".join(words).strip("."), item.start + cursor, item.end + cursor))
            cursor += len(waveform) / SAMPLE_RATE
            number += 1
    many = unread * (1 + len(spoken) // len(unread))
    write_text(folder / "documents/day.txt", as_text(damaged_document(spoken, many, rng), "A day of reading", 30))
    text, starts, ends = "", [], []
    tokens = np.zeros(int(cursor / HOP_SECONDS) + 1, np.uint8)
    for item in spoken:
        letters = "".join(c if rng.random() > 0.2 else rng.choice("abdegilmnoprstuw ") for c in item.text.lower())
        letters = "".join(c for c in letters if c in VOCABULARY)
        if text:
            text += " "
            starts.append(ends[-1])
            ends.append(item.start)
        edges = np.linspace(item.start, item.end, len(letters) + 1)
        text += letters
        starts += edges[:-1].tolist()
        ends += edges[1:].tolist()
        tokens[(edges[:-1] / HOP_SECONDS).astype(int)] = [VOCABULARY.index(c) for c in letters]
    log_probs = np.full((len(tokens), len(VOCABULARY)), np.log(0.1 / (len(VOCABULARY) - 1)), np.float16)
    log_probs[np.arange(len(tokens)), tokens] = np.log(0.9)
    write_text(folder / "heard.txt", text)
    write_arrays(
        folder / "heard.safetensors",
        {"log_probs": log_probs, "starts": np.array(starts), "ends": np.array(ends)},
    )
    return cursor


def run(folder: Path) -> None:
    """Mine in this process and print what it took."""
    import msgspec

    import speechkit.asr
    from speechkit.mining import mine

    speechkit.asr.load_recognizer = lambda *given, **options: CachedRecognizer(folder)
    began, cpu = time.perf_counter(), time.process_time()
    mined = mine(folder / "audio", folder / "documents", folder / "out")
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = peak_megabytes()
    summary = mined.summary
    print("| audio | wall s | CPU s | peak memory | kept |\n|---|---|---|---|---|")
    print(
        f"| {summary.audio_seconds / 3600:.2f} h | {wall:.1f} | {cpu:.1f} | {peak:.0f} MB "
        f"| {summary.kept} sentences, {summary.kept_seconds / 3600:.2f} h |"
    )
    print("\n| stage | s |\n|---|---|")
    for path in sorted((folder / "out/stages").glob("*/current/_stage.json")):
        record = msgspec.json.decode(path.read_bytes())
        print(f"| {path.parent.parent.name} | {record['run']['seconds']:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="A ten-hour recording mined without the recogniser.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SPEECHKIT_DATA", "../shared/data")))
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--built", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.built:
        run(arguments.built)
        return
    import subprocess

    with tempfile.TemporaryDirectory() as temporary:
        build(arguments.data / "LibriSpeech/dev-clean", Path(temporary), arguments.hours)
        # A process of its own, so that building does not count in the memory.
        subprocess.run([sys.executable, "-m", "benchmarks.ten_hours", "--built", temporary], check=True)


if __name__ == "__main__":
    main()
